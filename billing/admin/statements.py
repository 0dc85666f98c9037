"""The statement of an organization's month, as a page, CSV and PDF; and the downloads of its spend."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from accounts import access, audit
from accounts.models import AuditAction, Organization
from billing.admin.money import dollars
from billing.admin.months import Month, current_month, month_named
from billing.clock import database_now
from billing.exports.download import download
from billing.exports.selection import Selection
from billing.exports.streams import Format
from billing.reach import STAFF_PERMISSION, Reach, reach_of
from billing.statement_pdf import as_pdf
from billing.statements import MonthStatement, as_csv, statement_of

# How a statement is written, by the end of its address: its content type and what makes it.
FILES: dict[str, tuple[str, Callable[[MonthStatement], str | bytes]]] = {
    "csv": ("text/csv; charset=utf-8", as_csv),
    "pdf": ("application/pdf", as_pdf),
}


class StatementPages:
    """A model's admin with the pages of statements and the downloads of spend."""

    admin_site: admin.AdminSite
    opts: Any
    media: Any

    def page_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        of = "billing/spend/<uuid:organization_id>/"
        return [
            path("billing/statements/", wrap(self.statements_page), name="billing_statements"),
            path(f"{of}statement/", wrap(self.statement_page), name="billing_statement"),
            path(f"{of}statement/<str:ending>/", wrap(self.statement_file), name="billing_statement_file"),
            path(f"{of}export/", wrap(self.export_file), name="billing_spend_export"),
        ]

    def page_links(self, request: HttpRequest) -> list[dict[str, Any]]:
        link = page_link(request, "Statements and reviews", "billing_statements")
        return [link] if sees_any_spend(request) else []

    def statements_page(self, request: HttpRequest) -> HttpResponse:
        """Every organization that one may see, with its last months."""
        now = database_now()
        months = [current_month(now)]
        while len(months) < 6:
            earlier = month_named(months[-1].previous_key, now)
            assert earlier is not None
            months.append(earlier)
        shown = {"organizations": visible_organizations(request), "months": months}
        return self._statement_page(request, "statements.html", "Statements and reviews", shown)

    def statement_page(self, request: HttpRequest, organization_id: UUID) -> HttpResponse:
        """One month's statement, a draft while it is not closed."""
        organization, _ = organization_in_reach(request, organization_id, whole=True)
        month = asked_month(request)
        statement = statement_of(organization, month.window)
        shown = {"statement": statement, "organization": organization, "month": month, **_cells(statement)}
        title = f"{'Draft statement' if statement.is_draft else 'Statement'} of {organization}, {month.label}"
        return self._statement_page(request, "statement.html", title, shown)

    def statement_file(self, request: HttpRequest, organization_id: UUID, ending: str) -> HttpResponse:
        """The same as a file."""
        organization, _ = organization_in_reach(request, organization_id, whole=True)
        if ending not in FILES:
            raise Http404("A statement is csv or pdf.")
        statement = statement_of(organization, asked_month(request).window)
        content_type, write = FILES[ending]
        audit.record(
            AuditAction.EXPORTED,
            "statement",
            organization.pk,
            by=audit.who(request),
            organization_id=organization.pk,
            name=f"{ending}, {statement.label}",
            after={"format": ending, "month": f"{statement.month.start:%Y-%m}", "is_draft": statement.is_draft},
        )
        disposition = f'attachment; filename="{statement.file_name}.{ending}"'
        return HttpResponse(write(statement), content_type=content_type, headers={"Content-Disposition": disposition})

    def export_file(self, request: HttpRequest, organization_id: UUID) -> HttpResponseBase:
        """The spend of a month, or of the days `from` up to `to`, as a file; with `project` of that one alone."""
        organization, reach = organization_in_reach(request, organization_id)
        try:
            form = Format(request.GET.get("format", ""))
            project = UUID(request.GET["project"]) if request.GET.get("project") else None
            month = asked_month(request)
            start = date.fromisoformat(request.GET.get("from") or month.first_day.isoformat())
            end = date.fromisoformat(request.GET.get("to") or month.end_day.isoformat())
        except ValueError as error:
            raise Http404("This is no export.") from error
        if start >= end:
            raise Http404("This is no period.")
        projects = None if reach.projects is None else list(reach.projects)
        if project:
            projects = [project] if reach.has(project) else []
        return download(Selection(organization, start, end, projects=projects), form, audit.who(request))

    def _statement_page(self, request: HttpRequest, template: str, title: str, shown: dict[str, Any]) -> HttpResponse:
        common = {**self.admin_site.each_context(request), "title": title, "opts": self.opts, "media": self.media}
        return TemplateResponse(request, f"admin/billing/{template}", {**common, **shown})


