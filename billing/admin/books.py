"""What was written about money, shown only: budgets, reservations and their holds, ledger entries, usage records."""

from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.db.models import F, QuerySet
from django.db.models.functions import Greatest
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from accounts.admin.base import (
    Capability,
    Place,
    ProjectFilter,
    ReadOnlyAdmin,
    ReadOnlyInline,
    badge,
    list_of,
    page_of,
    short_id,
)
from billing.admin.money import amount_column, month_column, share, tokens_column, usd_column, window_in_words
from billing.models import Budget, Hold, LedgerEntry, Price, Reservation, UsageRecord
from billing.models.budgets import ReservationStatus
from billing.periods import Window

RESERVATION_BADGES = {
    ReservationStatus.OPEN: "busy",
    ReservationStatus.SETTLED: "good",
    ReservationStatus.RELEASED: "quiet",
}


# All that the name of a budget is made of, from the budget.
NAMED = (
    "organization",
    "project",
    "quota__organization",
    "quota__team",
    "quota__project",
    "quota__member",
    "quota__api_key",
)


class ModelFilter(admin.SimpleListFilter):
    """By model; the choices are the priced models, so that no growing table is read for them."""

    title = "model"
    parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = Price.objects.order_by("model").values_list("model", flat=True).distinct()
        return [(name, name) for name in names]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(model=self.value()) if self.value() else queryset


@admin.register(Budget)
class BudgetAdmin(ReadOnlyAdmin):
    place = Place(
        organization="organization",
        projects=("project", "quota__project", "quota__api_key__project"),
        teams=("quota__team",),
        person="quota__member",
    )
    sees = Capability.SEE_SPEND
    list_display = (
        "owner",
        "organization",
        "scope",
        "set_by",
        "counted_model",
        "window",
        amount_column("limit"),
        amount_column("spent"),
        amount_column("held"),
        amount_column("remaining"),
    )
    list_filter = ("scope", "measure", "quota__window", "window_start", "organization")
    list_select_related = NAMED
    search_fields = (
        "organization__name",
        "organization__slug",
        "project__name",
        "project__slug",
        "quota__team__name",
        "quota__member__email",
        "quota__api_key__name",
    )
    id_fields = ("pk", "organization_id", "project_id", "quota_id")
    ordering = ("-window_start", "organization__name", "scope", "project__name")
    fields = (*list_display, "window_start", "window_end", "holds_link")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Budget]:
        found: QuerySet[Budget] = super().get_queryset(request)
        return found.annotate(remaining=Greatest(F("limit") - F("spent") - F("held"), Decimal(0)))

    @admin.display(description="owner", ordering="project__name")
    def owner(self, budget: Budget) -> str:
        return budget.quota.owner_name if budget.quota else str(budget.project or budget.organization)

    @admin.display(description="set by", ordering="quota")
    def set_by(self, budget: Budget) -> SafeString | str:
        if budget.quota is None:
            return "usage tier"
        return page_of(budget.quota, "quota" if budget.quota.is_hard else "soft quota")

    @admin.display(description="model", ordering="quota__model")
    def counted_model(self, budget: Budget) -> str:
        return (budget.quota and budget.quota.model) or "every model"

    @admin.display(description="window, UTC", ordering="window_start")
    def window(self, budget: Budget) -> str:
        return window_in_words(Window(budget.window_start, budget.window_end))

    @admin.display(description="holds")
    def holds_link(self, budget: Budget) -> SafeString:
        return list_of("billing_hold", "Open holds", budget__id__exact=budget.pk, reservation__status__exact="open")


hold_column = amount_column("amount", measure_of=lambda hold: hold.budget.measure)
# All that the name of a hold's budget is made of, from the hold.
NAMED_OF_HOLD = tuple(f"budget__{name}" for name in NAMED)


class HoldInline(ReadOnlyInline):
    model = Hold
    fields = ("budget_page", hold_column)
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Hold]:
        found: QuerySet[Hold] = super().get_queryset(request)
        return found.select_related(*NAMED_OF_HOLD)

    @admin.display(description="budget")
    def budget_page(self, hold: Hold) -> SafeString:
        return page_of(hold.budget)


