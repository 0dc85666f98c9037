"""The books, shown only: budgets, reservations and their holds, ledger entries, usage records."""

from typing import Any

from django.contrib import admin
from django.db.models import F, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from accounts.admin.base import ProjectFilter, ReadOnlyAdmin, ReadOnlyInline, badge, list_of, page_of, short_id
from billing.admin.money import month_column, share, tokens_column, usd_column
from billing.models import Budget, Hold, LedgerEntry, Price, Reservation, UsageRecord
from billing.models.budgets import ReservationStatus

RESERVATION_BADGES = {
    ReservationStatus.OPEN: "busy",
    ReservationStatus.SETTLED: "good",
    ReservationStatus.RELEASED: "quiet",
}


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
    list_display = (
        "owner",
        "organization",
        "scope",
        month_column,
        usd_column("limit_usd"),
        usd_column("spent_usd"),
        usd_column("held_usd"),
        usd_column("remaining_usd"),
    )
    list_filter = ("scope", "window_start", "organization")
    list_select_related = ("organization", "project")
    search_fields = ("organization__name", "organization__slug", "project__name", "project__slug")
    id_fields = ("pk", "organization_id", "project_id")
    date_hierarchy = "window_start"
    ordering = ("-window_start", "organization__name", "scope", "project__name")
    fields = (*list_display, "window_start", "window_end", "holds_link")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Budget]:
        found: QuerySet[Budget] = super().get_queryset(request)
        return found.annotate(remaining_usd=F("limit_usd") - F("spent_usd") - F("held_usd"))

    @admin.display(description="owner", ordering="project__name")
    def owner(self, budget: Budget) -> str:
        return str(budget.project or budget.organization)

    @admin.display(description="holds")
    def holds_link(self, budget: Budget) -> SafeString:
        return list_of("billing_hold", "Open holds", budget__id__exact=budget.pk, reservation__status__exact="open")


class HoldInline(ReadOnlyInline):
    model = Hold
    fields = ("budget_page", usd_column("amount_usd"))
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Hold]:
        found: QuerySet[Hold] = super().get_queryset(request)
        return found.select_related("budget__organization", "budget__project")

    @admin.display(description="budget")
    def budget_page(self, hold: Hold) -> SafeString:
        return page_of(hold.budget)


@admin.register(Reservation)
class ReservationAdmin(ReadOnlyAdmin):
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
    list_filter = ("status", "is_in_doubt", ModelFilter, "service_tier", "organization", ("project", ProjectFilter))
    list_select_related = ("organization", "project")
    search_fields = ("model", "organization__name", "project__name", "project__slug")
    id_fields = ("pk", "reference", "project_id", "organization_id", "api_key_id")
    date_hierarchy = "reserved_at"
    ordering = ("-reserved_at",)
    inlines = (HoldInline,)
    fields = (
        "reference",
        *list_display[1:],
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
    list_display = ("reference", "state", usd_column("amount_usd"), "budget_name", "reserved_at")
    list_filter = ("reservation__status", "budget__scope", "budget__organization")
    list_select_related = ("reservation", "budget__organization", "budget__project")
    search_fields = ("reservation__model", "budget__organization__name", "budget__project__name")
    id_fields = ("reservation_id", "reservation__reference", "budget_id")
    date_hierarchy = "reservation__reserved_at"
    ordering = ("-id",)
    fields = ("reservation_page", "budget_page", "state", usd_column("amount_usd"))

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
    list_display = (
        "id",
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
    list_filter = ("kind", "organization", ("project", ProjectFilter), "window_start")
    list_select_related = ("organization", "project", "actor")
    search_fields = ("reason", "organization__name", "project__name", "project__slug", "actor__email")
    id_fields = ("reservation_id", "reservation__reference", "project_id", "organization_id")
    date_hierarchy = "recorded_at"
    ordering = ("-id",)
    fields = (*list_display, "reservation_page")

    @admin.display(description="reservation")
    def reservation_page(self, entry: LedgerEntry) -> object:
        return page_of(entry.reservation) if entry.reservation else "–"


@admin.register(UsageRecord)
class UsageRecordAdmin(ReadOnlyAdmin):
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
        "organization",
        ("project", ProjectFilter),
        "window_start",
    )
    list_select_related = ("organization", "project")
    search_fields = ("model", "snapshot", "organization__name", "project__name", "project__slug")
    id_fields = ("pk", "reservation_id", "reservation__reference", "project_id", "organization_id", "api_key_id")
    date_hierarchy = "dispatched_at"
    ordering = ("-recorded_at",)
    fieldsets = (
        (None, {"fields": ("organization", "project", "team_id", "member_id", "api_key_id", "reservation_page")}),
        ("Model", {"fields": ("model", "snapshot", "service_tier", "flags")}),
        (
            "Tokens",
            {
                "fields": (
                    tokens_column("input_tokens"),
                    tokens_column("cached_input_tokens"),
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
                    usd_column("output_usd_per_million", "output"),
                )
            },
        ),
        ("Times", {"fields": ("dispatched_at", "recorded_at", month_column)}),
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