def page_link(request: HttpRequest, name: str, url: str) -> dict[str, Any]:
    """A page as the index lists it."""
    seen = {"add": False, "change": False, "delete": False, "view": True}
    return {
        "model": None,
        "name": name,
        "object_name": name.replace(" ", ""),
        "perms": seen,
        "admin_url": reverse(f"admin:{url}"),
        "add_url": None,
        "view_only": True,
    }


def sees_any_spend(request: HttpRequest) -> bool:
    """Whether there is an organization, or a project, whose spend the person may see."""
    user: Any = request.user
    if user.is_staff and user.has_perm(STAFF_PERMISSION):
        return True
    seen = access.Capability.SEE_SPEND
    return access.organizations(user, seen).exists() or access.projects(user, seen).exists()


def visible_organizations(request: HttpRequest) -> list[Organization]:
    """Those of whose spend the person may see anything, by name."""
    user: Any = request.user
    if user.is_staff and user.has_perm(STAFF_PERMISSION):
        return list(Organization.objects.order_by("name", "pk"))
    seen = access.projects(user, access.Capability.SEE_SPEND).values("organization")
    wide = access.organizations(user, access.Capability.SEE_SPEND).values("pk")
    return list(Organization.objects.filter(pk__in=wide.union(seen)).order_by("name", "pk"))


def organization_in_reach(
    request: HttpRequest, organization_id: UUID, *, whole: bool = False
) -> tuple[Organization, Reach]:
    """The organization, and what of its spend the person may see; with `whole` only who may see all.

    Raises Http404 alike where there is none such and where it is none of theirs.
    """
    user: Any = request.user
    reach = reach_of(user, organization_id)
    organization = Organization.objects.filter(pk=organization_id).first()
    if organization is None or reach.is_empty or (whole and reach.projects is not None):
        raise Http404("There is no such organization.")
    return organization, reach


def asked_month(request: HttpRequest) -> Month:
    """The month that is asked for, or the open one. Raises Http404 for one that is none or has not begun."""
    now = database_now()
    asked = request.GET.get("month", "")
    month = month_named(asked, now) if asked else current_month(now)
    if month is None:
        raise Http404("This is no month that has begun, written like 2024-09.")
    return month


def _cells(statement: MonthStatement) -> dict[str, Any]:
    """The figures as the template writes them."""
    return {
        "total": dollars(statement.total_usd),
        "ledger": dollars(statement.ledger_usd),
        "spent_before": dollars(statement.spent_before_usd),
        "held": dollars(statement.closed.held_usd) if statement.closed else "",
        "by_project": [(name, dollars(amount)) for name, amount in statement.by_project],
        "lines": [
            {
                "line": line,
                "calls": f"{line.calls:,}",
                "tokens": [f"{count:,}" for count in line.tokens.values()],
                "usd": dollars(line.usd),
            }
            for line in statement.lines
        ],
        "adjustments": [(one, dollars(one.usd)) for one in statement.adjustments],
        "last_day": statement.month.end - timedelta(days=1),
        "formats": export_formats(),
    }


def export_formats() -> list[tuple[str, str]]:
    """The formats of exports and what people call them."""
    return [
        (Format.CSV.value, "CSV"),
        (Format.PARQUET.value, "Parquet"),
        (Format.FOCUS.value, "FOCUS CSV"),
        (Format.FOCUS_PARQUET.value, "FOCUS Parquet"),
    ]
