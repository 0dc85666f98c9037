"""Every page that the admin has for a superuser, by a name that the tests print."""

from collections.abc import Callable
from urllib.parse import urlencode

from django.urls import reverse

from billing.models import Book, Quota, ReconciliationLine
from jobs.models import Doubt
from tests.admin.test_every_page import READ_ONLY, REGISTERED, a_row, page
from tests.browser.conftest import Site

Path = Callable[[Site], str]


def _row_page(model, name: str) -> Path:
    return lambda site: page(model, name, a_row(model).pk)


LISTS: dict[str, Path] = {
    f"list {model._meta.label}": lambda site, m=model: page(m, "changelist") for model in REGISTERED
}
ROWS: dict[str, Path] = {f"row {model._meta.label}": _row_page(model, "change") for model in REGISTERED}
ADDITIONS: dict[str, Path] = {
    f"add {model._meta.label}": lambda site, m=model: page(m, "add") for model in REGISTERED if model not in READ_ONLY
}


def _what_if(site: Site) -> str:
    return f"{reverse('admin:billing_what_if')}?{urlencode({'organization': site.alice.organization.pk})}"


def _of(name: str, *which: str) -> Path:
    """A page by its route's name; `which` are attributes of Alice's tenant whose keys it takes."""
    return lambda site: reverse(name, args=[getattr(site.alice, one).pk for one in which])


def _with(path: Path, **query: str) -> Path:
    return lambda site: f"{path(site)}?{urlencode(query)}"


def _new_quota(site: Site) -> str:
    query = {"scope": "project", "owner": site.alice.project.pk}
    return f"{reverse('admin:billing_quota_new', args=[site.alice.organization.pk])}?{urlencode(query)}"


def _quota(site: Site) -> str:
    return reverse("admin:billing_quota_page", args=[site.alice.organization.pk, Quota.objects.earliest("pk").pk])


_DASHBOARD = _of("admin:dashboard", "organization")
CUSTOM: dict[str, Path] = {
    "organizations": _of("admin:organizations"),
    "tables": _of("admin:tables"),
    "app": lambda site: reverse("admin:app_list", args=["billing"]),
    "password": _of("admin:password_change"),
    "second step": _of("admin:second_step_settings"),
    "dashboard": _DASHBOARD,
    "dashboard of a project": lambda site: f"{_DASHBOARD(site)}?project={site.alice.project.pk}&split=member",
    "dashboard of an empty month": _with(_DASHBOARD, period="last_month"),
    "why it changed": _of("admin:dashboard_change", "organization"),
    "expectations": _of("admin:expectations"),
    "expectations of an organization": _of("admin:expectations_organization", "organization"),
    "calibration": _of("admin:calibration", "organization"),
    "quotas": _of("admin:billing_quotas"),
    "quotas of an organization": _of("admin:billing_quotas_organization", "organization"),
    "new quota": _new_quota,
    "quota": _quota,
    "requests for more": _of("admin:billing_quota_requests", "organization"),
    "statements": _of("admin:billing_statements"),
    "statement": _of("admin:billing_statement", "organization"),
    "review": _of("admin:billing_review", "organization"),
    "what if": _of("admin:billing_what_if"),
    "waste": _of("admin:waste"),
    "waste of an organization": _of("admin:waste_organization", "organization"),
    "waste of an empty month": _with(_of("admin:waste_organization", "organization"), month="2024-10"),
    "what if of an organization": _what_if,
    "bill": _of("admin:billing_reconciliation"),
    "bill of an organization": _of("admin:billing_reconciliation_organization", "organization"),
    "decide on a difference": lambda site: reverse(
        "admin:billing_reconciliation_decide", args=[ReconciliationLine.objects.earliest("day").pk]
    ),
    "verification": lambda site: reverse("admin:billing_book_verification", args=[Book.objects.earliest("pk").pk]),
    "repair": lambda site: reverse("admin:billing_book_repair", args=[Book.objects.earliest("pk").pk]),
    "new comparison": _of("admin:jobs_comparison_start"),
    "price import": _of("admin:billing_price_import"),
    "history": lambda site: page(Doubt, "history", a_row(Doubt).pk),
    "delete": lambda site: page(type(site.alice.project), "delete", site.alice.project.pk),
}
