"""The pages that compare the books with the provider's bill, and where people decide about what differs."""

from datetime import UTC, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from accounts import access, audit
from accounts.admin.base import Act, Capability, Place, ProjectFilter, ReadOnlyAdmin, badge, list_of
from accounts.admin.scope import organizations_seen
from accounts.errors import DomainError
from accounts.models import Organization, Project
from accounts.provider_accounts import account_of
from billing.admin.books import ModelFilter
from billing.admin.money import dollars, usd_column
from billing.admin.months import Month, current_month, month_named
from billing.admin.reconciliation_figures import chart_of, comparison, rows_of
from billing.clock import database_now
from billing.models import (
    Origin,
    ReconciledDay,
    ReconciliationDecision,
    ReconciliationLine,
    ReconciliationRun,
)
from billing.models.reconciliations import DifferenceKind
from billing.reconciliation import decisions, runs
from billing.reconciliation.decisions import State

PER_PAGE = 50
# Who sees what lies between an organization's books and its bill.
RUNS = ("billing.view_reconciliationrun", Capability.SEE_SPEND)
OUTCOME_BADGES = {"done": "good", "broken off": "bad", "under way": "busy", "waiting": "busy"}


@admin.register(ReconciliationRun)
class ReconciliationRunAdmin(ReadOnlyAdmin):
    """The runs as rows, and the pages that people read.

    What an account is billed that organizations share is for the staff: by role one sees an account of one's own.
    """

    place = Place(organization="organization")
    sees = Capability.SEE_SPEND
    acts = {
        "ask": Act("billing.ask_reconciliation", Capability.REVIEW_SPEND),
        "decide": Act("billing.decide_reconciliation", Capability.REVIEW_SPEND),
    }

    list_display = ("asked_at", "account", "first_day", "end_day", "outcome", "origin", "actor", "failure")
    list_filter = ("origin", "organization")
    list_select_related = ("organization", "actor")
    search_fields = ("organization__name", "organization__slug", "actor__email", "failure")
    id_fields = ("pk", "organization_id")
    date_hierarchy = "asked_at"
    ordering = ("-asked_at", "-id")
    fields = (*list_display, "began_at", "finished_at", "lines_link")

    @admin.display(description="account", ordering="organization")
    def account(self, run: ReconciliationRun) -> str:
        return str(run.organization or "the deployment's")

    @admin.display(description="outcome")
    def outcome(self, run: ReconciliationRun) -> SafeString:
        return badge(OUTCOME_BADGES[run.outcome], run.outcome)

    @admin.display(description="see also")
    def lines_link(self, run: ReconciliationRun) -> SafeString:
        return list_of("billing_reconciliationline", "Its lines", q=run.pk)

    # --- Pages ------------------------------------------------------------------------------------------------------
    def page_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        base = "billing/reconciliation/"
        return [
            path(base, wrap(self.overview_page), name="billing_reconciliation"),
            path(f"{base}<uuid:organization_id>/", wrap(self.month_page), name="billing_reconciliation_organization"),
            path(f"{base}<uuid:organization_id>/ask/", wrap(require_POST(self.ask)), name="billing_reconciliation_ask"),
            path(f"{base}line/<uuid:line_id>/", wrap(self.decide_page), name="billing_reconciliation_decide"),
        ]

    def page_links(self, request: HttpRequest) -> list[dict[str, Any]]:
        if not self.has_view_permission(request):
            return []
        return [
            {
                "model": None,
                "name": "Provider's bill by month",
                "object_name": "Reconciliation",
                "perms": {"add": False, "change": False, "delete": False, "view": True},
                "admin_url": reverse("admin:billing_reconciliation"),
                "add_url": None,
                "view_only": True,
            }
        ]

    def has_ask_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "ask")

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "decide")

    def overview_page(self, request: HttpRequest) -> HttpResponse:
        """Every organization, each with its page."""
        self._require(self.has_view_permission(request))
        organizations = organizations_seen(request, *RUNS).order_by("name", "pk")
        page = Paginator(organizations, PER_PAGE).get_page(request.GET.get("page"))
        drift = "" if self.is_by_role(request) else dollars(decisions.drift_usd())
        shown = {"page": page, "drift": drift}
        return self._page(request, "reconciliation.html", "Provider's bill", shown)

    def month_page(self, request: HttpRequest, organization_id: UUID) -> HttpResponse:
        """One organization's month against the provider's bill."""
        self._require(self.has_view_permission(request))
        organization = get_object_or_404(organizations_seen(request, *RUNS), pk=organization_id)
        account = account_of(organization)
        # What lies between the bill and all who share it may be any one's.
        is_theirs = account.organization is not None or not self.is_by_role(request)
        month = _month(request)
        found = comparison(organization, month, with_shared=is_theirs)
        kind, state = request.GET.get("kind", ""), request.GET.get("state", "")
        last = ReconciliationRun.objects.filter(organization=account.organization).first() if is_theirs else None
        shown = {
            "organization": organization,
            "month": month,
            "chart": chart_of(found, month),
            "rows": rows_of(found, kind, state, organization),
            "ours": dollars(found.ours_usd),
            "theirs": dollars(found.theirs_usd),
            "difference": dollars(found.theirs_usd - found.ours_usd),
            "undecided": dollars(found.undecided_usd),
            "by_kind": found.by_kind,
            "days": len(found.days),
            "open_days": sum(not day.is_settled for day in found.days),
            "kinds": DifferenceKind.choices,
            "states": State.choices,
            "kind": kind,
            "state": state,
            "last": last,
            "last_outcome": last and self.outcome(last),
            "may_ask": self._may_with(request, "ask", organization),
            "may_decide": self._may_with(request, "decide", organization),
        }
        title = f"Provider's bill of {organization}"
        return self._page(request, "reconciliation_month.html", title, shown)

    def ask(self, request: HttpRequest, organization_id: UUID) -> HttpResponse:
        """Has a worker look at the month shown, up to today."""
        self._require(self.has_ask_permission(request))
        organization = get_object_or_404(organizations_seen(request, *RUNS), pk=organization_id)
        if not self._may_with(request, "ask", organization):
            raise Http404("There is no account at the provider that is this organization's own.")
        month = _month(request)
        tomorrow = database_now().astimezone(UTC).date() + timedelta(days=1)
        user: Any = request.user
        run = runs.ask(account_of(organization), Origin.PAGE, month.first_day, min(month.end_day, tomorrow), actor=user)
        if runs.hand_over(run):
            self.message_user(request, "A worker looks at the provider's bill; this page says what came out.")
        else:
            self.message_user(request, run.failure, messages.ERROR)
        page = reverse("admin:billing_reconciliation_organization", args=[organization_id])
        return HttpResponseRedirect(f"{page}?month={month.key}")

    def decide_page(self, request: HttpRequest, line_id: UUID) -> HttpResponse:
        """Says what an adjustment would book, and books it or accepts the difference on POST, with a reason."""
        self._require(self.has_decide_permission(request))
        rows = ReconciliationLine.objects.select_related("run", "organization", "project")
        if not request.user.has_perm(self.acts["decide"].permission):
            rows = rows.filter(run__organization__in=access.organizations(request.user, Capability.REVIEW_SPEND))
        line = get_object_or_404(rows, pk=line_id)
        projects = _projects_of(line)
        if request.method == "POST" and self._decide(request, line, projects):
            return HttpResponseRedirect(_back(line, projects))
        standing = decisions.standings([line])[line.pk]
        shown = {
            "line": line,
            "standing": standing,
            "is_open": standing.state == State.OPEN,
            "amount": dollars(standing.undecided_usd),
            "difference": dollars(line.difference_usd),
            "projects": projects,
            "decided": ReconciliationDecision.objects.filter(
                organization=line.run.organization,
                day=line.day,
                provider_project=line.provider_project,
                model=line.model,
                difference_kind=line.kind,
            ).select_related("actor"),
            "back": _back(line, projects),
        }
        return self._page(request, "reconciliation_decide.html", "Decide about a difference", shown)

    def _decide(self, request: HttpRequest, line: ReconciliationLine, projects: list[Project]) -> bool:
        """Does what the form says; whether it could."""
        reason = request.POST.get("reason", "").replace("\x00", "").strip()
        project = next((one for one in projects if str(one.pk) == request.POST.get("project")), None)
        is_adjustment = request.POST.get("decision") == "adjust"
        user: Any = request.user
        by = audit.who(request)
        if not reason or (is_adjustment and project is None):
            self.message_user(request, "Nothing was done: give a reason and choose a project.", messages.ERROR)
            return False
        try:
            amount = Decimal(request.POST.get("amount", ""))
            if is_adjustment and project is not None:
                decisions.adjust(line, project=project, amount_usd=amount, reason=reason, actor=user, by=by)
            else:
                decisions.accept(line, amount_usd=amount, reason=reason, actor=user, by=by)
        except (DomainError, InvalidOperation) as error:
            told = error.message if isinstance(error, DomainError) else "This is no amount."
            self.message_user(request, f"Nothing was done: {told}", messages.ERROR)
            return False
        done = f"{dollars(amount)} booked for {project}." if is_adjustment else f"{dollars(amount)} accepted."
        self.message_user(request, done, messages.SUCCESS)
        return True

    def _may_with(self, request: HttpRequest, act: str, organization: Organization) -> bool:
        """By role only with an account of the organization's own."""
        if request.user.has_perm(self.acts[act].permission):
            return True
        is_own = account_of(organization).organization is not None
        return is_own and access.may(request.user, Capability.REVIEW_SPEND, organization.pk)

    @staticmethod
    def _require(permission: bool) -> None:
        if not permission:
            raise PermissionDenied

    def _page(self, request: HttpRequest, template: str, title: str, shown: dict[str, Any]) -> HttpResponse:
        common = {**self.admin_site.each_context(request), "title": title, "opts": self.opts, "media": self.media}
        return TemplateResponse(request, f"admin/billing/{template}", {**common, **shown})


