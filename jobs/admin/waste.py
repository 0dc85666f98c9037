"""What of an organization's month was wasted: the page, its file, and the jobs behind each figure."""

from collections.abc import Sequence
from datetime import date
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from accounts import audit
from accounts.models import AuditAction, Organization, Project
from billing.admin.money import dollars, share
from billing.admin.months import Month
from billing.admin.statements import (
    asked_month,
    organization_in_reach,
    page_link,
    sees_any_spend,
    visible_organizations,
)
from billing.clock import database_now
from billing.csv_files import attached
from billing.models import ProjectRollup
from billing.reach import Reach
from jobs.models import Job, WasteReport
from jobs.waste.categories import TOLD, Category
from jobs.waste.filtering import wasted_in
from jobs.waste.making import is_current, ledger_usd
from jobs.waste.preparing import report_of
from jobs.waste.telling import Line, Summary, as_csv, summary_of

# So many projects a page reckons, the dearest first; each has few calls, or was prepared.
MOST_PROJECTS = 50


class WasteFilter(admin.SimpleListFilter):
    """By category of waste, of the month that follows the `@`, or of any."""

    title = "waste"
    parameter_name = "waste"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        return Category.choices

    def choices(self, changelist: Any) -> Any:
        """The categories; one of a month is shown as chosen as well."""
        value = (self.value() or "").partition("@")[0]
        yield {
            "selected": not value,
            "query_string": changelist.get_query_string(remove=[self.parameter_name]),
            "display": "All",
        }
        for category, label in self.lookup_choices:
            yield {
                "selected": value == category,
                "query_string": changelist.get_query_string({self.parameter_name: category}),
                "display": label,
            }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        category, _, month = (self.value() or "").partition("@")
        if category not in Category.values:
            return queryset
        try:
            date.fromisoformat(f"{month}-01")
        except ValueError:
            month = ""
        return wasted_in(queryset, category, month)


class WastePages:
    """What a model's admin brings beside the pages of those after it (`config.admin.HasPages`)."""

    admin_site: Any
    opts: Any
    media: Any

    def page_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        of = "waste/<uuid:organization_id>/"
        others: list[URLPattern] = super().page_urls()  # type: ignore[misc]
        return [
            *others,
            path("waste/", wrap(self.waste_index), name="waste"),
            path(of, wrap(self.waste_page), name="waste_organization"),
            path(f"{of}csv/", wrap(self.waste_file), name="waste_csv"),
        ]

    def page_links(self, request: HttpRequest) -> list[dict[str, Any]]:
        others: list[dict[str, Any]] = super().page_links(request)  # type: ignore[misc]
        return [*others, page_link(request, "Waste", "waste")] if sees_any_spend(request) else others

    def waste_index(self, request: HttpRequest) -> HttpResponse:
        """The organizations that one may see; at once the one, where it is the only one."""
        found = visible_organizations(request)
        if len(found) == 1:
            return HttpResponseRedirect(reverse("admin:waste_organization", args=[found[0].pk]))
        return self._waste_page(request, "index.html", "Waste", {"organizations": found})

    def waste_page(self, request: HttpRequest, organization_id: UUID) -> HttpResponse:
        """A month of the organization, or of the one project that is asked for."""
        organization, month, project, projects = _asked(request, organization_id)
        shown = _shown(organization, month, projects[:MOST_PROJECTS])
        shown["left_out"] = len(projects[MOST_PROJECTS:])
        more = {"organization": organization, "month": month, "chosen": project, "project": project and project.pk}
        return self._waste_page(request, "organization.html", f"Waste of {project or organization}", {**more, **shown})

    def waste_file(self, request: HttpRequest, organization_id: UUID) -> HttpResponse:
        """The same as a file; noted in the audit trail."""
        organization, month, _, projects = _asked(request, organization_id)
        reports = [report for each in projects if (report := report_of(each, month.first_day))]
        with transaction.atomic():
            audit.record(
                AuditAction.EXPORTED,
                "spend",
                organization.pk,
                by=audit.who(request),
                organization_id=organization.pk,
                name=f"waste, {month.label}",
                after={"month": month.key, "projects": len(reports)},
            )
        return attached(as_csv(reports), f"{organization.slug}-waste-{month.key}.csv")

    def _waste_page(self, request: HttpRequest, template: str, title: str, shown: dict[str, Any]) -> HttpResponse:
        common = {**self.admin_site.each_context(request), "title": title, "opts": self.opts, "media": self.media}
        return TemplateResponse(request, f"admin/waste/{template}", {**common, **shown})


