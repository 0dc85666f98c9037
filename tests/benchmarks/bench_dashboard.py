"""The dashboard of the largest organization over many usage records: server time of each page, p50 and p95.

BENCH_USAGE_RECORDS says how many; ten million take the server about half an hour to make. Each request is a whole one:
session, permissions, queries and template, without the network.
"""

import gc
import os
import statistics
import time
from collections.abc import Iterator

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import Organization, Project, User
from billing.models import KeyRollup
from tests.benchmarks.generated import generate

pytestmark = [pytest.mark.benchmark, pytest.mark.django_db(transaction=True, serialized_rollback=True)]

RECORDS = int(os.environ.get("BENCH_USAGE_RECORDS", "300000"))
REPEATS = int(os.environ.get("BENCH_REPEATS", "40"))


@pytest.mark.timeout(0)
def test_dashboard(capsys):
    organization = generate(RECORDS)[0]
    browser = Client()
    browser.force_login(User.objects.create_superuser("bench@generated.example", "a password"))
    # As in a web process (`config.wsgi`): otherwise all that the tests have imported is looked through now and then.
    gc.collect()
    gc.freeze()
    with capsys.disabled():
        print(f"\n{RECORDS:,} usage records, {REPEATS} requests each: p50, p95, queries")
        for name, url in pages(organization):
            p50, p95, queries = measure(browser, url)
            print(f"{name:<44}{p50:>10.1f} ms{p95:>10.1f} ms{queries:>6}", flush=True)


def measure(browser: Client, url: str) -> tuple[float, float, int]:
    """Milliseconds in the median and at the 95th percentile, and the number of queries."""
    with CaptureQueriesContext(connection) as captured:
        assert browser.get(url).status_code == 200
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        browser.get(url)
        taken.append((time.perf_counter() - started) * 1000)
    return statistics.median(taken), statistics.quantiles(taken, n=20)[-1], len(captured)


def pages(organization: Organization) -> Iterator[tuple[str, str]]:
    """Each page with its name: as people land on it, by every split and filter, and the others."""
    project = Project.objects.filter(organization=organization).earliest("pk")
    member = KeyRollup.objects.filter(organization=organization).earliest("pk").member_id
    page = reverse("admin:dashboard", args=[organization.pk])
    yield "landing: this month by project", page
    for split in ("team", "model", "member", "kind"):
        yield f"this month by {split}", f"{page}?split={split}"
    for period in ("last_month", "7d", "30d"):
        yield f"{period} by project", f"{page}?period={period}"
    yield "30d by model", f"{page}?period=30d&split=model"
    yield "last month of a project by model", f"{page}?period=last_month&split=model&project={project.pk}"
    yield "last month of a model", f"{page}?period=last_month&model=model-0"
    yield "last month of a rare model", f"{page}?period=last_month&model=model-7"
    yield "last month of a member", f"{page}?period=last_month&member={member}"
    yield "why last month changed", reverse("admin:dashboard_change", args=[organization.pk]) + "?period=last_month"
    yield "the live part", reverse("admin:dashboard_live", args=[organization.pk])
    yield "organizations", reverse("admin:organizations")
