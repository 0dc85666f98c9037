"""Breakers that are open: whose calls wait because the provider fails or refuses them, since when, and why."""

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from accounts.admin.base import Act, Capability, Place, ProjectFilter, ReadOnlyAdmin, badge
from jobs import breakers, waking
from jobs.admin.words import error_in_words
from jobs.models import Breaker, BreakerReason


@admin.register(Breaker)
class BreakerAdmin(ReadOnlyAdmin):
    place = Place(organization="organization", projects=("project",))
    sees = Capability.SEE
    acts = {"try": Act("jobs.change_breaker", Capability.MANAGE_PROJECTS)}
    actions = ("try_now",)
    list_display = ("models", "organization", "whose", "why", "said", "opened_at", "next_probe_at", "probes")
    list_filter = ("reason", "family", "organization", ("project", ProjectFilter))
    list_select_related = ("organization", "project")
    search_fields = ("family", "organization__name", "project__name", "project__slug")
    id_fields = ("organization_id", "project_id", "probe_id")
    ordering = ("-opened_at",)
    fields = ("organization", "whose", "models", "why", "said", "opened_at", "next_probe_at", "probes", "probe_id")

    def has_try_permission(self, request: HttpRequest) -> bool:
        """Trying is the one change there is, for whoever has the right to change; the page gives it to nobody."""
        return self.may(request, "try")

    @admin.display(description="models", ordering="family")
    def models(self, breaker: Breaker) -> str:
        return breaker.family or "all"

    @admin.display(description="project", ordering="project__name")
    def whose(self, breaker: Breaker) -> str:
        return breaker.project.name if breaker.project else "all"

    @admin.display(description="reason", ordering="reason")
    def why(self, breaker: Breaker) -> SafeString:
        colour = "doubt" if breaker.reason == BreakerReason.UNAVAILABLE else "bad"
        return badge(colour, breaker.get_reason_display())

    @admin.display(description="said last")
    def said(self, breaker: Breaker) -> str:
        return error_in_words(breaker.error)

    @admin.action(description="Let a call try now", permissions=["try"])
    def try_now(self, request: HttpRequest, queryset: QuerySet[Breaker]) -> None:
        chosen = list(queryset)
        with transaction.atomic():
            count = breakers.probe_soon(queryset)
            self.audit(request, chosen, after={"next_probe_at": "now"})
        waking.wake()
        for breaker in chosen:
            self.log_change(request, breaker, "Let a call try.")
        self.message_user(request, f"A call tries at once for {count}.", messages.SUCCESS)