def _asked(request: HttpRequest, organization_id: UUID) -> tuple[Organization, Month, Project | None, list[Project]]:
    """The organization, the month, the one project where one is asked for, and the projects that are reckoned.

    Raises Http404 for what one may not see.
    """
    organization, reach = organization_in_reach(request, organization_id)
    month = asked_month(request)
    projects = _projects(organization, reach, month)
    chosen = next((each for each in projects if str(each.pk) == request.GET.get("project")), None)
    return organization, month, chosen, [chosen] if chosen else projects


def _projects(organization: Organization, reach: Reach, month: Month) -> list[Project]:
    """Those that spent anything in the month and are seen, the dearest first."""
    rows = ProjectRollup.objects.filter(organization=organization, day=month.first_day)
    if reach.projects is not None:
        rows = rows.filter(project__in=reach.projects)
    dearest = rows.order_by().values_list("project").annotate(usd=Sum("total_usd")).order_by("-usd")
    found = Project.objects.select_related("organization").in_bulk([pk for pk, _ in dearest])
    return [found[pk] for pk, _ in dearest]


def _shown(organization: Organization, month: Month, projects: Sequence[Project]) -> dict[str, Any]:
    reports = {each.pk: report_of(each, month.first_day) for each in projects}
    ready = [report for report in reports.values() if report]
    told, now = summary_of(ready), database_now()
    return {
        "told": told,
        "is_wasted": told.wasted_usd > 0,
        "cards": _cards(told),
        "rows": [_row(line, told, month, projects) for line in told.lines],
        "rest": [
            ("Useful", dollars(told.useful_usd), share(told.useful_usd, told.ledger_usd)),
            ("Corrections booked by hand", dollars(told.corrections_usd), ""),
        ],
        "total": dollars(told.total_usd),
        "ledger": dollars(told.ledger_usd),
        "projects": [_project(each, reports[each.pk], month) for each in projects],
        "preparing": [each.name for each in projects if reports[each.pk] is None],
        "behind": [_behind(report) for report in ready if not is_current(report, now)],
        "switches": [_switch(switch, report) for report in ready for switch in report.switches],
    }


def _cards(told: Summary) -> list[tuple[str, str, str]]:
    estimated = sum((line.usd for line in told.lines if TOLD[line.category].is_estimate), start=told.ledger_usd * 0)
    note = f"of it {dollars(estimated)} is an upper estimate" if estimated else ""
    return [
        ("Wasted", dollars(told.wasted_usd), note),
        ("Part of the month", share(told.wasted_usd, told.ledger_usd), "of the ledger"),
        ("Spent", dollars(told.ledger_usd), f"{told.calls:,} paid calls"),
    ]


def _row(line: Line, told: Summary, month: Month, projects: Sequence[Project]) -> dict[str, Any]:
    most = max((each.usd for each in told.lines), default=line.usd)
    query = {"waste": f"{line.category.value}@{month.key}"}
    if len(projects) == 1:
        query["project__id__exact"] = str(projects[0].pk)
    elif projects:
        query["organization__id__exact"] = str(projects[0].organization_id)
    return {
        "label": line.category.label,
        "usd": dollars(line.usd),
        "share": share(line.usd, told.ledger_usd),
        "width": f"{line.usd * 100 / most:.2f}" if most else "0",
        "jobs": f"{line.jobs:,}",
        "url": f"{reverse('admin:jobs_job_changelist')}?{urlencode(query)}" if line.jobs else "",
        "told": TOLD[line.category],
    }


def _project(project: Project, report: WasteReport | None, month: Month) -> dict[str, Any]:
    told = summary_of([report]) if report else None
    return {
        "name": project.name,
        "query": urlencode({"month": month.key, "project": str(project.pk)}),
        "wasted": dollars(told.wasted_usd) if told else "being reckoned",
        "share": share(told.wasted_usd, told.ledger_usd) if told else "–",
        "spent": dollars(told.ledger_usd) if told else dollars(ledger_usd(project.pk, month.first_day)),
    }


def _behind(report: WasteReport) -> str:
    assert report.made_at is not None
    since = ledger_usd(report.project_id, report.month) - report.ledger_usd
    return f"{report.project.name}: reckoned at {report.made_at:%Y-%m-%d %H:%M} UTC, {dollars(since)} came since"


def _switch(switch: dict[str, Any], report: WasteReport) -> dict[str, str]:
    because = "its successor by the catalogue" if switch["because"] == "successor" else "answers like prompts as often"
    return {
        "project": report.project.name,
        "model": switch["model"],
        "instead": switch["instead"],
        "because": because,
        "calls": f"{switch['calls']:,}",
        "usd": f"${switch['usd']}",
    }
