from datetime import timedelta
from decimal import Decimal

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from accounts.models import RateLimit
from billing.errors import LimitTooSmall, UnknownPrice
from billing.models import Budget, LedgerEntry, Price, Quota, Reservation, UsageRecord
from jobs import dispatch, execution, limiter, recovery
from jobs.cancellation import cancel
from jobs.errors import MaxCostTooSmall, NotCancellable, RateLimitUnknown, RequestTooLarge
from jobs.execution import booking, calls
from jobs.execution.claims import begin_all, claim
from jobs.models import Attempt, Job, Queue
from jobs.recovery.stranded import GRACE_SECONDS
from jobs.validation import RequestRejected

D = Decimal


def reload(job: Job) -> Job:
    job.refresh_from_db()
    return job


def nothing_is_held() -> bool:
    return not Budget.objects.exclude(held=0).exists()


# --- The door ---------------------------------------------------------------------------------------------------------
def test_a_queued_job_holds_nothing(path):
    path.submit()
    assert not Reservation.objects.exists()


def test_a_job_that_fits_no_idle_budget_is_refused_at_the_door(path, project):
    Quota.objects.create(organization=project.organization, project=project, limit=D("0.5"))
    with pytest.raises(LimitTooSmall, match="Alice research") as refused:
        path.submit("o1-preview")
    assert refused.value.details["budget"]["scope"] == "project"
    assert not Job.objects.exists()


def test_a_job_dearer_than_its_own_maximum_is_refused(path):
    with pytest.raises(MaxCostTooSmall):
        path.submit("o1-preview", max_cost_usd=D("1"))
    assert path.submit("o1-preview", max_completion_tokens=10_000, max_cost_usd=D("1")).bound_usd < 1


def test_a_model_without_a_price_is_refused_and_never_free(path):
    Price.objects.filter(model="o1-mini").delete()
    with pytest.raises(UnknownPrice):
        path.submit("o1-mini")


def test_a_model_without_a_rate_limit_is_refused(path):
    RateLimit.objects.filter(model="o1-mini").delete()
    with pytest.raises(RateLimitUnknown, match="Rate limits"):
        path.submit("o1-mini")


def test_a_call_larger_than_a_minutes_tokens_is_refused(path):
    RateLimit.objects.filter(model="o1-mini").update(tokens_per_minute=10_000)
    with pytest.raises(RequestTooLarge, match="10000 tokens per minute"):
        path.submit("o1-mini", max_completion_tokens=20_000)


def test_a_deadline_in_the_past_is_refused(path):
    with pytest.raises(RequestRejected, match="has passed"):
        path.submit(deadline=timezone.now() - timedelta(hours=1))


# --- The answer -------------------------------------------------------------------------------------------------------
def test_an_answer_is_stored_with_its_usage_cost_and_text(path):
    job = path.submit("o1-mini", "What is the capital of Mexico?")
    path.run()
    reload(job)
    assert job.status == "succeeded"
    assert job.usage["completion_tokens_details"]["reasoning_tokens"] % 64 == 0
    assert job.content.message["content"]
    assert job.total_usd == UsageRecord.objects.get().total_usd == D(path.bill(job)[0]["cost_usd"])
    assert job.attempts.get().status == "answered"
    assert nothing_is_held()


def test_the_attempt_can_be_found_at_the_provider(path):
    job = path.submit("gpt-4o-mini", "Hello")
    path.run()
    attempt = job.attempts.get()
    assert attempt.provider_request_id.startswith("req_")
    assert attempt.provider_response_id.startswith("chatcmpl-")
    assert path.simulator.bill(bursar_attempt=str(attempt.pk))["calls"] == 1


def test_a_second_message_for_one_attempt_changes_nothing(path):
    job = path.submit()
    (attempt,) = path.dispatch()
    for _ in range(3):
        execution.execute(attempt.pk, worker="tests")
    assert len(path.bill(job)) == 1
    assert UsageRecord.objects.count() == 1


# --- Refusals of the provider -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("fault", ["429", "500", "503"])
def test_a_passing_error_costs_nothing_and_is_tried_again(path, fault):
    job = path.submit()
    path.simulator.fault(fault)
    path.run()
    assert reload(job).status == "queued"
    assert job.waiting_on["reason"] == "retry"
    assert job.run_after > job.queued_at
    assert nothing_is_held()
    Job.objects.update(run_after=None)
    limiter.connection().flushdb()
    limiter.connection().set(limiter.BORN_KEY, "0")
    path.run()
    assert reload(job).status == "succeeded"
    assert [a.status for a in job.attempts.order_by("number")] == ["rejected", "answered"]
    assert len(path.bill(job)) == 1


