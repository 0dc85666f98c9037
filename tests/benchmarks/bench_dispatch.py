"""Jobs started a second, with few and with very many that wait behind them.

BURSAR_BENCH_QUEUED lowers the larger number of queued jobs (1,000,000). The ratio of both rates should be 1. Python's
part is the processor time of this process over a round, without what the ledger takes for the holds.
"""

import os
import time
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import Payment, Project, RateLimit
from billing import ledger
from jobs import dispatch, workers
from jobs.models import Attempt
from jobs.queues import queue_of
from tests.conftest import make_tenant

pytestmark = [pytest.mark.benchmark, pytest.mark.django_db(transaction=True, serialized_rollback=True)]

FEW = 1000
MANY = int(os.environ.get("BURSAR_BENCH_QUEUED", "1000000"))
STARTED = 500


def fill(projects: list[Project], count: int) -> None:
    """So many queued jobs, of these projects in turn, made by the server itself."""
    author = projects[0].organization.memberships.get().user_id
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO jobs_job (id, organization_id, project_id, queue_id, created_by_id, status, model, service_tier,
                priority, metadata, bound_input_tokens, bound_output_tokens, bound_usd, admission_tokens, attempt_count,
                queued_at, snapshot, finish_reason, is_empty)
            SELECT uuidv7(), organization, project, queue, %s, 'queued', 'o1-mini', 'standard',
                0, '{}', 100, 1000, 0.02, 1000, 0, clock_timestamp(), '', '', false
            FROM generate_series(0, %s - 1) AS n
            JOIN unnest(%s::uuid[], %s::uuid[], %s::uuid[]) WITH ORDINALITY
                AS owner (organization, project, queue, place) ON place = n %% %s + 1
            """,
            [
                author,
                count,
                [project.organization_id for project in projects],
                [project.pk for project in projects],
                [queue_of(project, "o1-mini") for project in projects],
                len(projects),
            ],
        )


def calls_have_begun() -> None:
    """As the workers would have it: hardly an attempt still waits for its turn."""
    Attempt.objects.filter(status="created").update(status="calling", calling_at=timezone.now())
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE jobs_job, jobs_attempt")


def starts_per_second(monkeypatch: pytest.MonkeyPatch) -> tuple[float, float]:
    """Jobs started a second in full rounds, and Python's milliseconds for each without the ledger's."""
    in_ledger = 0.0
    reserve = ledger.reserve

    def timed(claims):
        nonlocal in_ledger
        began = time.process_time()
        try:
            return reserve(claims)
        finally:
            in_ledger += time.process_time() - began

    monkeypatch.setattr(ledger, "reserve", timed)
    calls_have_begun()
    started, in_ledger = 0, 0.0
    began, busy = time.perf_counter(), time.process_time()
    while started < STARTED:
        ids = dispatch._carry_out().attempt_ids
        assert len(ids) == dispatch.BATCH
        started += len(ids)
    seconds, busy = time.perf_counter() - began, time.process_time() - busy - in_ledger
    monkeypatch.setattr(ledger, "reserve", reserve)
    return started / seconds, 1000 * busy / started


@pytest.mark.timeout(900)
@pytest.mark.parametrize("projects", [1, 1000])
def test_starts_do_not_slow_down_with_the_backlog(projects, report, monkeypatch):
    monkeypatch.setattr(dispatch, "send", lambda attempt_ids: None)
    tenant = make_tenant("Alice")
    Payment.objects.update(amount_usd=10_000_000)
    RateLimit.objects.update(requests_per_minute=None, tokens_per_minute=None)
    workers.report("bench", slots=100_000, now=timezone.now() + timedelta(days=1))
    rows = [
        Project.objects.create(organization=tenant.organization, name=f"P{n}", slug=f"p{n}") for n in range(projects)
    ]
    fill(rows, FEW)
    while dispatch._carry_out().attempt_ids:  # the first call of each project opens its budgets
        pass
    fill(rows, FEW + STARTED)
    few, python_ms = starts_per_second(monkeypatch)
    fill(rows, MANY)
    many, python_ms_of_many = starts_per_second(monkeypatch)
    report(f"starts, {MANY:,} queued, {projects} projects", many, few, f"{FEW:,} queued")
    report(
        f"Python without the ledger, us a start, {projects} projects",
        1000 * Decimal(python_ms_of_many),
        1000 * Decimal(python_ms),
        f"{FEW:,} queued",
        unit="us",
    )
