"""Answers that were asked for at the front door and have not arrived: paid for, and perhaps collected by nobody.

What nobody comes for within an hour is forgotten here; the job keeps its answer as long as its project keeps content.
"""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from accounts.admin.base import Capability, Place, ProjectFilter, ReadOnlyAdmin, badge, link
from billing.money import usd
from jobs.front_door.undelivered import is_waited_for
from jobs.models import Undelivered


@admin.register(Undelivered)
class UndeliveredAdmin(ReadOnlyAdmin):
    place = Place(projects=("job__project",))
    sees = Capability.SEE
    list_display = ("job_page", "status", "cost", "delivery", "api_key", "project", "created_at")
    list_filter = ("job__status", "created_at", "job__organization", ("job__project", ProjectFilter))
    list_select_related = ("job__project", "job__organization", "api_key")
    search_fields = ("job__model", "job__project__name", "job__project__slug", "job__organization__name")
    id_fields = ("pk", "job__project_id", "job__organization_id", "api_key_id")
    ordering = ("-created_at",)
    fields = ("job_page", "status", "cost", "delivery", "api_key", "project", "created_at", "waiter_seen_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Undelivered]:
        found: QuerySet[Undelivered] = super().get_queryset(request)
        return found.select_related("job__project", "job__organization", "api_key")

    @admin.display(description="job", ordering="job_id")
    def job_page(self, owed: Undelivered) -> SafeString:
        return link(reverse("admin:jobs_job_change", args=[owed.job_id]), owed.job.model)

    @admin.display(description="status of the job", ordering="job__status")
    def status(self, owed: Undelivered) -> str:
        return owed.job.get_status_display()

    @admin.display(description="USD", ordering="job__total_usd")
    def cost(self, owed: Undelivered) -> str:
        return "–" if owed.job.total_usd is None else usd(owed.job.total_usd)

    @admin.display(description="answer")
    def delivery(self, owed: Undelivered) -> SafeString:
        """Whether somebody waits for it; one that is there, and that nobody waits for, was paid for in vain so far."""
        if is_waited_for(owed, timezone.now()):
            return badge("busy", "waited for")
        return badge("doubt", "not collected") if owed.job.finished_at else badge("quiet", "nobody waits")

    @admin.display(description="project", ordering="job__project__name")
    def project(self, owed: Undelivered) -> Any:
        return owed.job.project
