"""Comparisons: the list, and pages that only show. One that runs can be cancelled, what one asked erased once it has
ended, and a new one started.
"""

from typing import Any
from uuid import UUID, uuid4

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.safestring import SafeString

from accounts import api_keys, audit
from accounts.admin.base import Act, Capability, Place, ProjectFilter, ReadOnlyAdmin, badge
from accounts.admin.scope import sight_of
from accounts.errors import DomainError
from accounts.idempotency import Answer, run_once
from accounts.models import ApiKey, AuditAction
from billing.admin.money import dollars, usd_column
from billing.clock import database_now, nearly_now
from billing.money import usd
from jobs.admin.comparisons import shown
from jobs.admin.comparisons.forms import Start, start_of, with_more_rows
from jobs.comparisons import checking, creation, steps
from jobs.comparisons.errors import ComparisonNotCancellable
from jobs.comparisons.outcomes import Progress, progress_of
from jobs.comparisons.requests import Wanted
from jobs.comparisons.results import results_of
from jobs.comparisons.states import ComparisonStatus
from jobs.erasure import erase_comparison
from jobs.errors import NotErasable
from jobs.models import Comparison

BADGES = {
    ComparisonStatus.RUNNING: "busy",
    ComparisonStatus.CANCELLING: "busy",
    ComparisonStatus.COMPLETED: "good",
    ComparisonStatus.CANCELLED: "quiet",
}
TEMPLATES = "admin/comparisons/"
# A longer list of keys is no help to anybody.
MOST_KEYS = 500
# Each may have a thousand jobs.
MOST_ERASED_AT_ONCE = 100


