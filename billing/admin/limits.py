"""What people set: quotas and prices. A quota counts from the moment it is saved."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import DecimalField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.safestring import SafeString

from accounts.admin.base import BursarAdmin, list_of
from accounts.models import Organization
from billing.admin.money import usd_column
from billing.budgets import refresh_limits
from billing.clock import database_now
from billing.models import Budget, Price, Quota
from billing.periods import month_of


def refresh(organizations: Iterable[Organization]) -> None:
    """Writes the limits of these organizations, as far as they still exist, onto their budgets of this month."""
    now = database_now()
    # In one order, so that two of these cannot wait for each other.
    for organization in Organization.objects.filter(pk__in={o.pk for o in organizations}).order_by("pk"):
        refresh_limits(organization, now)


class MovesLimits(BursarAdmin):
    """A page whose rows decide limits: the budgets follow in the transaction that saves or deletes a row."""

    def organizations_of(self, obj: Any) -> Iterable[Organization]:
        """The organizations whose limits depend on the row."""
        return [obj.organization]

    @transaction.atomic
    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        before = self._organizations_before(obj) if change else []
        super().save_model(request, obj, form, change)
        refresh([*before, *self.organizations_of(obj)])

    @transaction.atomic
    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        affected = list(self.organizations_of(obj))
        super().delete_model(request, obj)
        refresh(affected)

    @transaction.atomic
    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        affected = [organization for obj in queryset for organization in self.organizations_of(obj)]
        super().delete_queryset(request, queryset)
        refresh(affected)

    def _organizations_before(self, obj: Any) -> list[Organization]:
        """Those of the row as it was: it may move from one organization to another."""
        return list(self.organizations_of(self.model._default_manager.get(pk=obj.pk)))


@admin.register(Quota)
class QuotaAdmin(MovesLimits):
    list_display = (
        "project",
        "organization",
        usd_column("limit_usd", "monthly limit"),
        usd_column("spent_usd", "spent this month"),
        usd_column("held_usd", "held now"),
        "created_at",
    )
    list_filter = ("project__organization",)
    list_select_related = ("project__organization",)
    search_fields = ("project__name", "project__slug", "project__organization__name")
    id_fields = ("pk", "project_id", "project__organization_id")
    date_hierarchy = "created_at"
    autocomplete_fields = ("project",)
    ordering = ("project__organization__name", "project__name")
    fields = ("project", "limit_usd")

    def get_readonly_fields(self, request: HttpRequest, obj: Quota | None = None) -> tuple[str, ...]:
        return ("project",) if obj else ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Quota]:
        found: QuerySet[Quota] = super().get_queryset(request)
        month = Budget.objects.filter(project=OuterRef("project"), window_start=month_of(database_now()).start)
        amounts = {
            name: Coalesce(Subquery(month.values(name)[:1]), Decimal(0), output_field=DecimalField())
            for name in ("spent_usd", "held_usd")
        }
        return found.annotate(**amounts)

    def organizations_of(self, obj: Quota) -> Iterable[Organization]:
        return [obj.project.organization]

    @admin.display(description="organization", ordering="project__organization__name")
    def organization(self, quota: Quota) -> str:
        return quota.project.organization.name


@admin.register(Price)
class PriceAdmin(BursarAdmin):
    list_display = (
        "model",
        "service_tier",
        "effective_from",
        usd_column("input_usd_per_million", "input / 1M"),
        usd_column("cached_input_usd_per_million", "cached input / 1M"),
        usd_column("output_usd_per_million", "output / 1M"),
        "source",
    )
    list_filter = ("service_tier", "effective_from", "model")
    search_fields = ("model", "source")
    id_fields = ()
    date_hierarchy = "effective_from"
    ordering = ("model", "service_tier", "-effective_from")
    readonly_fields = ("usage",)

    def get_fields(self, request: HttpRequest, obj: Price | None = None) -> Any:
        fields = [field for field in super().get_fields(request, obj) if field != "usage"]
        return [*fields, "usage"] if obj else fields

    @admin.display(description="used by")
    def usage(self, price: Price) -> SafeString:
        """A record keeps the figures that it was made with, whatever becomes of this row."""
        return list_of("billing_usagerecord", "Usage records at this price", price__id__exact=price.pk)
