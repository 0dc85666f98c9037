"""The spend pages: every organization's month at a glance, and one organization's month in full."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from accounts.admin.base import ProjectFilter, ReadOnlyAdmin
from accounts.models import Organization, Project
from billing.admin.books import ModelFilter
from billing.admin.chart import chart_of
from billing.admin.figures import MonthOfSpend, month_of_spend, overview
from billing.admin.money import dollars, in_words, share, tokens_column, usd_column, window_in_words
from billing.admin.months import Month, current_month, month_named
from billing.clock import database_now
from billing.limits import BudgetState
from billing.models import SpendRollup
from billing.spend import SpendLine

PER_PAGE = 50


@admin.register(SpendRollup)
class SpendRollupAdmin(ReadOnlyAdmin):
    """The totals as rows, and above them the pages that people read."""

    list_display = (
        "day",
        "organization",
        "project",
        "model",
        "service_tier",
        "calls",
        tokens_column("input_tokens"),
        tokens_column("output_tokens"),
        tokens_column("reasoning_tokens"),
        "reasoning_share",
        usd_column("total_usd", "cost"),
        "empty_calls",
        usd_column("empty_usd", "paid for empty"),
    )
    list_filter = ("day", ModelFilter, "service_tier", "organization", ("project", ProjectFilter))
    list_select_related = ("organization", "project")
    search_fields = ("model", "organization__name", "project__name", "project__slug")
    id_fields = ("organization_id", "project_id", "team_id", "api_key_id")
    ordering = ("-day", "-id")

    @admin.display(description="reasoning share")
    def reasoning_share(self, rollup: SpendRollup) -> str:
        return share(rollup.reasoning_tokens, rollup.output_tokens)

    def page_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("billing/spend/", wrap(self.overview_page), name="billing_spend"),
            path(
                "billing/spend/<uuid:organization_id>/",
                wrap(self.organization_page),
                name="billing_spend_organization",
            ),
        ]

    def page_links(self, request: HttpRequest) -> list[dict[str, Any]]:
        if not self.has_view_permission(request):
            return []
        return [
            {
                "model": None,
                "name": "Spend by month",
                "object_name": "Spend",
                "perms": {"add": False, "change": False, "delete": False, "view": True},
                "admin_url": reverse("admin:billing_spend"),
                "add_url": None,
                "view_only": True,
            }
        ]

    def overview_page(self, request: HttpRequest) -> HttpResponse:
        """Every organization with its limit and how full it stands in the open month."""
        self._require_permission(request)
        now = database_now()
        month = current_month(now)
        search = request.GET.get("q", "").replace("\x00", "").strip()
        named = Q(name__icontains=search) | Q(slug__icontains=search)
        page = Paginator(Organization.objects.filter(named).order_by("name", "pk"), PER_PAGE).get_page(
            request.GET.get("page")
        )
        shown = {"page": page, "month": month, "search": search, "owned": overview(list(page), month, now)}
        return self._page(request, "admin/billing/spend.html", "Spend", shown)

    def organization_page(self, request: HttpRequest, organization_id: UUID) -> HttpResponse:
        """One organization's month, or with `?project=` one project's."""
        self._require_permission(request)
        organization = get_object_or_404(Organization, pk=organization_id)
        project = _project_of(organization, request.GET.get("project", ""))
        now = database_now()
        asked = request.GET.get("month", "")
        month = month_named(asked, now) if asked else current_month(now)
        figures = month_of_spend(organization, project, month or current_month(now), now)
        shown = {
            "organization": organization,
            "project": project,
            "misread_month": asked if month is None else "",
            **_shown(figures, month or current_month(now)),
        }
        title = f"Spend of {organization}" + (f", {project}" if project else "")
        return self._page(request, "admin/billing/spend_organization.html", title, shown)

    def _require_permission(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _page(self, request: HttpRequest, template: str, title: str, shown: dict[str, Any]) -> HttpResponse:
        common = {**self.admin_site.each_context(request), "title": title, "opts": self.opts, "media": self.media}
        return TemplateResponse(request, template, {**common, **shown})


def _project_of(organization: Organization, text: str) -> Project | None:
    """The project asked for. Raises Http404 where the organization has none such."""
    if not text:
        return None
    try:
        return get_object_or_404(Project, pk=UUID(text), organization=organization)
    except ValueError as error:
        raise Http404("This is no project's id.") from error


def _shown(figures: MonthOfSpend, month: Month) -> dict[str, Any]:
    """The figures as the template writes them."""
    return {
        "month": month,
        "figures": figures,
        "models": [_cells(line, line.labels["model"]) for line in figures.by_model],
        "days": [_cells(line, line.labels["day"]) for line in figures.by_day],
        "projects": [(one, _cells(one.line, str(one.owner)) if one.line else None) for one in figures.projects],
        "quotas": [_quota_cells(state) for state in figures.quotas],
        "total": _cells(figures.total, "Total"),
        "adjusted": dollars(figures.adjusted) if figures.adjusted else "",
        "chart": chart_of(month, figures.by_day),
    }


def _quota_cells(state: BudgetState) -> dict[str, Any]:
    """One line of the table of quotas."""
    limit = state.limit
    amounts = (limit.amount, state.spent, state.held, state.remaining)
    return {
        "pk": limit.quota_id,
        "owner": limit.name,
        "scope": limit.scope.label,
        "measure": limit.measure.label,
        "model": limit.model or "every model",
        "is_hard": limit.is_hard,
        "window": window_in_words(limit.window),
        "amounts": [in_words(limit.measure, amount) for amount in amounts],
        "resets": f"{limit.window.end:%Y-%m-%d %H:%M}",
    }


def _cells(line: SpendLine, label: str) -> dict[str, str]:
    """One line of a table."""
    totals = line.totals
    tokens = {
        name.removesuffix("_tokens"): f"{totals[name]:,}"
        for name in ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens")
    }
    return {
        "label": label,
        "calls": f"{totals['calls']:,}",
        **tokens,
        "share": share(totals["reasoning_tokens"], totals["output_tokens"]),
        "cost": dollars(line.total_usd),
        "empty": f"{totals['empty_calls']:,}",
        "empty_cost": dollars(totals["empty_usd"]),
    }
