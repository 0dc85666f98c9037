"""Which jobs start now: what a dispatcher does when something is away, gone or being done by another one."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from threading import Barrier
from types import SimpleNamespace

import pytest
import redis
from django.db import connection, transaction
from kombu.exceptions import OperationalError as BrokerError
from redis.backoff import NoBackoff
from redis.retry import Retry

from accounts import api_keys
from accounts.models import Project, RateLimit
from billing.clock import database_now
from billing.models import Budget, Price, Quota, Reservation, ServiceTier
from jobs import dispatch, limiter, recovery, tasks, waking
from jobs.dispatch import starting
from jobs.models import Attempt, Job, LanguageModel, Queue
from jobs.submission import Submission, body_for_provider
from jobs.validation import PromptRequest

D = Decimal
SEND = dispatch.send  # as it is: the fixture `path` keeps messages from being sent
racing = pytest.mark.django_db(transaction=True, serialized_rollback=True)


@pytest.fixture
def sent(monkeypatch) -> list[tuple[str, list[str] | None]]:
    """What was given to the broker: the names of the tasks and their arguments."""
    messages: list[tuple[str, list[str] | None]] = []
    app = SimpleNamespace(send_task=lambda name, args=None, countdown=None: messages.append((name, args)))
    monkeypatch.setattr(dispatch, "current_app", app)
    monkeypatch.setattr(waking, "current_app", app)
    monkeypatch.setattr(waking, "wake", waking.ask)  # at once, and not on a thread
    return messages


def broker_away(monkeypatch, error: Exception) -> None:
    def away(*args, **kwargs):
        raise error

    monkeypatch.setattr(dispatch, "current_app", SimpleNamespace(send_task=away))


def redis_away(monkeypatch) -> None:
    monkeypatch.setattr(limiter, "connection", lambda: redis.Redis(port=1, retry=Retry(NoBackoff(), 0)))


def reload(job: Job) -> Job:
    job.refresh_from_db()
    return job


def line_of(job: Job) -> Queue:
    return Queue.objects.get(pk=job.queue_id)


def at_once(work, count: int) -> list:
    barrier = Barrier(count)

    def run(number: int):
        try:
            barrier.wait(10)
            return work(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


# --- Waking and telling -----------------------------------------------------------------------------------------------
def test_many_wakes_at_once_are_one_message(sent):
    for _ in range(50):
        waking.ask()
    assert sent == [("jobs.tasks.dispatch", None)]


def test_whoever_submits_after_the_queue_was_read_wakes_again(path, sent):
    waking.ask()
    dispatch.dispatch()
    waking.ask()
    assert len(sent) == 2


def test_a_wake_that_was_lost_is_no_silence_for_ever(sent):
    waking.ask()
    assert 0 < limiter.connection().pttl(waking.WAKE_KEY) <= 1000


@pytest.mark.parametrize("error", [BrokerError("no broker"), OSError("no route to host")])
def test_a_submission_is_taken_while_the_broker_is_away(path, monkeypatch, error, django_capture_on_commit_callbacks):
    broker_away(monkeypatch, error)
    with django_capture_on_commit_callbacks(execute=True):
        job = path.submit()
    assert reload(job).status == "queued"


def test_a_submission_is_taken_and_dispatched_while_redis_is_away(
    path, monkeypatch, sent, django_capture_on_commit_callbacks
):
    with monkeypatch.context() as patch:
        redis_away(patch)
        patch.setattr(limiter, "_admission_script", lambda: limiter.connection().register_script(limiter._SCRIPT))
        with django_capture_on_commit_callbacks(execute=True):
            job = path.submit()
        assert sent == []
        assert dispatch.dispatch() == 0
    assert line_of(job).waiting_on == {"reason": "limiter_unavailable"}
    assert dispatch.dispatch() == 1
    assert line_of(job).waiting_on is None


def test_each_attempt_is_told_by_its_id_alone_when_its_hold_is_committed(
    path, sent, monkeypatch, django_capture_on_commit_callbacks
):
    monkeypatch.setattr(dispatch, "send", SEND)
    path.submit()
    path.submit()
    with django_capture_on_commit_callbacks() as callbacks:
        assert dispatch.dispatch() == 2
        assert sent == []
    for callback in callbacks:
        callback()
    ids = {str(pk) for pk in Attempt.objects.values_list("pk", flat=True)}
    assert {name for name, _ in sent} == {"jobs.tasks.call_model"}
    assert {pk for _, (told,) in sent for pk in told} == ids


@pytest.mark.parametrize("error", [BrokerError("no broker"), OSError("no route to host")])
def test_a_message_that_does_not_get_through_costs_time_and_not_the_attempt(
    path, monkeypatch, error, django_capture_on_commit_callbacks
):
    monkeypatch.setattr(dispatch, "send", SEND)
    broker_away(monkeypatch, error)
    job = path.submit()
    with django_capture_on_commit_callbacks(execute=True):
        assert dispatch.dispatch() == 1
    assert reload(job).status == "running"
    Attempt.objects.update(lease_expires_at=database_now() - timedelta(seconds=1))
    assert recovery.rescue() == 1
    path.run()
    assert reload(job).status == "succeeded"
    assert len(path.bill(job)) == 1


# --- What may have changed while a job was waiting --------------------------------------------------------------------
def failed_with(job: Job) -> str:
    assert reload(job).status == "failed"
    assert job.finished_at is not None
    assert (job.waiting_on, job.error["type"], job.error["status"]) == (None, "not_started", None)
    assert not Attempt.objects.filter(job=job).exists()
    assert not Reservation.objects.exists()
    return job.error["code"]


def test_a_job_whose_model_has_left_the_catalogue_fails_and_says_so(path):
    job = path.submit()
    LanguageModel.objects.filter(name="o1-mini").delete()
    path.run()
    assert failed_with(job) == "model_not_found"
    assert "o1-mini" in job.error["message"]


def test_a_job_whose_price_has_gone_fails_and_is_not_free(path):
    job = path.submit()
    Price.objects.filter(model="o1-mini").delete()
    path.run()
    assert failed_with(job) == "price_unknown"


def test_one_job_that_can_never_start_does_not_keep_the_others(path):
    doomed, fine = path.submit(), path.submit("o1-preview")
    Price.objects.filter(model="o1-mini").delete()
    path.run()
    assert reload(doomed).error["code"] == "price_unknown"
    assert reload(fine).status == "succeeded"


def test_a_price_that_rose_is_held_at_its_new_height(path):
    job = path.submit("o1-preview", max_completion_tokens=1000)
    Price.objects.filter(model="o1-preview").update(output_usd_per_million=D(600))
    path.dispatch()
    held = Reservation.objects.get().amount_usd
    assert held > job.bound_usd
    assert held >= D("0.6")


def test_a_job_whose_rate_limit_has_gone_waits_and_says_so(path):
    job = path.submit()
    RateLimit.objects.filter(model="o1-mini").delete()
    assert path.dispatch() == []
    assert (reload(job).status, job.waiting_on, job.run_after) == ("queued", None, None)
    assert line_of(job).waiting_on == {"reason": "rate_limit", "limit": "unknown", "model": "o1-mini"}


def test_a_job_that_outgrew_its_rate_limit_waits_and_says_which(path):
    job = path.submit(max_completion_tokens=20_000)
    RateLimit.objects.filter(model="o1-mini").update(tokens_per_minute=10_000)
    assert path.dispatch() == []
    assert reload(job).waiting_on == {
        "reason": "rate_limit",
        "limit": "tokens_per_minute",
        "model": "o1-mini",
        "limit_value": 10_000,
    }
    assert not Reservation.objects.exists()


def test_a_family_without_stated_limits_is_not_held_back(path):
    RateLimit.objects.filter(model="o1-mini").update(requests_per_minute=None, tokens_per_minute=None)
    for _ in range(5):
        path.submit()
    assert len(path.dispatch()) == 5


def test_no_more_is_claimed_than_the_rate_limit_can_start_soon(path, settings):
    settings.ADMISSION_HORIZON_SECONDS = 0.0
    RateLimit.objects.filter(model="o1-mini").update(requests_per_minute=60)
    for _ in range(70):
        path.submit()
    started = path.dispatch()
    # The minute's burst, less the second that calls may be late by, and what is left to quiet projects.
    assert 55 <= len(started) <= 58
    told = Queue.objects.get().waiting_on
    assert (told["limit"], told["limit_value"]) == ("requests_per_minute", 60)
    assert not Job.objects.filter(status="queued").exclude(waiting_on=None, run_after=None).exists()


def test_what_is_claimed_and_has_not_asked_yet_counts_against_the_rate_limit(path, settings):
    settings.ADMISSION_HORIZON_SECONDS = 0.0
    RateLimit.objects.filter(model="o1-mini").update(requests_per_minute=60)
    for _ in range(59):
        path.submit()
    before = len(path.dispatch())
    for _ in range(59):
        path.submit()
    assert len(path.dispatch()) - before <= 3  # what refilled meanwhile, and no second burst
    other = path.submit("o1-preview")
    path.dispatch()
    assert reload(other).status == "running"


def test_a_job_that_does_not_fit_its_budget_holds_nothing_and_comes_again(path, project):
    quota = Quota.objects.create(organization=project.organization, project=project, limit=D(1))
    job = path.submit("o1-preview", max_completion_tokens=10_000)
    quota.limit = D("0.01")
    quota.save()
    assert path.dispatch() == []
    assert (reload(job).waiting_on, job.run_after) == (None, None)
    told = line_of(job)
    assert told.waiting_on["reason"] == "budget"
    assert timedelta(0) < told.retry_at - database_now() <= timedelta(seconds=starting.BUDGET_RETRY_SECONDS)
    assert not Budget.objects.exclude(held=0).exists()


# --- The fair choice --------------------------------------------------------------------------------------------------
def test_organizations_take_turns_and_projects_within_them(path, alice, bob, slots):
    slots(6)
    second = Project.objects.create(organization=alice.organization, name="Second", slug="second")
    second_key = api_keys.issue(second, name="second", created_by=alice.owner).api_key
    for key, count in ((alice.api_key.api_key, 20), (second_key, 20), (bob.api_key.api_key, 20)):
        path.api_key = key
        for _ in range(count):
            path.submit()
    started = [attempt.job for attempt in path.dispatch()]
    assert Counter(job.organization.name for job in started) == {"Alice": 3, "Bob": 3}
    assert Counter(job.project.slug for job in started)["second"] in {1, 2}


def test_a_backlog_is_worked_off_in_batches(path, slots, monkeypatch):
    slots(7)
    monkeypatch.setattr(dispatch, "BATCH", 2)
    for _ in range(9):
        path.submit()
    assert dispatch.dispatch() == 7


def test_a_job_that_waits_for_its_time_is_not_looked_at(path):
    path.submit()
    Job.objects.update(run_after=database_now() + timedelta(seconds=60))
    assert path.dispatch() == []


# --- Several dispatchers ----------------------------------------------------------------------------------------------
@racing
def test_a_dispatcher_passes_over_what_another_one_has_in_hand(path):
    taken, free = path.submit(), path.submit()

    def dispatches(_: int) -> int:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '2s'")
        return dispatch.dispatch()

    with transaction.atomic():
        Job.objects.select_for_update().get(pk=taken.pk)
        assert at_once(dispatches, 1) == [1]
    assert (reload(taken).status, reload(free).status) == ("queued", "running")
    assert dispatch.dispatch() == 1


@racing
def test_dispatchers_at_once_start_each_job_once(path, slots):
    slots(1000)
    jobs = [path.submit() for _ in range(40)]
    started = at_once(lambda _: dispatch.dispatch(), 4)
    while dispatch.dispatch():  # whatever one passed over while another had it in hand
        pass
    assert Attempt.objects.count() == len(jobs)
    assert sum(started) <= len(jobs)
    assert set(Attempt.objects.values_list("number", flat=True)) == {1}
    held = sum(Reservation.objects.values_list("amount_usd", flat=True))
    assert {budget.held for budget in Budget.objects.all()} == {held}


@racing
def test_dispatchers_at_once_claim_no_more_than_there_are_slots(path, slots):
    slots(3)
    for _ in range(9):
        path.submit()
    assert sum(at_once(lambda _: dispatch.dispatch(), 4)) == 3
    assert Attempt.objects.count() == 3


# --- Celery's entrances -----------------------------------------------------------------------------------------------
def test_the_tasks_lead_to_the_work(path, sent, monkeypatch):
    job = path.submit()
    tasks.dispatch()
    (attempt,) = Attempt.objects.all()
    tasks.call_model.apply(args=[[str(attempt.pk)]], throw=True)
    assert reload(job).status == "succeeded"
    assert Attempt.objects.get(pk=attempt.pk).fencing_token is not None
    tasks.forget_idempotency_keys()


def test_a_rescue_wakes_the_dispatcher_when_there_was_one(path, sent):
    tasks.rescue()
    assert sent == []
    path.submit()
    path.dispatch()
    Attempt.objects.update(lease_expires_at=database_now() - timedelta(seconds=1))
    tasks.rescue()
    assert sent == [("jobs.tasks.dispatch", None)]


def test_a_service_tier_of_its_own_goes_with_the_call_and_has_its_own_price(path):
    request = PromptRequest("o1-mini", [{"role": "user", "content": "hello"}], {"seed": 7})
    assert "service_tier" not in body_for_provider(Submission(request))
    body = body_for_provider(Submission(request, service_tier=ServiceTier.FLEX))
    assert (body["service_tier"], body["seed"]) == ("flex", 7)


@racing
def test_a_dispatcher_waits_for_the_one_that_counts_the_slots(path):
    path.submit()
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [dispatch.ONE_DISPATCHER])
            second = pool.submit(lambda: (dispatch.dispatch(), connection.close())[0])
            time.sleep(1.0)
            assert not second.done()
        assert second.result(20) == 1
