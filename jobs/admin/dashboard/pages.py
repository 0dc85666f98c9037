"""The pages: organizations to choose from, one's dashboard, its live part, why its cost changed, and its files."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from accounts import audit
from accounts.models import AuditAction
from billing.admin.figures import overview
from billing.admin.months import current_month
from billing.admin.statements import export_formats
from billing.clock import database_now
from billing.csv_files import attached
from billing.dashboard.changes import changes
from billing.dashboard.daily import daily
from jobs.admin.dashboard import comparing, figures, files
from jobs.admin.dashboard.filters import Asked, asked, choices
from jobs.admin.dashboard.live import live
from jobs.admin.dashboard.sight import Sight, organizations, sees_everything, sight, with_whole_spend

PER_PAGE = 50
TEMPLATES = "admin/dashboard/"


class DashboardPages:
    """What a model's admin brings beside the model's own pages (`config.admin.HasPages`)."""

    admin_site: Any
    opts: Any
    media: Any

    def page_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        one = "organizations/<uuid:organization_id>/"
        return [
            path("organizations/", wrap(self.organizations_page), name="organizations"),
            path(one, wrap(self.dashboard_page), name="dashboard"),
            path(f"{one}change/", wrap(self.change_page), name="dashboard_change"),
            path(f"{one}live/", wrap(self.live_part), name="dashboard_live"),
            path(f"{one}csv/<slug:table>/", wrap(self.csv_file), name="dashboard_csv"),
            # As the spend pages were called before they became this one.
            path("billing/spend/", wrap(_moved_list), name="billing_spend"),
            path("billing/spend/<uuid:organization_id>/", wrap(_moved), name="billing_spend_organization"),
        ]

    def page_links(self, request: HttpRequest) -> list[dict[str, Any]]:
        if not organizations(request.user).exists():
            return []
        return [
            {
                "model": None,
                "name": "Dashboards",
                "object_name": "Dashboard",
                "perms": {"add": False, "change": False, "delete": False, "view": True},
                "admin_url": reverse("admin:organizations"),
                "add_url": None,
                "view_only": True,
            }
        ]

    def landing(self, request: HttpRequest) -> HttpResponse | None:
        """Where the admin's index leads: the one dashboard, or the choice of them; None where there is none to see."""
        found = list(organizations(request.user).values_list("pk", flat=True)[:2])
        if len(found) == 1:
            return HttpResponseRedirect(reverse("admin:dashboard", args=found))
        return self.organizations_page(request) if found or sees_everything(request.user) else None

    def organizations_page(self, request: HttpRequest) -> HttpResponse:
        """Every organization that the person sees, with its limit and how full it stands in the open month."""
        now = database_now()
        month = current_month(now)
        search = request.GET.get("q", "").replace("\x00", "").strip()
        named = Q(name__icontains=search) | Q(slug__icontains=search)
        mine = organizations(request.user).filter(named).order_by("name", "pk")
        page = Paginator(mine, PER_PAGE).get_page(request.GET.get("page"))
        rows = list(page)
        whole = set(with_whole_spend(request.user).filter(pk__in=[row.pk for row in rows]).values_list("pk", flat=True))
        fills = {one.owner.pk: one.fill for one in overview([row for row in rows if row.pk in whole], month, now)}
        owned = [(row, fills.get(row.pk)) for row in rows]
        return self._page(
            request, "organizations.html", "Organizations", page=page, month=month, search=search, owned=owned
        )

    def dashboard_page(self, request: HttpRequest, organization_id: UUID) -> HttpResponse:
        """One organization: limits, spend, work. As much of it as the person sees."""
        now = database_now()
        seen, shown = _asked(request, organization_id, now)
        told = {
            **_common(seen, shown),
            **figures.limits_shown(seen, shown, now),
            "waiting": figures.waiting_shown(seen, shown, now),
            "doubts": figures.doubts_of(seen),
            "live": live(seen, now),
        }
        if seen.has_spend:
            told |= figures.spend_shown(seen, shown)
            told |= {"dearest": figures.dearest_shown(seen, shown), "choices": choices(seen, shown)}
            told["formats"] = export_formats()
        if seen.is_whole:
            told["drift"] = figures.drift_shown(seen.organization)
        return self._page(request, "dashboard.html", str(seen.organization), **told)

    def change_page(self, request: HttpRequest, organization_id: UUID) -> HttpResponse:
        """Why the cost of the period is another than that of the one before, or of any other."""
        now = database_now()
        seen, shown = _asked(request, organization_id, now, with_spend=True)
        told = {
            **_common(seen, shown),
            **comparing.change_shown(seen, shown, *comparing.periods(shown, now.date())),
            "choices": choices(seen, shown),
        }
        return self._page(request, "change.html", f"Why the cost of {seen.organization} changed", **told)

    def live_part(self, request: HttpRequest, organization_id: UUID) -> HttpResponse:
        """The part of the dashboard that a script fetches again every two seconds."""
        now = database_now()
        seen = sight(request.user, organization_id)
        answer = TemplateResponse(request, f"{TEMPLATES}_live.html", {"live": live(seen, now), "now": now})
        answer["Cache-Control"] = "no-store"
        return answer

    def csv_file(self, request: HttpRequest, organization_id: UUID, table: str) -> HttpResponse:
        """What the page shows, as a file; noted in the audit trail. Raises Http404 for a table that there is not."""
        now = database_now()
        seen, shown = _asked(request, organization_id, now, with_spend=True)
        tables: dict[str, Callable[[], str]] = {
            "days": lambda: files.days_file(daily(shown.scope(seen), shown.period, shown.split)),
            "parts": lambda: files.parts_file(daily(shown.scope(seen), shown.period, shown.split), shown.split),
            "change": lambda: files.change_file(changes(shown.scope(seen), *comparing.periods(shown, now.date()))),
        }
        if table not in tables:
            raise Http404("There is no such table.")
        with transaction.atomic():
            text = tables[table]()
            audit.record(
                AuditAction.EXPORTED,
                "spend",
                organization_id,
                by=audit.who(request),
                organization_id=organization_id,
                name=f"dashboard, {table}, {shown.period.label}",
                after={**shown.written, "table": table},
            )
        name = f"{seen.organization.slug}-{table}-{shown.period.first_day}-{shown.period.last_day}.csv"
        return attached(text, name)

    def _page(self, request: HttpRequest, template: str, title: str, **shown: Any) -> HttpResponse:
        common = {**self.admin_site.each_context(request), "title": title, "opts": self.opts, "media": self.media}
        return TemplateResponse(request, f"{TEMPLATES}{template}", {**common, **shown})


def _asked(request: HttpRequest, organization_id: UUID, now: Any, *, with_spend: bool = False) -> tuple[Sight, Asked]:
    """What the person sees of the organization, and what of it is asked for. Raises Http404."""
    seen = sight(request.user, organization_id)
    if with_spend and not seen.has_spend:
        raise Http404("There is nothing here.")
    return seen, asked(request.GET, seen, now.date())


def _common(seen: Sight, shown: Asked) -> dict[str, Any]:
    return {
        "organization": seen.organization,
        "sight": seen,
        "shown": shown,
        "period": shown.period,
        "links": shown.links,
        "query": shown.query(),
    }


def _moved_list(request: HttpRequest) -> HttpResponse:
    return HttpResponseRedirect(reverse("admin:organizations"))


def _moved(request: HttpRequest, organization_id: UUID) -> HttpResponse:
    """The old address of an organization's month, with what it named."""
    query = request.GET.copy()
    for month in query.pop("month", []):
        query["period"] = month
    url = reverse("admin:dashboard", args=[organization_id])
    return HttpResponseRedirect(f"{url}?{query.urlencode()}" if query else url)