def _month(request: HttpRequest) -> Month:
    """The month that is asked for, or the open one."""
    now = database_now()
    asked = request.GET.get("month") or request.POST.get("month") or ""
    return month_named(asked, now) or current_month(now)


def _projects_of(line: ReconciliationLine) -> list[Project]:
    """The projects that an adjustment of the line may be booked for; the line's own, where it has one."""
    if line.project:
        return [line.project]
    mine = Project.objects.select_related("organization").order_by("organization__name", "name")
    if line.organization:
        return list(mine.filter(organization=line.organization))
    if line.run.organization:
        return list(mine.filter(organization=line.run.organization))
    return [project for project in mine if account_of(project.organization).organization is None]


def _back(line: ReconciliationLine, projects: list[Project]) -> str:
    """The page of the month that the line is in."""
    organization = line.organization_id or line.run.organization_id or (projects and projects[0].organization_id)
    if not organization:
        return reverse("admin:billing_reconciliation")
    page = reverse("admin:billing_reconciliation_organization", args=[organization])
    return f"{page}?month={line.day:%Y-%m}"


@admin.register(ReconciledDay)
class ReconciledDayAdmin(ReadOnlyAdmin):
    place = Place(organization="organization")
    sees = Capability.SEE_SPEND
    list_display = ("day", "organization", "is_settled", "looked_at", "run")
    list_filter = ("is_settled", "day", "organization")
    list_select_related = ("organization", "run__organization")
    search_fields = ("organization__name", "organization__slug")
    id_fields = ("organization_id", "run_id")
    ordering = ("-day", "-id")
    fields = list_display


