"""The waste report of a project's month with many calls: what making it takes, and what answering from it takes."""

import os
import statistics
import time

import pytest
from django.db import connection

from billing.clock import database_now
from billing.models import Budget, Price
from billing.periods import month_of
from billing.rollups import rebuild
from jobs.models import WasteLine
from jobs.queues import queue_of
from jobs.waste.making import make
from jobs.waste.telling import summary_of
from tests.conftest import Tenant

pytestmark = [pytest.mark.benchmark, pytest.mark.django_db(transaction=True, serialized_rollback=True)]

CALLS = int(os.environ.get("BENCH_WASTE_CALLS", "100000"))
REPEATS = 20
# Every call by its number; what looks random is a hash of it.
_DRAWN = """
    CREATE TEMP TABLE drawn AS
    SELECT n, uuidv7() AS id, uuidv7() AS job_id, %(start)s + n * (now() - %(start)s) / (%(calls)s + 1) AS at,
        (hashint8extended(n, 1) & 1023) / 1024.0 AS r1, (hashint8extended(n, 2) & 1023) / 1024.0 AS r2,
        1000 + (hashint8extended(n, 3) & 2047) AS input, 200 + (hashint8extended(n, 4) & 1023) AS visible,
        hashint8extended(n, 5) & 2047 AS reasoning
    FROM generate_series(1, %(calls)s) AS n
"""
_JOBS = """
    INSERT INTO jobs_job (id, organization_id, project_id, created_by_id, queue_id, status, model, service_tier,
        priority, metadata, bound_input_tokens, bound_output_tokens, bound_usd, admission_tokens, attempt_count,
        queued_at, finished_at, snapshot, finish_reason, is_empty, is_refused, read_at, prompt_prefix)
    SELECT job_id, %(organization)s, %(project)s, %(owner)s, %(queue)s, 'succeeded', 'o1', 'standard', 0, '{}',
        9000, 9000, 1, 9000, 1, at, at, 'o1', 'stop', r1 < 0.02, r1 > 0.99, CASE WHEN r2 < 0.8 THEN at END,
        CASE WHEN r2 < 0.5 THEN md5((n %% 50)::text)::uuid END
    FROM drawn
"""
_ATTEMPTS = """
    INSERT INTO jobs_attempt (id, job_id, number, status, may_use_headroom, is_probe, worker, created_at,
        lease_expires_at, calling_at, finished_at, error_code, error_message, provider_request_id, provider_response_id)
    SELECT id, job_id, 1, 'answered', false, false, '', at, at, at, at, '', '', '', '' FROM drawn
"""
_RESERVATIONS = """
    INSERT INTO billing_reservation (id, reference, status, is_in_doubt, amount_usd, input_tokens, output_tokens,
        settled_usd, organization_id, project_id, model, service_tier, price_id, window_start, reserved_at, resolved_at)
    SELECT id, id, 'settled', false, 1, 9000, 9000, 0, %(organization)s, %(project)s, 'o1', 'standard', %(price)s,
        %(start)s, at, at FROM drawn
"""
_RECORDS = """
    INSERT INTO billing_usagerecord (id, reservation_id, organization_id, project_id, model, snapshot, service_tier,
        input_tokens, cached_input_tokens, output_tokens, reasoning_tokens, price_id, input_usd_per_million,
        cached_input_usd_per_million, output_usd_per_million, input_usd, cached_input_usd, output_usd, reasoning_usd,
        total_usd, is_empty, is_overrun, window_start, dispatched_at, booked_at, recorded_at)
    SELECT id, id, %(organization)s, %(project)s, 'o1', 'o1', 'standard', input, 0, visible + reasoning, reasoning,
        %(price)s, 15, 7.5, 60, input * 15 / 1000000.0, 0, visible * 60 / 1000000.0, reasoning * 60 / 1000000.0,
        (input * 15 + (visible + reasoning) * 60) / 1000000.0, r1 < 0.02, false, %(start)s, at, at, at FROM drawn
"""
_ENTRIES = """
    INSERT INTO billing_ledgerentry (sequence, seal, organization_id, project_id, reservation_id, kind,
        held_change_usd, spent_change_usd, window_start, recorded_at, reason)
    SELECT n, '', %(organization)s, %(project)s, id, 'settle', 0,
        (input * 15 + (visible + reasoning) * 60) / 1000000.0, %(start)s, at, '' FROM drawn
"""


@pytest.mark.timeout(0)
def test_waste(capsys, alice: Tenant, client):
    month = month_of(database_now())
    fill(alice, month.start)
    started = time.perf_counter()
    report = make(alice.project, month.start.date())
    made = time.perf_counter() - started
    assert summary_of([report]).agrees
    assert report.calls == CALLS
    with capsys.disabled():
        print(f"\n{CALLS:,} calls in the month, {WasteLine.objects.count():,} lines of waste")
        print(f"making the report        {made:>10.2f} s")
        for path in (
            "/api/v1/waste",
            "/api/v1/waste?format=csv",
            "/api/v1/jobs?waste=empty",
            "/api/v1/jobs?waste=long",
        ):
            assert client.get(path).status_code == 200
            taken = []
            for _ in range(REPEATS):
                started = time.perf_counter()
                client.get(path)
                taken.append((time.perf_counter() - started) * 1000)
            print(f"{path:<28}{statistics.median(taken):>8.1f} ms", flush=True)


def fill(tenant: Tenant, start) -> None:
    """The books and jobs of a month, by the server itself; seals are not real."""
    project = tenant.project
    price = Price.objects.filter(model="o1", service_tier="standard").earliest("pk")
    of = {
        "start": start,
        "calls": CALLS,
        "organization": project.organization_id,
        "project": project.pk,
        "owner": tenant.owner.pk,
        "queue": queue_of(project, "o1"),
        "price": price.pk,
    }
    with connection.cursor() as cursor:
        for statement in (_DRAWN, _JOBS, _ATTEMPTS, _RESERVATIONS, _RECORDS, _ENTRIES):
            cursor.execute(statement, of)
        cursor.execute("SELECT sum(spent_change_usd) FROM billing_ledgerentry")
        (spent,) = cursor.fetchone()
        cursor.execute("ANALYZE")
    rebuild(project.organization)
    Budget.objects.create(
        organization=project.organization,
        project=project,
        scope="project",
        window_start=start,
        window_end=month_of(start).end,
        limit=10**6,
        spent=spent,
    )