def test_retry_after_is_honoured_by_the_job_and_holds_back_the_family(path):
    job = path.submit()
    path.simulator.fault("429", retry_after=30)
    path.run()
    assert reload(job).run_after - job.attempts.get().finished_at >= timedelta(seconds=30)
    other = path.submit()
    path.run()
    assert reload(other).status == "queued"
    assert other.queue.waiting_on["reason"] == "rate_limit"


def test_a_final_error_fails_the_job_with_the_providers_code(path):
    job = path.submit()
    path.simulator.fault("404")
    path.run()
    assert reload(job).status == "failed"
    assert job.error["code"] == "model_not_found"
    assert job.error["status"] == 404
    assert nothing_is_held()
    assert path.bill(job) == []


def test_the_tries_of_a_job_end(path, settings):
    settings.MAX_ATTEMPTS = 3
    job = path.submit()
    path.simulator.fault("500", count=None)
    for _ in range(5):
        path.run()
        Job.objects.update(run_after=None)
    assert reload(job).status == "failed"
    assert job.attempts.count() == 3


def test_a_connection_that_is_refused_is_tried_again(path, settings):
    job = path.submit()
    settings.OPENAI_BASE_URL = "http://127.0.0.1:1/v1"
    path.run()
    assert reload(job).status == "queued"
    assert job.attempts.get().error_code == "connection_failed"
    assert nothing_is_held()


# --- Doubt ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fault", ["cut_before_billing", "cut_after_billing", "garbage", "empty_object", "html_502"])
def test_an_outcome_that_is_not_known_keeps_the_hold_and_is_not_sent_again(path, fault):
    job = path.submit()
    path.simulator.fault(fault)
    path.run()
    assert reload(job).status == "in_doubt"
    attempt = job.attempts.get()
    assert attempt.status == "in_doubt"
    reservation = Reservation.objects.get(reference=attempt.pk)
    assert (reservation.status, reservation.is_in_doubt) == ("open", True)
    assert Budget.objects.filter(held=reservation.amount_usd).count() == 2
    path.run()
    assert path.simulator.counters()["requests"] == 1


@pytest.mark.parametrize("fault", [{"kind": "hang"}, {"kind": "slow_body", "bytes_per_second": 20}])
def test_a_call_ends_at_its_deadline_however_the_provider_stalls(path, settings, fault):
    settings.CALL_DEADLINE_SECONDS = 1.0
    job = path.submit()
    path.simulator.fault(**fault)
    started = timezone.now()
    path.run()
    assert timezone.now() - started < timedelta(seconds=10)
    assert reload(job).status == "in_doubt"
    assert job.attempts.get().error_code == "timeout"


def test_an_answer_that_comes_after_the_doubt_is_booked(path, monkeypatch):
    job = path.submit()
    (attempt,) = path.dispatch()
    settle_all = booking.settle_all

    def doubted_first(*args):
        recovery.put_in_doubt(attempt, code="worker_lost", reason="for the test")
        assert reload(job).status == "in_doubt"
        return settle_all(*args)

    monkeypatch.setattr(booking, "settle_all", doubted_first)
    execution.execute(attempt.pk, worker="tests")
    assert reload(job).status == "succeeded"
    assert job.attempts.get().status == "resolved"
    assert nothing_is_held()


# --- Rescue -----------------------------------------------------------------------------------------------------------
def test_an_attempt_nobody_claims_goes_back_to_the_queue(path):
    job = path.submit()
    (attempt,) = path.dispatch()
    Attempt.objects.update(lease_expires_at=timezone.now() - timedelta(hours=1))
    assert recovery.rescue() == 1
    assert reload(job).status == "queued"
    assert nothing_is_held()
    execution.execute(attempt.pk, worker="late")  # the message turns up after all
    assert path.simulator.counters()["requests"] == 0
    path.run()
    assert reload(job).status == "succeeded"
    assert len(path.bill(job)) == 1


def test_a_worker_that_was_presumed_dead_does_not_call(path, monkeypatch):
    job = path.submit()
    (attempt,) = path.dispatch()

    def rescue() -> None:
        Attempt.objects.update(lease_expires_at=timezone.now() - timedelta(hours=1))
        assert recovery.rescue() == 1

    async def rescued_while_waiting(*args):
        await sync_to_async(rescue)()
        return False

    monkeypatch.setattr(calls, "is_told_to_stop", rescued_while_waiting)
    execution.execute(attempt.pk, worker="tests")
    assert path.simulator.counters()["requests"] == 0
    assert reload(job).status == "queued"


