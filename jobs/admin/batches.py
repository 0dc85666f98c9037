"""Batches: how far each is, what its lines came to; shown only. One that has not ended can be cancelled."""

from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from accounts.admin.base import Act, Capability, Place, ProjectFilter, ReadOnlyAdmin, badge, link
from billing.admin.money import cost_columns, tokens_column, usd_column
from jobs.batches.errors import BatchNotCancellable
from jobs.batches.moving import cancel
from jobs.batches.states import BatchStatus, LineStatus
from jobs.models import Batch, File

BATCH_BADGES = {
    BatchStatus.VALIDATING: "busy",
    BatchStatus.FAILED: "bad",
    BatchStatus.IN_PROGRESS: "busy",
    BatchStatus.FINALIZING: "busy",
    BatchStatus.COMPLETED: "good",
    BatchStatus.EXPIRED: "doubt",
    BatchStatus.CANCELLING: "busy",
    BatchStatus.CANCELLED: "quiet",
}
# Faults of the file, and lines without an answer, that a page lists; the error file has all of them.
MOST_LISTED = 20
WITHOUT_ANSWER = (LineStatus.FAILED, LineStatus.EXPIRED, LineStatus.CANCELLED)


@admin.register(Batch)
class BatchAdmin(ReadOnlyAdmin):
    place = Place(projects=("project",))
    sees = Capability.SEE
    acts = {"cancel": Act("jobs.change_batch", Capability.SUBMIT)}
    actions = ("cancel_chosen",)
    list_display = (
        "batch",
        "state",
        "progress",
        "model",
        usd_column("total_usd", "cost"),
        "failed",
        "project",
        "created_at",
        "expires_at",
    )
    list_filter = ("status", "created_at", "project__organization", ("project", ProjectFilter))
    list_select_related = ("project", "project__organization")
    search_fields = ("model", "project__name", "project__slug", "project__organization__name")
    id_fields = ("pk", "input_file_id", "output_file_id", "error_file_id", "project_id", "project__organization_id")
    ordering = ("-id",)
    fieldsets = (
        (None, {"fields": ("batch", "state", "progress", "faults", "unanswered")}),
        ("Whose", {"fields": ("organization", "project", "api_key", "metadata")}),
        ("Lines", {"fields": ("model", "total", "completed", "failed", "expired", "cancelled", "priority")}),
        ("Files", {"fields": ("reads", "output", "without")}),
        (
            "At the provider",
            {
                "fields": (
                    "at_provider",
                    "there",
                    "answered_at_provider",
                    usd_column("saved_usd", "saved against the standard price"),
                )
            },
        ),
        (
            "Cost",
            {
                "fields": (
                    *cost_columns(),
                    usd_column("max_cost_usd", "its maker's maximum"),
                    tokens_column("input_tokens"),
                    tokens_column("output_tokens"),
                    tokens_column("reasoning_tokens"),
                )
            },
        ),
        (
            "Times",
            {
                "fields": (
                    *("created_at", "completion_window", "expires_at", "in_progress_at", "finalizing_at"),
                    *("completed_at", "failed_at", "expired_at", "cancelling_at", "cancelled_at"),
                )
            },
        ),
    )

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Cancelling is the one change there is, for whoever may submit; the page itself gives it to nobody."""
        return self.may(request, "cancel")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Batch]:
        found: QuerySet[Batch] = super().get_queryset(request)
        return found.select_related("project__organization", "api_key", "input_file", "output_file", "error_file")

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[Any, bool]:
        # Ids are pasted as the API writes them.
        term = search_term.strip().removeprefix("batch_").removeprefix("file-")
        return super().get_search_results(request, queryset, term)

    @admin.display(description="batch", ordering="id")
    def batch(self, batch: Batch) -> SafeString:
        return format_html('<code class="nowrap" title="{}">…{}</code>', batch.public_id, batch.public_id[-12:])

    @admin.display(description="status", ordering="status")
    def state(self, batch: Batch) -> SafeString:
        return badge(BATCH_BADGES[BatchStatus(batch.status)], batch.get_status_display())

    @admin.display(description="progress")
    def progress(self, batch: Batch) -> SafeString:
        """A bar of the lines that have ended, with the figures beside it for those who do not see it."""
        if batch.status == BatchStatus.VALIDATING:
            share = 100 * batch.read_bytes // max(batch.input_file.bytes, 1)
            sentence = f"{batch.read_lines:,} lines looked at"
        else:
            share = 100 * batch.ended // max(batch.total, 1)
            sentence = f"{batch.ended:,} of {batch.total:,} lines"
        return format_html(
            '<svg class="fill-bar" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="{0}">'
            '<title>{0}</title><rect class="fill-remaining" x="0" y="0" width="100" height="10"></rect>'
            '<rect class="fill-spent" x="0" y="0" width="{1}" height="10"></rect></svg> {0}',
            sentence,
            min(share, 100),
        )

    @admin.display(description="organization", ordering="project__organization__name")
    def organization(self, batch: Batch) -> str:
        return batch.project.organization.name

    @admin.display(description="faults of the file")
    def faults(self, batch: Batch) -> object:
        # Their words may quote what was asked, and are for the API's callers.
        told = [(one["line"] or "–", one["code"]) for one in batch.errors[:MOST_LISTED]]
        return format_html_join("", "<div>line {}: {}</div>", told) or "–"

    @admin.display(description="lines without an answer")
    def unanswered(self, batch: Batch) -> object:
        lines = batch.lines.filter(status__in=WITHOUT_ANSWER).select_related("job").order_by("number")[:MOST_LISTED]
        told = []
        for line in lines:
            error = (line.error or {}).get("body", {}).get("error") or line.error or {}
            job = link(reverse("admin:jobs_job_change", args=[line.job_id]), "job") if line.job_id else "no job"
            told.append((line.number, job, line.get_status_display(), error.get("code") or "–"))
        return format_html_join("", "<div>line {} ({}): {}, {}</div>", told) or "–"

    @admin.display(description="batches there")
    def there(self, batch: Batch) -> object:
        """Each by the provider's own id, the latest first."""
        rows = batch.provider_batches.order_by("-id")[:MOST_LISTED]
        told = [
            (
                row.provider_id or "no id yet",
                f"{row.size:,} lines",
                row.provider_status or row.get_status_display().lower(),
                f", {row.error_code}" if row.error_code else "",
            )
            for row in rows
        ]
        return format_html_join("", "<div><code>{}</code>: {}, {}{}</div>", told) or "–"

    @admin.display(description="requests")
    def reads(self, batch: Batch) -> str:
        return _file(batch.input_file)

    @admin.display(description="answers")
    def output(self, batch: Batch) -> str:
        return _file(batch.output_file)

    @admin.display(description="errors")
    def without(self, batch: Batch) -> str:
        return _file(batch.error_file)

    @admin.action(description="Cancel batches", permissions=["cancel"])
    def cancel_chosen(self, request: HttpRequest, queryset: QuerySet[Batch]) -> None:
        """Cancels those of the chosen batches that have not ended; calls under way go on and are billed."""
        cancelled = 0
        for batch in queryset.filter(status__in=[BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS]):
            before = batch.status
            try:
                with transaction.atomic():
                    cancel(batch)
                    self.audit(request, [batch], before={"status": before}, after={"status": BatchStatus.CANCELLING})
            except BatchNotCancellable:
                continue  # it has come to its end meanwhile
            self.log_change(request, batch, "Cancelled.")
            cancelled += 1
        others = queryset.count() - cancelled
        kept = f" {others} had ended, or are about to." if others > 0 else ""
        self.message_user(request, f"{cancelled} cancelled.{kept}", messages.SUCCESS if cancelled else messages.WARNING)


def _file(file: File | None) -> str:
    """Its content is for the API's callers: no page shows it."""
    return "–" if file is None else f"{file.public_id}: {file.bytes:,} bytes, {file.get_status_display()}"