@admin.register(Reservation)
class ReservationAdmin(ReadOnlyAdmin):
    place = Place(projects=("project",))
    sees = Capability.SEE_SPEND
    list_display = (
        "short_reference",
        "state",
        usd_column("amount_usd", "held at most"),
        usd_column("settled_usd"),
        "model",
        "project",
        "organization",
        "reserved_at",
        "resolved_at",
    )
    list_filter = (
        "status",
        "is_in_doubt",
        ModelFilter,
        "service_tier",
        "reserved_at",
        "organization",
        ("project", ProjectFilter),
    )
    list_select_related = ("organization", "project")
    search_fields = ("model", "organization__name", "project__name", "project__slug")
    id_fields = ("pk", "reference", "project_id", "organization_id", "api_key_id")
    ordering = ("-id",)
    inlines = (HoldInline,)
    fields = (
        "reference",
        *list_display[1:],
        usd_column("likely_usd", "likely, the rest on a reserve"),
        tokens_column("input_tokens"),
        tokens_column("output_tokens"),
        "service_tier",
        "price",
        month_column,
        "team_id",
        "member_id",
        "api_key_id",
        "related",
    )

    @admin.display(description="reference", ordering="reference")
    def short_reference(self, reservation: Reservation) -> SafeString:
        return short_id(reservation.reference)

    @admin.display(description="status", ordering="status")
    def state(self, reservation: Reservation) -> SafeString:
        if reservation.is_in_doubt:
            return badge("doubt", f"{reservation.get_status_display()}, in doubt")
        return badge(RESERVATION_BADGES[ReservationStatus(reservation.status)], reservation.get_status_display())

    @admin.display(description="see also")
    def related(self, reservation: Reservation) -> SafeString:
        mine = {"reservation__id__exact": reservation.pk}
        links = (
            (list_of("billing_ledgerentry", "Ledger entries", **mine),),
            (list_of("billing_usagerecord", "Usage record", **mine),),
            (list_of("jobs_job", "Job", q=reservation.reference),),
        )
        return format_html_join(" · ", "{}", links)


@admin.register(Hold)
class HoldAdmin(ReadOnlyAdmin):
    place = Place(projects=("reservation__project",))
    sees = Capability.SEE_SPEND
    list_display = ("reference", "state", hold_column, "budget_name", "reserved_at")
    list_filter = (
        "reservation__status",
        "budget__scope",
        "budget__measure",
        "reservation__reserved_at",
        "budget__organization",
    )
    list_select_related = ("reservation", *NAMED_OF_HOLD)
    search_fields = ("reservation__model", "budget__organization__name", "budget__project__name")
    id_fields = ("reservation_id", "reservation__reference", "budget_id")
    ordering = ("-id",)
    fields = ("reservation_page", "budget_page", "state", hold_column)

    @admin.display(description="reference")
    def reference(self, hold: Hold) -> SafeString:
        return short_id(hold.reservation.reference)

    @admin.display(description="budget")
    def budget_name(self, hold: Hold) -> str:
        return str(hold.budget)

    @admin.display(description="status", ordering="reservation__status")
    def state(self, hold: Hold) -> SafeString:
        status = ReservationStatus(hold.reservation.status)
        return badge(RESERVATION_BADGES[status], status.label)

    @admin.display(description="reserved at", ordering="reservation__reserved_at")
    def reserved_at(self, hold: Hold) -> object:
        return hold.reservation.reserved_at

    @admin.display(description="reservation")
    def reservation_page(self, hold: Hold) -> SafeString:
        return page_of(hold.reservation)

    @admin.display(description="budget")
    def budget_page(self, hold: Hold) -> SafeString:
        return page_of(hold.budget)