def test_an_attempt_that_was_calling_is_put_in_doubt_long_after_its_deadline(path, settings):
    job = path.submit()
    (attempt,) = path.dispatch()
    assert begin_all(claim([attempt.pk], worker="tests")) == [True]
    assert recovery.rescue() == 0
    beyond = settings.CALL_DEADLINE_SECONDS + GRACE_SECONDS + 600
    Attempt.objects.update(calling_at=timezone.now() - timedelta(seconds=beyond))
    assert recovery.rescue() == 1
    assert reload(job).status == "in_doubt"
    assert path.dispatch() == []


# --- Waiting ----------------------------------------------------------------------------------------------------------
def test_of_two_jobs_that_fit_only_one_at_a_time_one_runs_and_the_other_says_what_it_waits_for(path, project):
    Quota.objects.create(organization=project.organization, project=project, limit=D(1))
    jobs = [path.submit("o1-preview", max_completion_tokens=10_000) for _ in range(2)]
    path.dispatch()
    running, waiting = sorted((reload(job) for job in jobs), key=lambda job: job.status, reverse=True)
    assert (running.status, waiting.status) == ("running", "queued")
    told = waiting.queue.waiting_on
    assert (told["reason"], told["scope"], told["name"]) == ("budget", "project", "Alice research")
    assert D(told["held"]) + D(told["required"]) > D(told["limit"]) == 1
    path.run()
    Queue.objects.update(retry_at=None)
    path.run()
    assert {reload(job).status for job in jobs} == {"succeeded"}


def test_no_more_calls_start_than_there_are_slots(path, slots):
    slots(3)
    for _ in range(5):
        path.submit()
    assert len(path.dispatch()) == 3
    assert dispatch.dispatch() == 0


def test_projects_take_turns_and_priority_goes_first_within_one(path, alice, bob, slots):
    slots(4)
    flood = [path.submit(priority=priority) for priority in (0, 0, 5, 0)]
    path.api_key = bob.api_key.api_key
    quiet = path.submit()
    started = [attempt.job_id for attempt in path.dispatch()]
    assert quiet.pk in started[:2]
    assert started[:2] in ([flood[2].pk, quiet.pk], [quiet.pk, flood[2].pk])


def test_a_paused_project_starts_nothing(path, project):
    path.submit()
    project.paused_at = timezone.now()
    project.save()
    assert path.dispatch() == []


def test_a_job_whose_deadline_passed_in_the_queue_fails_unstarted(path):
    job = path.submit(deadline=timezone.now() + timedelta(hours=1))
    Job.objects.update(deadline=timezone.now() - timedelta(hours=1))
    path.run()
    assert reload(job).status == "failed"
    assert job.error["code"] == "deadline_exceeded"
    assert not Attempt.objects.exists()


def test_a_price_that_rose_above_the_jobs_maximum_stops_it(path):
    job = path.submit("o1-preview", max_completion_tokens=10_000, max_cost_usd=D("0.7"))
    Price.objects.filter(model="o1-preview").update(output_usd_per_million=D(600))
    path.run()
    assert reload(job).error["code"] == "max_cost_exceeded"


def test_with_redis_away_nothing_is_sent_and_jobs_say_so(path, monkeypatch):
    def away(*args, **kwargs):
        raise limiter.LimiterAway("connection refused")

    job = path.submit()
    with monkeypatch.context() as patch:
        patch.setattr(limiter, "room", away)
        assert path.dispatch() == []
        assert reload(job).queue.waiting_on == {"reason": "limiter_unavailable"}
    (attempt,) = path.dispatch()
    monkeypatch.setattr(limiter, "admit_all", away)
    execution.execute(attempt.pk, worker="tests")
    assert reload(job).status == "queued"
    assert path.simulator.counters()["requests"] == 0
    assert nothing_is_held()


# --- Cancelling -------------------------------------------------------------------------------------------------------
def test_a_queued_job_is_cancelled_and_stays_so(path):
    job = path.submit()
    assert cancel(job).status == "cancelled"
    assert cancel(job).status == "cancelled"
    path.run()
    assert path.simulator.counters()["requests"] == 0


def test_a_running_job_is_not_cancelled(path):
    job = path.submit()
    path.dispatch()
    with pytest.raises(NotCancellable, match="running"):
        cancel(job)


def test_every_entry_of_the_book_belongs_to_an_attempt(path):
    job = path.submit()
    path.simulator.fault("500")
    path.run()
    Job.objects.update(run_after=None)
    path.run()
    attempts = set(job.attempts.values_list("pk", flat=True))
    assert {entry.reservation.reference for entry in LedgerEntry.objects.all()} == attempts