@admin.register(ReconciliationLine)
class ReconciliationLineAdmin(ReadOnlyAdmin):
    """Lines of every run, also of those that a later one replaced."""

    place = Place(organization="run__organization")
    sees = Capability.SEE_SPEND

    list_display = (
        "day",
        "kind",
        "model",
        "provider_project",
        usd_column("ours_usd", "ours"),
        usd_column("theirs_usd", "theirs"),
        usd_column("difference_usd", "difference"),
        "project",
        "organization",
        "run",
    )
    list_filter = ("kind", "day", "organization", ("project", ProjectFilter))
    list_select_related = ("organization", "project", "run__organization")
    search_fields = ("model", "provider_project", "organization__name", "project__name", "project__slug")
    id_fields = ("pk", "run_id", "organization_id", "project_id")
    ordering = ("-id",)


@admin.register(ReconciliationDecision)
class ReconciliationDecisionAdmin(ReadOnlyAdmin):
    place = Place(organization="organization")
    sees = Capability.SEE_SPEND
    list_display = (
        "decided_at",
        "kind",
        usd_column("amount_usd", "amount"),
        "day",
        "model",
        "reason",
        "actor",
        "entry",
    )
    list_filter = ("kind", "difference_kind", "decided_at", "organization", ModelFilter)
    list_select_related = ("actor", "entry")
    search_fields = ("model", "provider_project", "reason", "actor__email", "organization__name")
    id_fields = ("pk", "organization_id", "line_id")
    ordering = ("-decided_at", "-id")
