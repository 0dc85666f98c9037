"""Jobs with their attempts, shown only; a queued one can be cancelled."""

from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.urls import reverse
from django.utils.formats import localize
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.timezone import localtime

from accounts import audit
from accounts.admin.base import (
    Act,
    Capability,
    Place,
    ProjectFilter,
    ReadOnlyAdmin,
    ReadOnlyInline,
    badge,
    link,
    list_of,
    short_id,
)
from billing.admin.money import cost_columns, usd_column
from billing.models import Reservation, UsageRecord
from jobs.admin.dashboard.pages import DashboardPages
from jobs.admin.learning.pages import LearningPages
from jobs.admin.waste import WasteFilter, WastePages
from jobs.admin.words import error_in_words, reasoning_share, usage_in_words, waiting_in_words
from jobs.cancellation import cancel
from jobs.erasure import erase
from jobs.errors import NotCancellable
from jobs.models import Attempt, Job, LanguageModel
from jobs.states import AttemptStatus, JobStatus

JOB_BADGES = {
    JobStatus.QUEUED: "quiet",
    JobStatus.RUNNING: "busy",
    JobStatus.SUCCEEDED: "good",
    JobStatus.INCOMPLETE: "doubt",
    JobStatus.FAILED: "bad",
    JobStatus.CANCELLED: "quiet",
    JobStatus.IN_DOUBT: "doubt",
}
ATTEMPT_BADGES = {
    AttemptStatus.CREATED: "quiet",
    AttemptStatus.CALLING: "busy",
    AttemptStatus.ACCEPTED: "busy",
    AttemptStatus.BATCHED: "busy",
    AttemptStatus.ANSWERED: "good",
    AttemptStatus.REJECTED: "bad",
    AttemptStatus.ABANDONED: "quiet",
    AttemptStatus.IN_DOUBT: "doubt",
    AttemptStatus.RESOLVED: "good",
}
# Each cancellation locks a row and is told apart; a longer list is better cancelled over the API.
MOST_CANCELLED_AT_ONCE = 1000
MOST_ERASED_AT_ONCE = 1000


class ModelFilter(admin.SimpleListFilter):
    """By model of the catalogue, its snapshots included."""

    title = "model"
    parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in LanguageModel.objects.order_by("name").values_list("name", flat=True)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        if not self.value():
            return queryset
        snapshots = LanguageModel.objects.filter(name=self.value()).values_list("snapshots__name", flat=True)
        return queryset.filter(model__in=[self.value(), *filter(None, snapshots)])


class AttemptInline(ReadOnlyInline):
    """A job's calls of the provider, and their lines in the books: an attempt's id is its reservation's reference."""

    model = Attempt
    ordering = ("number",)
    fields = (
        "number",
        "state",
        "created_at",
        "calling_at",
        "finished_at",
        "http_status",
        "error",
        "provider_request_id",
        "worker",
        "books",
    )
    readonly_fields = ("state", "error", "books")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Attempt]:
        found: QuerySet[Attempt] = super().get_queryset(request)
        reservation = Reservation.objects.filter(reference=OuterRef("pk"))
        record = UsageRecord.objects.filter(reservation__reference=OuterRef("pk"))
        return found.annotate(
            reservation_pk=Subquery(reservation.values("pk")[:1]), usage_record_pk=Subquery(record.values("pk")[:1])
        )

    @admin.display(description="status")
    def state(self, attempt: Attempt) -> SafeString:
        return badge(ATTEMPT_BADGES[AttemptStatus(attempt.status)], attempt.get_status_display())

    @admin.display(description="error")
    def error(self, attempt: Attempt) -> str:
        return error_in_words({"code": attempt.error_code, "message": attempt.error_message}) or "–"

    @admin.display(description="in the books")
    def books(self, attempt: Any) -> object:
        if attempt.reservation_pk is None:
            return "–"
        links = [
            link(reverse("admin:billing_reservation_change", args=[attempt.reservation_pk]), "Reservation"),
            list_of("billing_ledgerentry", "Ledger entries", reservation__id__exact=attempt.reservation_pk),
        ]
        if attempt.usage_record_pk is not None:
            url = reverse("admin:billing_usagerecord_change", args=[attempt.usage_record_pk])
            links.append(link(url, "Usage record"))
        return format_html_join(" · ", "{}", ((one,) for one in links))


