"""The path through real Celery workers, and what happens when one is killed."""

from decimal import Decimal

import pytest
from django.db import transaction

from billing.models import Budget, Quota, Reservation, UsageRecord
from config.simulator.running import RunningSimulator
from jobs import dispatch, limiter, recovery
from jobs.models import Attempt, Job
from jobs.submission import Submission, submit
from jobs.validation import PromptRequest
from tests.conftest import Tenant
from tests.flows.processes import eventually, worker

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)


@pytest.fixture(autouse=True)
def _empty_broker(slots) -> None:
    limiter.connection().flushdb()
    limiter.connection().set(limiter.BORN_KEY, "0.000")


def submit_job(tenant: Tenant, prompt: str = "What is the capital of Mexico?", model: str = "o1-mini", **more) -> Job:
    with transaction.atomic():
        return submit(
            tenant.api_key.api_key, Submission(PromptRequest(model, [{"role": "user", "content": prompt}], more))
        )


def finished(count: int) -> bool:
    dispatch.dispatch()
    return Job.objects.filter(status__in=["succeeded", "incomplete", "failed"]).count() == count


def test_a_worker_killed_between_claim_and_call_costs_nothing_and_the_job_runs_once(alice, simulator, settings):
    settings.CLAIM_LEASE_SECONDS = 2.0
    job = submit_job(alice)
    with worker("calls", simulator, BURSAR_CRASH_AT="admitted=pause", BURSAR_CLAIM_LEASE_SECONDS="2") as doomed:
        dispatch.dispatch()
        eventually(lambda: Attempt.objects.filter(fencing_token__isnull=False).exists())
        doomed.kill()
    assert simulator.counters()["requests"] == 0
    eventually(lambda: recovery.rescue() == 1, seconds=20)
    job.refresh_from_db()
    assert job.status == "queued"
    assert not Budget.objects.exclude(held=0).exists()
    with worker("calls", simulator):
        eventually(lambda: finished(1))
    job.refresh_from_db()
    assert job.status == "succeeded"
    assert [attempt.status for attempt in job.attempts.order_by("number")] == ["abandoned", "answered"]
    assert simulator.counters()["billed"] == UsageRecord.objects.count() == 1


def test_a_worker_killed_after_the_call_began_leaves_it_to_be_looked_up_and_not_sent_again(alice, simulator):
    job = submit_job(alice)
    with worker("calls", simulator, BURSAR_CRASH_AT="calling=pause") as doomed:
        dispatch.dispatch()
        eventually(lambda: Attempt.objects.filter(status="calling").exists())
        doomed.kill()
    assert recovery.rescue() == 0
    assert dispatch.dispatch() == 0
    job.refresh_from_db()
    assert job.status == "running"
    assert Reservation.objects.get().status == "open"
    assert simulator.counters()["requests"] == 0


def test_two_jobs_raced_by_two_workers_against_one_dollar_run_one_at_a_time(alice, simulator):
    Quota.objects.create(organization=alice.organization, project=alice.project, limit=Decimal(1))
    simulator.set_latency(1.0)
    jobs = [submit_job(alice, model="o1-preview", max_completion_tokens=10_000) for _ in range(2)]
    try:
        with worker("calls", simulator), worker("calls", simulator):
            dispatch.dispatch()
            statuses = sorted(Job.objects.values_list("status", flat=True))
            assert statuses == ["queued", "running"]
            waiting = Job.objects.get(status="queued")
            assert waiting.queue.waiting_on["reason"] == "budget"
            eventually(lambda: finished(2))
    finally:
        simulator.set_latency(0.0)
    assert simulator.counters()["max_in_flight"] == 1
    spent = Budget.objects.get(scope="project", quota__isnull=True).spent
    assert spent == sum(Job.objects.get(pk=job.pk).total_usd for job in jobs) <= 1


def test_calls_under_way_hold_no_database_connection(alice, simulator, slots):
    slots(24)
    simulator.set_latency(4.0)
    for number in range(24):
        submit_job(alice, f"Question {number}")
    try:
        with worker("calls", simulator, slots=24, BURSAR_DATABASE_POOL="2"):
            eventually(lambda: finished(24))
    finally:
        simulator.set_latency(0.0)
    assert simulator.counters()["max_in_flight"] == 24


def test_two_hundred_jobs_at_500_a_minute_meet_no_429_and_every_sum_is_equal(alice, settings, slots):
    """The provider's limits are on, and its buckets are as full as they can be from the calls before."""
    slots(64)
    with RunningSimulator(enforce_limits=True, latency=(0.05, 0.2)) as simulator:
        settings.OPENAI_BASE_URL, settings.OPENAI_API_KEY = simulator.base_url, "sk-simulator"
        settings.PROVIDER_SERVES_SHUT_DOWN_MODELS = True
        for number in range(200):
            submit_job(alice, f"Question {number}: what is {number} squared?", model="o1-preview")
        with worker("calls", simulator, slots=32), worker("calls", simulator, slots=32):
            eventually(lambda: finished(200), seconds=110)
        counters, bill = simulator.counters(), simulator.bill()
    assert set(Job.objects.values_list("status", flat=True)) == {"succeeded"}
    assert counters["requests"] == counters["billed"] == bill["calls"] == 200
    total = sum(UsageRecord.objects.values_list("total_usd", flat=True))
    assert total == Decimal(bill["cost_usd"]) == sum(Job.objects.values_list("total_usd", flat=True))
    assert [(b.spent, b.held) for b in Budget.objects.all()] == [(total, 0), (total, 0)]
