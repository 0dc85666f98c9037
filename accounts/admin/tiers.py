"""Usage tiers, their rate limits, the payments behind a tier and the overrides that go before them."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from accounts.admin.base import EVERYBODYS, Act, BursarAdmin, Capability, Place, ProjectFilter, badge, dollars
from accounts.models import Payment, ProjectRateLimit, RateLimit, TierOverride, UsageTier


class UsageTierAdmin(BursarAdmin):
    """Registered by `billing.admin.standing`: a tier's row is the monthly limit of whoever stands at it."""

    place = EVERYBODYS
    sees = Capability.SEE

    list_display = ("name", "number", "effective_from", "paid", "minimum_days", "monthly_limit", "source")
    list_filter = ("number", "effective_from")
    search_fields = ("name", "source")
    id_fields = ()
    date_hierarchy = "effective_from"
    ordering = ("-effective_from", "number")

    @admin.display(description="asks for payments of", ordering="minimum_paid_usd")
    def paid(self, tier: UsageTier) -> str:
        return dollars(tier.minimum_paid_usd)

    @admin.display(description="monthly limit", ordering="monthly_limit_usd")
    def monthly_limit(self, tier: UsageTier) -> str:
        return dollars(tier.monthly_limit_usd)


@admin.register(RateLimit)
class RateLimitAdmin(BursarAdmin):
    place = EVERYBODYS
    sees = Capability.SEE
    list_display = (
        "model",
        "tier",
        "effective_from",
        "requests_per_minute",
        "tokens_per_minute",
        "requests_per_day",
        "tokens_per_day",
        "batch_queue_tokens",
    )
    list_filter = ("tier", "effective_from", "model")
    search_fields = ("model", "source")
    id_fields = ()
    date_hierarchy = "effective_from"
    ordering = ("model", "tier", "-effective_from")


@admin.register(ProjectRateLimit)
class ProjectRateLimitAdmin(BursarAdmin):
    place = Place(projects=("project",))
    sees = Capability.SEE
    changes = Capability.MANAGE_PROJECTS
    list_display = (
        "project",
        "organization",
        "model",
        "requests_per_minute",
        "tokens_per_minute",
        "requests_per_day",
        "tokens_per_day",
    )
    list_filter = ("model", ("project", ProjectFilter))
    list_select_related = ("project__organization",)
    search_fields = ("model", "project__name", "project__organization__name")
    id_fields = ("project_id",)
    autocomplete_fields = ("project",)
    ordering = ("project__organization__name", "project__name", "model")

    @admin.display(description="organization", ordering="project__organization__name")
    def organization(self, row: ProjectRateLimit) -> str:
        return row.project.organization.name


class PaymentAdmin(BursarAdmin):
    """Registered by `billing.admin.standing`: a payment can lift its organization to another tier."""

    place = Place(organization="organization")
    sees = Capability.SEE_SPEND

    list_display = ("paid_at", "organization", "amount", "reference")
    list_filter = ("organization", "paid_at")
    list_select_related = ("organization",)
    search_fields = ("reference", "organization__name", "organization__slug")
    id_fields = ("pk", "organization_id")
    date_hierarchy = "paid_at"
    autocomplete_fields = ("organization",)
    ordering = ("-paid_at",)

    @admin.display(description="amount", ordering="amount_usd")
    def amount(self, payment: Payment) -> str:
        return dollars(payment.amount_usd)


class TierOverrideAdmin(BursarAdmin):
    """Registered by `billing.admin.standing`. Written once, because who set a tier, and why, must stay true."""

    place = Place(organization="organization")
    sees = Capability.SEE_SPEND
    acts = {"end": Act("accounts.change_tieroverride", None)}

    list_display = ("organization", "tier", "state", "reason", "actor", "created_at", "ends_at")
    list_filter = ("tier", "organization")
    list_select_related = ("organization", "actor")
    search_fields = ("organization__name", "organization__slug", "reason", "actor__email")
    id_fields = ("organization_id",)
    date_hierarchy = "created_at"
    autocomplete_fields = ("organization",)
    ordering = ("-created_at", "-id")
    fields = ("organization", "tier", "reason", "ends_at", "actor", "created_at")
    readonly_fields = ("actor", "created_at")

    def get_fields(self, request: HttpRequest, obj: TierOverride | None = None) -> Any:
        return self.fields if obj else ("organization", "tier", "reason", "ends_at")

    def has_change_permission(self, request: HttpRequest, obj: TierOverride | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: TierOverride | None = None) -> bool:
        return False

    def has_end_permission(self, request: HttpRequest) -> bool:
        """Ending is the one change there is, for whoever has the right to change; the page gives it to nobody."""
        return self.may(request, "end")

    def save_model(self, request: HttpRequest, obj: TierOverride, form: Any, change: bool) -> None:
        obj.actor = request.user  # type: ignore[assignment]
        super().save_model(request, obj, form, change)

    @admin.display(description="state")
    def state(self, override: TierOverride) -> SafeString:
        """Of several that have not ended, the newest counts."""
        ended = override.ends_at is not None and override.ends_at <= timezone.now()
        return badge("quiet", "ended") if ended else badge("good", "open")

    def end_open(self, request: HttpRequest, queryset: QuerySet[TierOverride], now: datetime) -> list[TierOverride]:
        """Ends the overrides that have not ended, and notes it in their history; returns them, as they were."""
        open_ones = [o for o in queryset.select_for_update(of=("self",)) if o.ends_at is None or o.ends_at > now]
        TierOverride.objects.filter(pk__in=[override.pk for override in open_ones]).update(ends_at=now)
        for override in open_ones:
            self.log_change(request, override, "Ended.")
        return open_ones
