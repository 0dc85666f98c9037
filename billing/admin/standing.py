"""The pages of `accounts` whose rows move limits: terms, tiers, payments, overrides. A save refreshes the budgets."""

from collections.abc import Iterable

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.admin import organizations, tiers
from accounts.models import Organization, Payment, TierOverride, UsageTier
from billing.admin.limits import MovesLimits, refresh
from billing.clock import database_now


@admin.register(Organization)
class OrganizationAdmin(MovesLimits, organizations.OrganizationAdmin):
    def organizations_of(self, obj: Organization) -> Iterable[Organization]:
        return [obj]


@admin.register(UsageTier)
class UsageTierAdmin(MovesLimits, tiers.UsageTierAdmin):
    def organizations_of(self, obj: UsageTier) -> Iterable[Organization]:
        # Whoever stands at the tier, and whoever would: that depends on every payment.
        return Organization.objects.all()


@admin.register(Payment)
class PaymentAdmin(MovesLimits, tiers.PaymentAdmin):
    pass


@admin.register(TierOverride)
class TierOverrideAdmin(MovesLimits, tiers.TierOverrideAdmin):
    actions = ("end",)

    @admin.action(description="End now: payments decide again", permissions=["end"])
    @transaction.atomic
    def end(self, request: HttpRequest, queryset: QuerySet[TierOverride]) -> None:
        # The instant by which `refresh` reads them: a later one of this machine would still count them as open.
        now = database_now()
        ended = self.end_open(request, queryset, now)
        refresh(override.organization for override in queryset.select_related("organization"))
        for override in ended:
            self.audit(request, [override], before={"ends_at": override.ends_at}, after={"ends_at": now})
        level = messages.SUCCESS if ended else messages.WARNING
        self.message_user(request, f"{len(ended)} ended.", level)
