"""The queue of doubts: what was looked up, what is held, and what a person decides, with a reason."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import transaction
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

from accounts import audit
from accounts.admin.base import Act, Capability, Place, ProjectFilter, ReadOnlyAdmin, badge, list_of, page_of, short_id
from billing.admin.money import dollars, usd_column
from billing.models import Reservation
from jobs.admin.words import error_in_words
from jobs.models import Doubt
from jobs.recovery import decisions
from jobs.states import DoubtStatus

BADGES = {
    DoubtStatus.OPEN: "doubt",
    DoubtStatus.FOUND: "good",
    DoubtStatus.ANSWERED: "good",
    DoubtStatus.REFUSED: "quiet",
    DoubtStatus.PRESUMED_SPENT: "bad",
    DoubtStatus.RERUN: "bad",
    DoubtStatus.RELEASED: "quiet",
}
# Each decision locks a book and is told apart.
MOST_AT_ONCE = 200
LEAST_REASON = 5
CONSEQUENCES = {
    "presume_spent": "What each holds is booked as spent, and its job has failed. Should the truth come to light "
    "later, the books are corrected by an entry.",
    "release": "What each holds is given back, and its job is queued again. Only for calls that the provider has "
    "confirmed it did not bill: otherwise the books fall below the bill.",
    "run_again": "What each holds is booked as spent, and its job is queued again: it may be paid twice.",
}


@admin.register(Doubt)
class DoubtAdmin(ReadOnlyAdmin):
    place = Place(projects=("attempt__job__project",))
    sees = Capability.SEE_SPEND
    acts = {"decide": Act("jobs.change_doubt", Capability.REVIEW_SPEND)}
    actions = ("look_up_now", "presume_spent", "release", "run_again")
    list_display = (
        "attempt_id_short",
        "state",
        "age",
        "project",
        "asked_model",
        "held",
        "looks",
        "last_look",
        "looked_at",
        "next_look_at",
        "resolved_at",
    )
    list_filter = ("status", "opened_at", ("attempt__job__project", ProjectFilter))
    list_select_related = ("attempt__job__project__organization",)
    search_fields = ("attempt__job__project__name", "attempt__job__model", "attempt__error_code")
    id_fields = ("pk", "attempt__job_id", "attempt__job__project_id")
    ordering = ("-attempt_id",)
    fieldsets = (
        (None, {"fields": ("state", "project", "job", "asked_model", "why", "held", "books")}),
        ("Looks", {"fields": ("opened_at", "findable", "looks", "looked_at", "last_look", "next_look_at")}),
        ("Outcome", {"fields": ("resolved_at", "actor", "reason", "corrected_at", usd_column("corrected_usd"))}),
    )

    def has_decide_permission(self, request: HttpRequest) -> bool:
        """Deciding is the one change there is, for whoever has the right to change; the page gives it to nobody."""
        return self.may(request, "decide")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Doubt]:
        found: QuerySet[Doubt] = super().get_queryset(request)
        reservation = Reservation.objects.filter(reference=OuterRef("pk"), is_in_doubt=True)
        return found.select_related("attempt__job__project__organization", "actor").annotate(
            held_usd=Subquery(reservation.values("amount_usd")[:1])
        )

    @admin.display(description="attempt", ordering="attempt_id")
    def attempt_id_short(self, doubt: Doubt) -> SafeString:
        return short_id(doubt.pk)

    @admin.display(description="status", ordering="status")
    def state(self, doubt: Doubt) -> SafeString:
        return badge(BADGES[DoubtStatus(doubt.status)], doubt.get_status_display())

    @admin.display(description="age", ordering="opened_at")
    def age(self, doubt: Doubt) -> str:
        return timesince(doubt.opened_at, doubt.resolved_at)

    @admin.display(description="project")
    def project(self, doubt: Doubt) -> SafeString:
        return page_of(doubt.attempt.job.project)

    @admin.display(description="job")
    def job(self, doubt: Doubt) -> SafeString:
        return page_of(doubt.attempt.job)

    @admin.display(description="model")
    def asked_model(self, doubt: Doubt) -> str:
        return doubt.attempt.job.model

    @admin.display(description="held")
    def held(self, doubt: Any) -> str:
        return "–" if doubt.held_usd is None else dollars(doubt.held_usd)

    @admin.display(description="why")
    def why(self, doubt: Doubt) -> str:
        return error_in_words({"code": doubt.attempt.error_code, "message": doubt.attempt.error_message})

    @admin.display(description="kept by the provider", boolean=True)
    def findable(self, doubt: Doubt) -> bool:
        return doubt.attempt.is_findable

    @admin.display(description="in the books")
    def books(self, doubt: Doubt) -> SafeString:
        return list_of("billing_ledgerentry", "Ledger entries", reservation__reference=doubt.pk)

    @admin.action(description="Look up at the provider now", permissions=["decide"])
    def look_up_now(self, request: HttpRequest, queryset: QuerySet[Doubt]) -> None:
        """The next round, seconds from now, looks those up that the provider was asked to keep."""
        due = 0
        for doubt in queryset[:MOST_AT_ONCE]:
            with transaction.atomic():
                if decisions.look_up_now(doubt.pk):
                    self.audit(request, [doubt], after={"next_look_at": "now"})
                    due += 1
        self.message_user(
            request, f"{due} will be looked up in a moment.", messages.SUCCESS if due else messages.WARNING
        )

    @admin.action(description="Presume spent ...", permissions=["decide"])
    def presume_spent(self, request: HttpRequest, queryset: QuerySet[Doubt]) -> HttpResponse | None:
        return self._decide(request, queryset, "presume_spent", decisions.presume_spent)

    @admin.action(description="Release: the provider did not bill it ...", permissions=["decide"])
    def release(self, request: HttpRequest, queryset: QuerySet[Doubt]) -> HttpResponse | None:
        return self._decide(request, queryset, "release", decisions.release)

    @admin.action(description="Run again, which may pay twice ...", permissions=["decide"])
    def run_again(self, request: HttpRequest, queryset: QuerySet[Doubt]) -> HttpResponse | None:
        return self._decide(request, queryset, "run_again", decisions.run_again)

    def _decide(
        self, request: HttpRequest, queryset: QuerySet[Doubt], action: str, decide: Callable[..., bool]
    ) -> HttpResponse | None:
        """Asks for a reason and a confirmation first; decides when both are there."""
        reason = request.POST.get("reason", "").strip()
        is_confirmed = "confirmed" in request.POST
        if not is_confirmed or len(reason) < LEAST_REASON:
            return self._ask(request, queryset, action, is_reason_missing=is_confirmed)
        chosen = list(queryset.filter(status=DoubtStatus.OPEN)[:MOST_AT_ONCE])
        decided = 0
        for doubt in chosen:
            if decide(doubt.pk, reason=reason, actor=request.user, by=audit.who(request)):
                self.log_change(request, doubt, f"{action.replace('_', ' ')}: {reason}"[:500])
                decided += 1
        kept = queryset.count() - decided
        told = f"{decided} decided." + (f" {kept} were not open any more and stay as they are." if kept else "")
        self.message_user(request, told, messages.SUCCESS if decided else messages.WARNING)
        return None

    def _ask(
        self, request: HttpRequest, queryset: QuerySet[Doubt], action: str, *, is_reason_missing: bool
    ) -> HttpResponse:
        chosen = list(queryset.filter(status=DoubtStatus.OPEN)[:MOST_AT_ONCE])
        context = {
            **self.admin_site.each_context(request),
            "title": f"{len(chosen)} doubts: {action.replace('_', ' ')}?",
            "opts": self.model._meta,
            "media": self.media,
            "action": action,
            "consequence": CONSEQUENCES[action],
            "rows": [(doubt, doubt.attempt.job, self.held(doubt), self.age(doubt)) for doubt in chosen],
            "is_reason_missing": is_reason_missing,
            "checkbox": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/jobs/doubt/decide.html", context)