@admin.register(Comparison)
class ComparisonAdmin(ReadOnlyAdmin):
    place = Place(projects=("project",))
    sees = Capability.SEE
    acts = {
        "cancel": Act("jobs.change_comparison", Capability.SUBMIT),
        "erase": Act("jobs.delete_jobcontent", Capability.MANAGE_PROJECTS),
        "start": Act("jobs.add_comparison", Capability.SUBMIT),
        "see_content": Act("jobs.view_jobcontent", Capability.SEE_CONTENT),
    }
    actions = ("cancel_chosen", "erase_content")
    change_list_template = f"{TEMPLATES}change_list.html"
    list_display = (
        "title",
        "state",
        "asked",
        "progress",
        "spent",
        usd_column("max_cost_usd", "ceiling"),
        "project",
        "created_at",
    )
    list_filter = ("status", "created_at", "project__organization", ("project", ProjectFilter))
    list_select_related = ("project", "project__organization")
    search_fields = ("name", "project__name", "project__slug", "project__organization__name")
    id_fields = ("pk", "project_id", "project__organization_id")
    ordering = ("-id",)

    def _by_django(self, request: HttpRequest, act: str) -> bool:
        # Of the staff, content is for superusers alone, as on the pages of jobs' contents.
        if act == "see_content":
            return request.user.is_active and request.user.is_superuser
        return super()._by_django(request, act)

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Cancelling is for whoever may submit; the page itself gives no other change to anybody."""
        return self.may(request, "cancel")

    def has_erase_permission(self, request: HttpRequest) -> bool:
        """Erasing is for whoever may say how long the project keeps content."""
        return self.may(request, "erase")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Comparison]:
        found: QuerySet[Comparison] = super().get_queryset(request)
        return found.select_related("project__organization", "api_key").defer("content")

    def get_urls(self) -> list[Any]:
        wrap = self.admin_site.admin_view
        return [
            path("start/", wrap(self.start_page), name="jobs_comparison_start"),
            path("<uuid:comparison_id>/live/", wrap(self.live_part), name="jobs_comparison_live"),
            path("<uuid:comparison_id>/cancel/", wrap(self.cancel_one), name="jobs_comparison_cancel"),
            *super().get_urls(),
        ]

    # --- The list -----------------------------------------------------------------------------------------------------
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        shown_too = {"may_start": self.may(request, "start"), **(extra_context or {})}
        page: HttpResponse = super().changelist_view(request, shown_too)
        if isinstance(page, TemplateResponse) and "cl" in (page.context_data or {}):
            # For all rows together, before they are written.
            rows: Any = list((page.context_data or {})["cl"].result_list)
            progress = progress_of(rows)
            for row in rows:
                row.read_progress = progress[row.pk]
        return page

    @admin.display(description="comparison", ordering="id")
    def title(self, comparison: Comparison) -> str:
        return comparison.name or f"…{str(comparison.pk)[-12:]}"

    @admin.display(description="status", ordering="status")
    def state(self, comparison: Comparison) -> SafeString:
        return badge(BADGES[ComparisonStatus(comparison.status)], comparison.get_status_display())

    @admin.display(description="asks")
    def asked(self, comparison: Comparison) -> str:
        prompts, variants = len(comparison.prompt_names), len(comparison.variants)
        return f"{prompts} prompt{'s' * (prompts > 1)} on {variants} variant{'s' * (variants > 1)}, {comparison.times}×"

    @admin.display(description="progress")
    def progress(self, comparison: Comparison) -> str:
        found = _progress(comparison)
        return f"{found.ended:,} of {found.runs:,} runs"

    @admin.display(description="spent")
    def spent(self, comparison: Comparison) -> str:
        return dollars(_progress(comparison).spent_usd)

    @admin.action(description="Cancel comparisons", permissions=["cancel"])
    def cancel_chosen(self, request: HttpRequest, queryset: QuerySet[Comparison]) -> None:
        """Cancels those of the chosen that run; calls under way go on and are billed."""
        cancelled = sum(self._cancel(request, one) for one in queryset.filter(status=ComparisonStatus.RUNNING))
        others = queryset.count() - cancelled
        kept = f" {others} had ended, or are about to." if others > 0 else ""
        self.message_user(request, f"{cancelled} cancelled.{kept}", messages.SUCCESS if cancelled else messages.WARNING)

    @admin.action(description="Erase prompts and answers, at once and for good", permissions=["erase"])
    def erase_content(self, request: HttpRequest, queryset: QuerySet[Comparison]) -> None:
        """Erases the content of those of the chosen that have ended, and of their jobs; their books stay."""
        held, by = queryset.filter(content_erased_at__isnull=True), audit.who(request)
        erased = 0
        for comparison in held.filter(finished_at__isnull=False).order_by("pk")[:MOST_ERASED_AT_ONCE]:
            try:
                erase_comparison(comparison, by=by)
            except NotErasable:
                continue  # a call of it is in doubt
            self.log_change(request, comparison, "Content erased.")
            erased += 1
        left = held.count()
        why = f"they run, have a call in doubt, or are more than {MOST_ERASED_AT_ONCE}"
        kept = f" {left} are left: {why}. Cancel what runs." if left else ""
        self.message_user(request, f"{erased} erased.{kept}", messages.SUCCESS if erased else messages.WARNING)

    # --- One of them --------------------------------------------------------------------------------------------------
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Its figures, and what was asked and answered for whoever may see that, who is on record for it. While it
        runs, content is shown to those who ask for it.
        """
        comparison: Comparison | None = self.get_object(request, object_id)
        if request.method != "GET" or comparison is None or not self.has_view_permission(request, comparison):
            page: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
            return page
        results = results_of(comparison)
        may_see = comparison.content_erased_at is None and self.may(request, "see_content", comparison)
        wants = comparison.has_ended or "answers" in request.GET
        found = {**shown.shown(comparison, results), "may_see_content": may_see, "shows_content": may_see and wants}
        if may_see and wants:
            with transaction.atomic():
                self.audit(request, [comparison], AuditAction.VIEWED)
            found["prompts"] = shown.answers_shown(comparison, results)
        found["may_cancel"] = comparison.status == ComparisonStatus.RUNNING and self.may(request, "cancel", comparison)
        found["state"] = badge(BADGES[ComparisonStatus(comparison.status)], comparison.get_status_display())
        return self._page(request, "comparison.html", str(comparison), found)

    def live_part(self, request: HttpRequest, comparison_id: UUID) -> HttpResponse:
        """The figures alone, as they stand now."""
        comparison = self._one(request, comparison_id, "view")
        found = {
            **shown.shown(comparison, results_of(comparison)),
            "sees": self.admin_site.each_context(request)["sees"],
        }
        return TemplateResponse(request, f"{TEMPLATES}_figures.html", found)

    def cancel_one(self, request: HttpRequest, comparison_id: UUID) -> HttpResponse:
        """Cancels it, and goes back to its page."""
        comparison = self._one(request, comparison_id, "cancel")
        if request.method == "POST":
            if self._cancel(request, comparison):
                messages.success(request, "Cancelled: nothing more is begun, and calls under way are still counted.")
            else:
                messages.warning(request, "It had ended, or is being cancelled.")
        return HttpResponseRedirect(reverse("admin:jobs_comparison_change", args=[comparison.pk]))

    def _one(self, request: HttpRequest, comparison_id: UUID, act: str) -> Comparison:
        """A comparison with which the person may do this. Raises Http404."""
        comparison: Comparison | None = self.get_object(request, str(comparison_id))
        if comparison is None or not self.may(request, act, comparison):
            self._get_obj_does_not_exist_redirect(request, self.opts, str(comparison_id))
        assert comparison is not None, "what is not there was answered before"
        return comparison

    def _cancel(self, request: HttpRequest, comparison: Comparison) -> bool:
        """Whether it ran, and is cancelled now or soon."""
        if comparison.status != ComparisonStatus.RUNNING:
            return False
        try:
            with transaction.atomic():
                steps.cancel(comparison)
                before, after = ({"status": one} for one in (ComparisonStatus.RUNNING, ComparisonStatus.CANCELLING))
                self.audit(request, [comparison], before=before, after=after)
        except ComparisonNotCancellable:
            return False  # it has come to its end meanwhile
        self.log_change(request, comparison, "Cancelled.")
        return True

    # --- A new one ----------------------------------------------------------------------------------------------------
    def start_page(self, request: HttpRequest) -> HttpResponse:
        """Asks what to compare, shows what it can cost at most, and starts it once that was seen."""
        if not self.may(request, "start"):
            self._get_obj_does_not_exist_redirect(request, self.opts, "start")
        keys = self._keys(request)
        data = request.POST if request.method == "POST" else None
        if data is not None and data.get("act") == "more":
            return self._start(request, with_more_rows(data, keys), {})
        start = start_of(data, keys)
        wanted = start.wanted() if data is not None else None
        found: dict[str, Any] = {}
        if wanted is not None:
            try:
                comparison_id, found = self._try(request, start, wanted)
            except DomainError as error:
                start.refuse(error)
            else:
                if comparison_id:
                    messages.success(request, "Started.")
                    return HttpResponseRedirect(reverse("admin:jobs_comparison_change", args=[comparison_id]))
        return self._start(request, start, found)

    def _try(self, request: HttpRequest, start: Start, wanted: Wanted) -> tuple[str, dict[str, Any]]:
        """The id of the comparison that was started, or its preview. Raises DomainError."""
        key = api_keys.find_again(start.form.cleaned_data["api_key"].secret_hash, database_now())
        if key is None:
            raise DomainError("This key cannot be used any more.", param="api_key")
        bounds = checking.bounds_of(key, wanted, nearly_now())
        data, digest = request.POST, start.digest()
        if data.get("act") != "start" or data.get("seen") != digest:
            found = {"preview": _preview(wanted, bounds), "seen": digest, "must_be_seen": data.get("act") == "start"}
            return "", found

        def work() -> Answer:
            comparison = creation.create(key, wanted)
            after = {"name": wanted.name, "calls": wanted.runs, "max_cost_usd": usd(wanted.max_cost_usd)}
            audit.record_about(comparison, AuditAction.CREATED, by=audit.who(request), after=after)
            return Answer(202, str(comparison.pk))

        # Whoever clicks twice starts one.
        with transaction.atomic():
            answer = run_once(key.project, f"admin-{_uuid(data)}", digest, work)
        return str(answer.body), {}

    def _start(self, request: HttpRequest, start: Start, found: dict[str, Any]) -> HttpResponse:
        once = _uuid(request.POST) if request.method == "POST" else uuid4()
        given = {"form": start.form, "rows": start.rows, "once": once, **found}
        return self._page(request, "start.html", "New comparison", given)

    def _keys(self, request: HttpRequest) -> "QuerySet[ApiKey]":
        """The keys that the person may book calls on: their own where they may submit, and all where they manage keys,
        since a key's limits are those of whoever made it.
        """
        alive = Q(expires_at__isnull=True) | Q(expires_at__gt=database_now())
        found = ApiKey.objects.filter(alive, revoked_at__isnull=True).select_related("project__organization")
        if not self._by_django(request, "start"):
            sight = sight_of(request)
            mine = Q(created_by=request.user.pk) | Q(project__in=sight.ids("projects", Capability.MANAGE_KEYS))
            found = found.filter(mine, project__in=sight.ids("projects", Capability.SUBMIT))
        newest = found.order_by("-created_at").values("pk")[:MOST_KEYS]
        return found.filter(pk__in=list(newest.values_list("pk", flat=True))).order_by(
            "project__organization__name", "project__name", "name"
        )

    def _page(self, request: HttpRequest, template: str, title: str, found: dict[str, Any]) -> HttpResponse:
        common = {**self.admin_site.each_context(request), "title": title, "opts": self.opts, "media": self.media}
        return TemplateResponse(request, f"{TEMPLATES}{template}", {**common, **found})


def _progress(comparison: Any) -> Progress:
    """Read once for a row of the list."""
    if not hasattr(comparison, "read_progress"):
        comparison.read_progress = progress_of([comparison])[comparison.pk]
    found: Progress = comparison.read_progress
    return found


def _preview(wanted: Wanted, bounds: list[list[Any]]) -> dict[str, Any]:
    """What each variant, and all of them, can cost at most."""
    rows = [
        {
            "name": variant.name,
            "one": dollars(max(row[place] for row in bounds)),
            "all": dollars(wanted.times * sum(row[place] for row in bounds)),
        }
        for place, variant in enumerate(wanted.variants)
    ]
    most = checking.at_most(wanted, bounds)
    return {
        "rows": rows,
        "calls": wanted.runs,
        "without": dollars(most),
        "most": dollars(min(most, wanted.max_cost_usd)),
        "ceiling": dollars(wanted.max_cost_usd),
        "fits": most <= wanted.max_cost_usd,
    }


def _uuid(data: QueryDict) -> UUID:
    """What tells this form from another; a new one where it was not sent whole."""
    try:
        return UUID(data.get("once", ""))
    except ValueError:
        return uuid4()
