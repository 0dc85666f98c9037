"""Workers: the processes that carry out calls, as they last reported themselves."""

from datetime import timedelta

from django.contrib import admin
from django.utils import timezone
from django.utils.safestring import SafeString

from accounts.admin.base import ReadOnlyAdmin, badge
from jobs.models import Worker
from jobs.workers import SILENCE_SECONDS


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    list_display = ("name", "state", "slots", "heard_at", "started_at")
    search_fields = ("name",)
    ordering = ("name",)

    @admin.display(description="State")
    def state(self, worker: Worker) -> SafeString:
        if worker.heard_at < timezone.now() - timedelta(seconds=SILENCE_SECONDS):
            return badge("bad", "silent")
        return badge("doubt", "stopping") if worker.is_stopping else badge("good", "takes calls")