@admin.register(Job)
class JobAdmin(WastePages, LearningPages, DashboardPages, ReadOnlyAdmin):
    place = Place(projects=("project",))
    sees = Capability.SEE
    acts = {
        "cancel": Act("jobs.change_job", Capability.SUBMIT),
        "erase": Act("jobs.delete_jobcontent", Capability.MANAGE_PROJECTS),
    }
    actions = ("cancel_queued", "erase_content")
    inlines = (AttemptInline,)
    list_display = (
        "job",
        "state",
        "model",
        usd_column("total_usd", "cost"),
        "share",
        "empty",
        "project",
        "waiting",
        "attempt_count",
        "queued_at",
        "finished_at",
    )
    list_filter = (
        "status",
        ModelFilter,
        "is_empty",
        WasteFilter,
        "queued_at",
        "organization",
        ("project", ProjectFilter),
    )
    list_select_related = ("project", "organization", "queue")
    search_fields = (
        "model",
        "project__name",
        "project__slug",
        "organization__name",
        "created_by__email",
        "attempts__provider_request_id",
    )
    id_fields = ("pk", "attempts__id", "project_id", "organization_id", "api_key_id")
    ordering = ("-id",)
    fieldsets = (
        (None, {"fields": ("id", "state", "waiting", "failure", "content_page")}),
        ("Whose", {"fields": ("organization", "project", "api_key", "created_by", "metadata")}),
        ("Model", {"fields": ("model", "snapshot", "service_tier", "priority", "finish_reason", "empty", "tokens")}),
        (
            "Cost",
            {"fields": (*cost_columns(),)},
        ),
        (
            "Bound",
            {
                "fields": (
                    usd_column("bound_usd", "one call at most"),
                    "bound_input_tokens",
                    "bound_output_tokens",
                    "admission_tokens",
                    usd_column("max_cost_usd", "the owner's maximum"),
                )
            },
        ),
        (
            "Expected, by calls like it",
            {
                "fields": (
                    "prompt_class",
                    "expected_p50_tokens",
                    "expected_p90_tokens",
                    "expected_p99_tokens",
                    usd_column("expected_usd", "average cost"),
                    "expected_empty",
                )
            },
        ),
        (
            "Times",
            {"fields": ("queued_at", "run_after", "deadline", "started_at", "finished_at", "attempt_count")},
        ),
    )

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Cancelling is the one change there is, for whoever has the right to change; the page gives it to nobody."""
        return self.may(request, "cancel")

    def has_erase_permission(self, request: HttpRequest) -> bool:
        """Erasing is for whoever may say how long the project keeps content."""
        return self.may(request, "erase")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        found: QuerySet[Job] = super().get_queryset(request)
        return found.select_related("project", "organization", "api_key", "created_by", "queue")

    @admin.display(description="job", ordering="id")
    def job(self, job: Job) -> SafeString:
        return short_id(job.pk)

    @admin.display(description="status", ordering="status")
    def state(self, job: Job) -> SafeString:
        return badge(JOB_BADGES[JobStatus(job.status)], job.get_status_display())

    @admin.display(description="reasoning share")
    def share(self, job: Job) -> str:
        return reasoning_share(job)

    @admin.display(description="answer", ordering="is_empty")
    def empty(self, job: Job) -> object:
        if job.is_empty:
            return badge("doubt", "paid, empty")
        return "visible" if job.usage else "–"

    @admin.display(description="waits for")
    def waiting(self, job: Job) -> str:
        return waiting_in_words(job) or "–"

    @admin.display(description="tokens")
    def tokens(self, job: Job) -> str:
        return usage_in_words(job)

    @admin.display(description="error")
    def failure(self, job: Job) -> str:
        return error_in_words(job.error) or "–"

    @admin.display(description="prompt and answer")
    def content_page(self, job: Job) -> object:
        if job.content_erased_at is not None:
            return f"Erased at {localize(localtime(job.content_erased_at))}."
        return link(reverse("admin:jobs_jobcontent_change", args=[job.pk]), "On a page of their own, for superusers")

    @admin.action(description="Cancel queued jobs", permissions=["cancel"])
    def cancel_queued(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        """Cancels those of the chosen jobs that are still queued; a running one may already be billed and goes on."""
        cancelled = 0
        for job in queryset.filter(status=JobStatus.QUEUED)[:MOST_CANCELLED_AT_ONCE]:
            try:
                with transaction.atomic():
                    cancel(job)
                    self.audit(
                        request, [job], before={"status": JobStatus.QUEUED}, after={"status": JobStatus.CANCELLED}
                    )
            except NotCancellable:
                continue  # the dispatcher was first
            self.log_change(request, job, "Cancelled.")
            cancelled += 1
        others = queryset.count() - cancelled
        kept = f" {others} were not queued any more and go on as they are." if others > 0 else ""
        level = messages.SUCCESS if cancelled else messages.WARNING
        self.message_user(request, f"{cancelled} cancelled.{kept}", level)

    @admin.action(description="Erase prompts and answers, at once and for good", permissions=["erase"])
    def erase_content(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        """Erases the content of those of the chosen jobs that are final; their books stay."""
        held, by = queryset.filter(content_erased_at__isnull=True), audit.who(request)
        erased = 0
        for job in held.filter(finished_at__isnull=False).order_by("pk")[:MOST_ERASED_AT_ONCE]:
            erase(job, by=by)
            self.log_change(request, job, "Content erased.")
            erased += 1
        left = held.count()
        kept = f" {left} are left: they are not final, or more than {MOST_ERASED_AT_ONCE}." if left else ""
        level = messages.SUCCESS if erased else messages.WARNING
        self.message_user(request, f"{erased} erased.{kept}", level)
