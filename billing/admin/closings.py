"""Closed months, shown only: what each came to when it was closed, for good."""

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.admin.base import Capability, Place, ReadOnlyAdmin, list_of
from billing.admin.money import usd_column
from billing.admin.statements import StatementPages
from billing.models import ClosedMonth


@admin.register(ClosedMonth)
class ClosedMonthAdmin(StatementPages, ReadOnlyAdmin):
    place = Place(organization="organization")
    sees = Capability.SEE_SPEND
    list_display = (
        "month",
        "organization",
        usd_column("spent_usd", "spent"),
        usd_column("held_usd", "held still at its closing"),
        "line_count",
        "closed_at",
        "by",
        "short_seal",
    )
    list_filter = ("organization", "starts_at")
    list_select_related = ("organization", "closed_by")
    search_fields = ("organization__name", "organization__slug", "seal")
    id_fields = ("organization_id",)
    date_hierarchy = "starts_at"
    ordering = ("-starts_at", "organization__name")
    fields = (*list_display[:-1], "whole_seal", "entries", "late_truth")

    @admin.display(description="month, UTC", ordering="starts_at")
    def month(self, closed: ClosedMonth) -> str:
        return f"{closed.starts_at:%B %Y}"

    @admin.display(description="lines", ordering="lines")
    def line_count(self, closed: ClosedMonth) -> str:
        return f"{closed.lines:,}"

    @admin.display(description="closed by", ordering="closed_by__email")
    def by(self, closed: ClosedMonth) -> str:
        return str(closed.closed_by) if closed.closed_by else "by itself"

    @admin.display(description="seal")
    def short_seal(self, closed: ClosedMonth) -> SafeString:
        return format_html('<code title="{}">{}…</code>', closed.seal, closed.seal[:12])

    @admin.display(description="seal")
    def whole_seal(self, closed: ClosedMonth) -> SafeString:
        return format_html("<code>{}</code>", closed.seal)

    @admin.display(description="its lines")
    def entries(self, closed: ClosedMonth) -> SafeString:
        mine = {"organization__id__exact": closed.organization_id, "window_start": closed.starts_at.isoformat()}
        return list_of("billing_ledgerentry", "Ledger entries of the month", **mine)

    @admin.display(description="learnt later")
    def late_truth(self, closed: ClosedMonth) -> SafeString:
        mine = {"organization__id__exact": closed.organization_id, "corrects": closed.starts_at.isoformat()}
        return list_of("billing_ledgerentry", "Entries of open months about this one", **mine)
