"""Queues: what stands in line in each project for each family of models, what it waits for, and how fast it moves."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.db.models.expressions import RawSQL
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.admin.base import Capability, Place, ProjectFilter, ReadOnlyAdmin, list_of, page_of
from jobs.admin.words import told_in_words
from jobs.models import Job, Queue
from jobs.queues import rate
from jobs.states import JobStatus

# Jobs of a queue are counted no further: the list shows many queues.
MOST_COUNTED = 1000
_COUNTED = """(
    SELECT count(*) FROM (
        SELECT 1 FROM jobs_job WHERE jobs_job.queue_id = jobs_queue.id AND status = 'queued' AND run_after IS NULL
        LIMIT %s
    ) AS counted
)"""


class InLineFilter(admin.SimpleListFilter):
    title = "jobs"
    parameter_name = "jobs"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("some", "In line"), ("none", "None in line")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Queue]) -> QuerySet[Queue]:
        if self.value() in {"some", "none"}:
            return queryset.filter(Q(("next_since__isnull", self.value() == "none")))  # annotated by the page
        return queryset


@admin.register(Queue)
class QueueAdmin(ReadOnlyAdmin):
    place = Place(projects=("project",))
    sees = Capability.SEE
    list_display = ("queue", "organization", "family", "queued", "since", "waits_for", "per_minute", "weight")
    list_filter = (InLineFilter, "family", "project__organization", ("project", ProjectFilter))
    search_fields = ("family", "project__name", "project__slug", "project__organization__name")
    id_fields = ("pk", "project_id", "project__organization_id")
    ordering = ("project__organization__name", "project__name", "family")
    fieldsets = (
        (None, {"fields": ("project", "organization", "family", "weight")}),
        ("In line", {"fields": ("queued", "since", "waits_for", "waiting_at", "per_minute", "started_at", "jobs")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Queue]:
        found: QuerySet[Queue] = super().get_queryset(request)
        in_line = Job.objects.filter(queue=OuterRef("pk"), status=JobStatus.QUEUED, run_after__isnull=True)
        return found.select_related(
            "project__organization"
        ).annotate(
            queued_number=RawSQL(_COUNTED, [MOST_COUNTED + 1]),  # noqa: S611 (no word of a person is in it)
            next_since=Subquery(in_line.order_by("order_at", "id").values("queued_at")[:1]),
        )

    @admin.display(description="project", ordering="project__name")
    def queue(self, queue: Queue) -> str:
        return queue.project.name

    @admin.display(description="organization", ordering="project__organization__name")
    def organization(self, queue: Queue) -> SafeString:
        return page_of(queue.project.organization)

    @admin.display(description="in line", ordering="queued_number")
    def queued(self, queue: Any) -> str:
        number = queue.queued_number
        return f"{MOST_COUNTED:,}+" if number > MOST_COUNTED else f"{number:,}"

    @admin.display(description="next one queued", ordering="next_since", empty_value="nobody in line")
    def since(self, queue: Any) -> datetime | None:
        found: datetime | None = queue.next_since
        return found

    @admin.display(description="waits for")
    def waits_for(self, queue: Any) -> str:
        if queue.next_since is None:
            return "–"
        if queue.project.paused_at is not None:
            return f"its project is paused: {queue.project.paused_reason}".rstrip(" :")
        return told_in_words(queue.waiting_on or {}, queue.family)

    @admin.display(description="started a minute", ordering="starts_per_minute")
    def per_minute(self, queue: Queue) -> str:
        return f"{rate(queue.starts_per_minute, queue.started_at, 0, timezone.now()):,.1f}"

    @admin.display(description="weight")
    def weight(self, queue: Queue) -> SafeString:
        """The project's within its organization, and the organization's among all."""
        return format_html(
            "{} of {}",
            page_of(queue.project, queue.project.dispatch_weight),
            page_of(queue.project.organization, queue.project.organization.dispatch_weight),
        )

    @admin.display(description="see also")
    def jobs(self, queue: Queue) -> SafeString:
        return list_of(
            "jobs_job", "Queued jobs of the project", project__id__exact=queue.project_id, status__exact="queued"
        )
