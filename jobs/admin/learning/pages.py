"""The pages: organizations to choose from, one's distributions, and its calibration, as a page and as a file."""

from datetime import date
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.core.paginator import Paginator
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from accounts import audit
from accounts.models import Organization, Project
from billing.admin.months import current_month, month_named
from billing.admin.statements import organization_in_reach, page_link, sees_any_spend, visible_organizations
from billing.clock import database_now
from billing.csv_files import attached
from billing.reach import Reach
from jobs.admin.learning.pictures import calibration_row, card_of
from jobs.learning.calibration import as_csv, note_export, report, total
from jobs.learning.figures import distributions, figures_of

# Each with a picture.
CARDS_PER_PAGE = 8
TEMPLATES = "admin/learning/"
# Months of a report, where none is asked for.
MONTHS = 6


class LearningPages:
    """What a model's admin brings beside the pages of those after it (`config.admin.HasPages`)."""

    admin_site: Any
    opts: Any
    media: Any

    def page_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        one = "expectations/<uuid:organization_id>/"
        others: list[URLPattern] = super().page_urls()  # type: ignore[misc]
        return [
            path("expectations/", wrap(self.expectations_index), name="expectations"),
            path(one, wrap(self.expectations_page), name="expectations_organization"),
            path(f"{one}calibration/", wrap(self.calibration_page), name="calibration"),
            path(f"{one}calibration/csv/", wrap(self.calibration_file), name="calibration_csv"),
            *others,
        ]

    def page_links(self, request: HttpRequest) -> list[dict[str, Any]]:
        others: list[dict[str, Any]] = super().page_links(request)  # type: ignore[misc]
        return [*others, page_link(request, "Expectations", "expectations")] if sees_any_spend(request) else others

    def expectations_index(self, request: HttpRequest) -> HttpResponse:
        """Every organization of whose spend the person sees anything."""
        shown = {"organizations": visible_organizations(request)}
        return self._learning_page(request, "index.html", "Expectations", shown)

    def expectations_page(self, request: HttpRequest, organization_id: UUID) -> HttpResponse:
        """What calls of one organization needed, kind by kind."""
        organization, reach = organization_in_reach(request, organization_id)
        projects = _projects(organization, reach)
        project = _chosen(request, projects)
        rows = distributions(reach, project_id=project.pk if project else None)
        models = sorted(set(rows.order_by().values_list("model", flat=True)))
        model = request.GET.get("model", "")
        if model in models:
            rows = rows.filter(model=model)
        if project is None and reach.projects is None:
            rows = rows.filter(project__isnull=True)
        page = Paginator(rows, CARDS_PER_PAGE).get_page(request.GET.get("page"))
        day = organization.terms_date(database_now())
        shown = {
            "organization": organization,
            "is_whole": reach.projects is None,
            "projects": projects,
            "project": project,
            "models": models,
            "model": model,
            "page": page,
            "filters": f"{urlencode({'project': project.pk if project else '', 'model': model})}&",
            "cards": [card_of(one, place) for place, one in enumerate(figures_of(list(page), day))],
        }
        return self._learning_page(request, "expectations.html", f"What calls of {organization} need", shown)

    def calibration_page(self, request: HttpRequest, organization_id: UUID) -> HttpResponse:
        """What was expected of an organization's jobs, against what they came to."""
        organization, reach = organization_in_reach(request, organization_id)
        start, end = _months(request)
        lines = report(reach, start, end)
        shown = {
            "organization": organization,
            "first": start,
            "last": f"{_month_back(end, 1):%Y-%m}",
            "rows": [calibration_row(line) for line in lines],
            "total": calibration_row(total(lines)) if lines else None,
        }
        return self._learning_page(request, "calibration.html", f"Expected of {organization}, and what came", shown)

    def calibration_file(self, request: HttpRequest, organization_id: UUID) -> HttpResponse:
        """The same as CSV; noted in the audit trail."""
        organization, reach = organization_in_reach(request, organization_id)
        start, end = _months(request)
        with transaction.atomic():
            text = as_csv(report(reach, start, end))
            note_export(organization.pk, start, end, audit.who(request))
        return attached(text, f"{organization.slug}-calibration-{start}-{end}.csv")

    def _learning_page(self, request: HttpRequest, template: str, title: str, shown: dict[str, Any]) -> HttpResponse:
        common = {**self.admin_site.each_context(request), "title": title, "opts": self.opts, "media": self.media}
        return TemplateResponse(request, f"{TEMPLATES}{template}", {**common, **shown})


def _projects(organization: Organization, reach: Reach) -> list[Project]:
    found = Project.objects.filter(organization=organization)
    if reach.projects is not None:
        found = found.filter(pk__in=reach.projects)
    return list(found.order_by("name", "pk"))


def _chosen(request: HttpRequest, projects: list[Project]) -> Project | None:
    """The project that is asked for. Raises Http404 for one that is not among these."""
    asked = request.GET.get("project", "")
    if not asked:
        return None
    found = next((project for project in projects if str(project.pk) == asked), None)
    if found is None:
        raise Http404("There is no such project.")
    return found


def _months(request: HttpRequest) -> tuple[date, date]:
    """The first day, and the day after the last, of the months `from` to `to` that are asked for.

    Raises Http404 for what is no month that has begun.
    """
    now = database_now()
    last = month_named(request.GET["to"], now) if request.GET.get("to") else current_month(now)
    if last is None:
        raise Http404("This is no month that has begun, written like 2024-09.")
    if not request.GET.get("from"):
        return _month_back(last.first_day, MONTHS - 1), last.end_day
    first = month_named(request.GET["from"], now)
    if first is None or first.first_day > last.first_day:
        raise Http404("This is no month before the last one, written like 2024-09.")
    return first.first_day, last.end_day


def _month_back(first: date, months: int) -> date:
    year, month = divmod(first.year * 12 + first.month - 1 - months, 12)
    return date(year, month + 1, 1)