@admin.register(LedgerEntry)
class LedgerEntryAdmin(ReadOnlyAdmin):
    place = Place(projects=("project",))
    sees = Capability.SEE_SPEND
    list_display = (
        "sequence",
        "kind",
        usd_column("held_change_usd", "held"),
        usd_column("spent_change_usd", "spent"),
        "project",
        "organization",
        "recorded_at",
        month_column,
        "reason",
        "actor",
    )
    list_filter = ("kind", "recorded_at", "organization", ("project", ProjectFilter), "window_start", "corrects")
    list_select_related = ("organization", "project", "actor")
    search_fields = ("reason", "organization__name", "project__name", "project__slug", "actor__email")
    id_fields = ("reservation_id", "reservation__reference", "project_id", "organization_id")
    ordering = ("-id",)
    fields = (*list_display, "corrects", "reservation_page", "sealed")

    @admin.display(description="seal")
    def sealed(self, entry: LedgerEntry) -> SafeString:
        return format_html("<code>{}</code>", entry.seal)

    @admin.display(description="reservation")
    def reservation_page(self, entry: LedgerEntry) -> object:
        return page_of(entry.reservation) if entry.reservation else "–"


@admin.register(UsageRecord)
class UsageRecordAdmin(ReadOnlyAdmin):
    place = Place(projects=("project",))
    sees = Capability.SEE_SPEND
    list_display = (
        "recorded_at",
        "model",
        usd_column("total_usd", "cost"),
        "reasoning_share",
        "flags",
        tokens_column("input_tokens"),
        tokens_column("output_tokens"),
        tokens_column("reasoning_tokens"),
        "project",
        "organization",
    )
    list_filter = (
        ModelFilter,
        "service_tier",
        "is_empty",
        "is_overrun",
        "dispatched_at",
        "organization",
        ("project", ProjectFilter),
    )
    list_select_related = ("organization", "project")
    search_fields = ("model", "snapshot", "organization__name", "project__name", "project__slug")
    id_fields = ("pk", "reservation_id", "reservation__reference", "project_id", "organization_id", "api_key_id")
    ordering = ("-booked_at",)
    fieldsets = (
        (None, {"fields": ("organization", "project", "team_id", "member_id", "api_key_id", "reservation_page")}),
        ("Model", {"fields": ("model", "snapshot", "service_tier", "flags")}),
        (
            "Tokens",
            {
                "fields": (
                    tokens_column("input_tokens"),
                    tokens_column("cached_input_tokens"),
                    tokens_column("cache_write_tokens"),
                    tokens_column("output_tokens"),
                    tokens_column("reasoning_tokens"),
                    "reasoning_share",
                )
            },
        ),
        (
            "Cost",
            {
                "fields": (
                    usd_column("input_usd", "uncached input"),
                    usd_column("cached_input_usd", "cached input"),
                    usd_column("output_usd", "visible output"),
                    usd_column("reasoning_usd", "reasoning"),
                    usd_column("total_usd", "total"),
                    usd_column("reserve_usd", "paid by a reserve"),
                )
            },
        ),
        (
            "Price used, per million tokens",
            {
                "fields": (
                    "price",
                    usd_column("input_usd_per_million", "input"),
                    usd_column("cached_input_usd_per_million", "cached input"),
                    usd_column("cache_write_usd_per_million", "input to the cache"),
                    usd_column("output_usd_per_million", "output"),
                )
            },
        ),
        ("Times", {"fields": ("dispatched_at", "booked_at", "recorded_at", month_column)}),
    )

    @admin.display(description="reasoning share")
    def reasoning_share(self, record: UsageRecord) -> str:
        return share(record.reasoning_tokens, record.output_tokens)

    @admin.display(description="flags", ordering="is_empty")
    def flags(self, record: UsageRecord) -> SafeString:
        found = (("doubt", "paid, empty"), record.is_empty), (("bad", "over its bound"), record.is_overrun)
        return format_html_join(" ", "{}", ((badge(*words),) for words, is_set in found if is_set))

    @admin.display(description="reservation")
    def reservation_page(self, record: UsageRecord) -> SafeString:
        return page_of(record.reservation)
