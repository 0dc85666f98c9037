"""Spend is answered from a few rollup rows, and no list of the admin reads a growing table whole.

The plans are those of PostgreSQL, over enough rows that it chooses as it would over ten million.
"""

import pytest
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from accounts import api_keys
from accounts.admin.base import CappedPaginator
from accounts.models import Organization, Project, User
from billing.clock import database_now
from billing.dashboard.period import month_before
from billing.models import LedgerEntry, Reservation, UsageRecord
from billing.periods import month_of
from billing.rollups import ROLLUPS
from billing.spend import GROUPINGS
from tests.benchmarks.generated import generate
from tests.plans import Scan, scans_of

RECORDS = 8_000
# Beside each grouping alone: pairs that no coarse rollup has, and that one has.
PAIRS = [("day", "model"), ("key", "model"), ("member", "key"), ("project", "day")]
GROWING = {model._meta.db_table for model in (UsageRecord, Reservation, LedgerEntry)}
BY_TABLE = {rollup._meta.db_table: rollup for rollup in ROLLUPS}


@pytest.fixture
def largest(db) -> Organization:
    return generate(RECORDS)[0]


@pytest.fixture
def browser(db) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root@bursar.example", "a password for tests"))
    return client


def assert_few_rollups(scans: list[Scan], organization: Organization) -> None:
    """Nothing but rollup rows of the organization and of this month, and those by an index."""
    month = month_of(database_now())
    read = [scan for scan in scans if scan.table in BY_TABLE]
    assert read
    for scan in read:
        rows = BY_TABLE[scan.table].objects.filter(organization=organization)
        of_month = rows.filter(day__gte=month.start.date(), day__lt=month.end.date())
        assert "Seq Scan" not in scan.kind, scan
        assert scan.filtered == 0, scan
        assert scan.rows <= of_month.count(), scan
    assert [scan for scan in scans if scan.table in GROWING and scan.rows > 0] == []


def test_every_grouping_reads_rollups_of_the_month_alone(largest):
    project = Project.objects.filter(organization=largest).earliest("pk")
    client = APIClient()
    secret = api_keys.issue(project, name="tests", created_by=User.objects.earliest("pk")).secret
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")

    def ask(*names: str) -> None:
        answer = client.get("/api/v1/spend", {"group_by": ",".join(names)})
        assert answer.status_code == 200
        assert answer.json()["total"]["calls"] > 0

    for names in [(), *((name,) for name in GROUPINGS), *PAIRS]:
        assert_few_rollups(scans_of(lambda names=names: ask(*names)), largest)


def test_the_dashboard_reads_rollups_of_two_months_and_the_dearest_calls_alone(largest, browser):
    project = Project.objects.filter(organization=largest).earliest("pk")
    page = reverse("admin:dashboard", args=[largest.pk])
    last_month = month_before(month_of(database_now()).start.date())
    for query in ("", f"?project={project.pk}", "?period=last_month"):
        scans = scans_of(lambda query=query: browser.get(page + query))
        read = [scan for scan in scans if scan.table in BY_TABLE]
        assert read
        for scan in read:
            lately = BY_TABLE[scan.table].objects.filter(organization=largest, day__gte=last_month)
            assert "Seq Scan" not in scan.kind, scan
            assert scan.rows <= lately.count(), scan
        assert "billing_spendrollup" not in {scan.table for scan in scans}
        for scan in scans:
            if scan.table in GROWING:
                assert "Seq Scan" not in scan.kind, scan
                # Ten calls of each day at most.
                assert scan.rows <= 310 or query.startswith("?project"), scan
    overview = scans_of(lambda: browser.get(reverse("admin:organizations")))
    assert {scan.table for scan in overview} & (GROWING | set(BY_TABLE)) == set()


@pytest.mark.parametrize("model", [UsageRecord, Reservation, LedgerEntry])
def test_lists_of_growing_tables_read_no_more_than_they_count(largest, browser, monkeypatch, model):
    monkeypatch.setattr(CappedPaginator, "MOST", 500)
    page = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    table = model._meta.db_table
    answer = browser.get(page)
    assert answer.context["cl"].result_count == 500
    assert "There are more than these." in answer.text
    read = [scan for scan in scans_of(lambda: browser.get(page)) if scan.table == table]
    assert read
    assert max(scan.rows for scan in read) <= 501
    few = browser.get(page, {"organization__id__exact": Organization.objects.latest("pk").pk})
    assert 0 < few.context["cl"].result_count < 500
    assert "There are more than these." not in few.text
