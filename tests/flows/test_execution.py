"""An attempt from its claim to its booking: what a worker does when its turn, its limiter or its database is away."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
import redis
from asgiref.sync import sync_to_async
from django.db import DataError, InterfaceError, OperationalError, connection
from django.utils import timezone

from accounts import log_context
from accounts.models import ProviderCredential, RateLimit
from billing.clock import database_now
from billing.models import Budget, LedgerEntry, Reservation, UsageRecord
from billing.pricing import Tokens
from config.simulator.running import RunningSimulator
from jobs import dispatch, execution, limiter, provider, recovery
from jobs.execution import booking, calls, claims, patience
from jobs.execution.booking import settle_all
from jobs.execution.claims import Call, begin_all, claim
from jobs.execution.patience import patiently
from jobs.limiter import Go, Never, NotYet
from jobs.models import Attempt, Job, LanguageModel
from jobs.provider import Answer, Rejected, Uncertain
from jobs.recovery import decisions
from jobs.retries import Fail, Rejection, Retry
from jobs.states import JobStatus
from jobs.transitions import move_job
from tests.flows.processes import eventually, worker

SEND = dispatch.send  # as it is: the fixture `path` keeps messages from being sent


def reload(job: Job) -> Job:
    job.refresh_from_db()
    return job


def nothing_is_held() -> bool:
    return not Budget.objects.exclude(held=0).exists()


def run_without_error(path) -> None:
    """The path, with whatever it raises told in ASCII: pytest-xdist cannot carry half of a surrogate pair."""
    try:
        path.run()
    except (DataError, ValueError) as error:
        pytest.fail(ascii(error), pytrace=False)


def settle(call: Call, came: Answer) -> UsageRecord | None:
    return next(iter(settle_all([(call, came)])), None)


def with_another_token(call: Call) -> Call:
    return replace(call, token=uuid4())


def answer(message: object = "Mexico City", **changes) -> Answer:
    fields = {
        "response_id": "chatcmpl-1",
        "request_id": "req_1",
        "snapshot": "o1-mini-2024-09-12",
        "message": {"role": "assistant", "content": message},
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 43, "completion_tokens": 320},
        "tokens": Tokens(43, 0, 320, 256),
    }
    return Answer(**{**fields, **changes})


@pytest.fixture
def calling(path):
    """A call that has begun."""
    path.submit()
    (attempt,) = path.dispatch()
    (call,) = claim([attempt.pk], worker="tests")
    assert begin_all([call]) == [True]
    return call


# --- The turn ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("admission", "pause_seconds"),
    [
        (NotYet(3.0, "tokens_per_minute"), 3.0),
        (NotYet(40.0, "tokens_per_minute"), 5.0),
        (Never("tokens_per_minute"), 5.0),
    ],
)
def test_an_attempt_whose_turn_is_too_far_away_is_given_back_without_a_trace_of_money(
    path, monkeypatch, admission, pause_seconds
):
    job = path.submit()
    (attempt,) = path.dispatch()
    monkeypatch.setattr(limiter, "admit_all", lambda askings: [admission for _ in askings])
    execution.execute(attempt.pk, worker="tests")
    assert reload(job).status == "queued"
    assert job.waiting_on == {"reason": "rate_limit", "limit": "tokens_per_minute", "model": "o1-mini"}
    assert job.run_after - job.attempts.get().finished_at == timedelta(seconds=pause_seconds)
    assert job.attempts.get().status == "abandoned"
    assert Reservation.objects.get().status == "released"
    assert nothing_is_held()
    assert path.simulator.counters()["requests"] == 0


def test_waiting_for_a_turn_uses_up_no_try(path, monkeypatch, settings):
    settings.MAX_ATTEMPTS = 2
    job = path.submit()
    with monkeypatch.context() as patch:
        patch.setattr(limiter, "admit_all", lambda askings: [NotYet(1.0, "requests_per_minute") for _ in askings])
        for _ in range(5):
            path.run()
            Job.objects.update(run_after=None)
    assert reload(job).attempt_count == 5
    path.simulator.fault("500")
    path.run()
    assert reload(job).status == "queued"
    Job.objects.update(run_after=None)
    path.run()
    assert reload(job).status == "succeeded"
    assert [a.status for a in job.attempts.order_by("number")] == ["abandoned"] * 5 + ["rejected", "answered"]
    assert len(path.bill(job)) == 1


def test_an_attempt_whose_rate_limit_has_gone_is_given_back(path):
    job = path.submit()
    (attempt,) = path.dispatch()
    RateLimit.objects.filter(model="o1-mini").delete()
    execution.execute(attempt.pk, worker="tests")
    assert reload(job).waiting_on == {"reason": "rate_limit", "limit": "unknown"}
    assert nothing_is_held()


def test_a_worker_that_waits_long_for_its_turn_keeps_its_claim(path, monkeypatch, settings):
    job = path.submit()
    (attempt,) = path.dispatch()
    settings.ADMISSION_HORIZON_SECONDS = 9.0
    waited = []

    async def wait(stopping, seconds):
        waited.append(seconds)
        return False

    monkeypatch.setattr(limiter, "admit_all", lambda askings: [Go(9.0) for _ in askings])
    monkeypatch.setattr(calls, "is_told_to_stop", wait)
    leases = []

    def begins(ours):
        leases.append(Attempt.objects.get().lease_expires_at - database_now())
        return begin_all(ours)

    monkeypatch.setattr(calls, "begin_patiently", begins)
    execution.execute(attempt.pk, worker="tests")
    assert reload(job).status == "succeeded"
    assert 8.0 < waited[0] <= 9.0
    assert leases[0] >= timedelta(seconds=settings.CLAIM_LEASE_SECONDS + 9 - 2)


def test_a_model_that_left_the_catalogue_after_its_claim_is_still_called_and_booked(path):
    job = path.submit()
    (attempt,) = path.dispatch()
    LanguageModel.objects.filter(name="o1-mini").delete()
    execution.execute(attempt.pk, worker="tests")
    assert reload(job).status == "succeeded"
    assert job.total_usd == UsageRecord.objects.get().total_usd


def giving(came: Answer):
    async def call(*args, **kwargs):
        return came

    return call


# --- Who may write ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("attempt_id", [uuid4()])
def test_a_message_for_an_attempt_that_does_not_exist_changes_nothing(db, attempt_id):
    execution.execute(attempt_id, worker="tests")
    assert not Attempt.objects.exists()


def test_an_attempt_is_claimed_once_and_not_after_its_lease(path):
    path.submit()
    (attempt,) = path.dispatch()
    (call,) = claim([attempt.pk, attempt.pk, uuid4()], worker="first")
    assert Attempt.objects.get(worker="first").fencing_token == call.token
    assert claim([attempt.pk], worker="second") == []
    Attempt.objects.update(fencing_token=None, lease_expires_at=database_now())
    assert claim([attempt.pk], worker="late") == []


def test_a_worker_with_another_token_changes_nothing(path, calling):
    stranger = with_another_token(calling)
    rejection = Rejection(status=400, code="c", type="t", message="no")
    before = list(Attempt.objects.values())
    assert settle(stranger, answer()) is None
    assert recovery.put_in_doubt(stranger, code="c", reason="r", token=stranger.token) is False
    booking.reject(stranger, rejection, Fail(), request_id="")
    assert list(Attempt.objects.values()) == before
    assert not UsageRecord.objects.exists()
    assert Reservation.objects.get().status == "open"
    assert settle(calling, answer()).total_usd > 0
    assert Job.objects.get().status == "succeeded"


def test_a_worker_with_another_token_neither_begins_nor_gives_back(path):
    path.submit()
    (attempt,) = path.dispatch()
    (call,) = claim([attempt.pk], worker="tests")
    stranger = with_another_token(call)
    assert begin_all([stranger]) == [False]
    assert recovery.give_back(stranger, waiting_on=None, after_seconds=0.0, token=stranger.token) is False
    assert Reservation.objects.get().status == "open"
    assert begin_all([stranger, call]) == [False, True]


def test_a_call_begins_once(path, calling):
    assert begin_all([calling]) == [False]
    assert recovery.give_back(calling, waiting_on=None, after_seconds=0.0, token=calling.token) is False
    assert recovery.give_back(calling, waiting_on=None, after_seconds=0.0) is False
    assert Reservation.objects.get().status == "open"
    assert Job.objects.get().status == "running"


def test_what_was_answered_is_neither_put_in_doubt_nor_refused_any_more(path, calling):
    record = settle(calling, answer())
    assert settle(calling, answer()) is None
    assert recovery.put_in_doubt(calling, code="c", reason="r") is False
    booking.reject(calling, Rejection(500, "c", "t", "m"), Retry(1.0), request_id="")
    assert Job.objects.get().status == "succeeded"
    assert UsageRecord.objects.get() == record
    assert nothing_is_held()


def test_an_answer_that_comes_after_a_person_decided_is_not_booked_in_silence(path, calling, caplog):
    recovery.put_in_doubt(calling, code="worker_lost", reason="for the test", token=calling.token)
    assert decisions.release(calling.pk, reason="support says so", actor=path.api_key.created_by)
    with caplog.at_level(logging.WARNING):
        assert settle(calling, answer()) is None
    assert str(calling.pk) in caplog.text
    assert not UsageRecord.objects.exists()
    assert LedgerEntry.objects.get(kind="adjust").spent_change_usd > 0
    assert nothing_is_held()


def test_a_job_that_has_moved_on_is_not_moved_from_where_it_was(path):
    job = path.submit()
    path.run()
    finished = reload(job).finished_at
    assert move_job(job.pk, to=JobStatus.QUEUED, come_from=[JobStatus.RUNNING], run_after=timezone.now()) is False
    assert move_job(job.pk, to=JobStatus.FAILED, come_from=[JobStatus.QUEUED, JobStatus.RUNNING]) is False
    assert (reload(job).status, job.finished_at, job.run_after) == ("succeeded", finished, None)


def test_a_late_answer_of_a_worker_whose_attempt_was_given_back_is_not_booked(path):
    path.submit()
    (attempt,) = path.dispatch()
    (call,) = claim([attempt.pk], worker="tests")
    Attempt.objects.update(lease_expires_at=database_now())
    assert recovery.rescue() == 1
    assert settle(call, answer()) is None
    assert Job.objects.get().status == "queued"


# --- The outcome ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("finish_reason", "status"),
    [
        ("stop", "succeeded"),
        ("tool_calls", "succeeded"),
        ("length", "incomplete"),
        ("content_filter", "incomplete"),
    ],
)
def test_an_answer_that_was_cut_off_is_incomplete(path, calling, finish_reason, status):
    settle(calling, answer(finish_reason=finish_reason))
    job = Job.objects.get()
    assert (job.status, job.finish_reason) == (status, finish_reason)
    assert job.finished_at is not None


def test_an_empty_answer_is_paid_and_marked(path, calling):
    empty = answer("", finish_reason="length", tokens=Tokens(43, 0, 300, 300))
    record = settle(calling, empty)
    assert record.is_empty
    assert Job.objects.get().is_empty
    assert record.output_usd == 0
    assert record.total_usd == record.input_usd + record.reasoning_usd > 0


@pytest.mark.parametrize(
    "strange",
    [
        answer("a text with \x00 in it"),
        answer("half of a pair: \ud83d"),
        answer(usage={"prompt_tokens": 43, "completion_tokens": 320, "share": float("nan")}),
        answer(snapshot="m" * 101),
        answer(response_id="r" * 101),
        answer(request_id="r" * 101),
        answer(finish_reason="f" * 31),
    ],
    ids=["NUL", "surrogate", "NaN", "long model", "long id", "long request id", "long finish reason"],
)
def test_an_answer_that_the_database_cannot_hold_as_it_is_is_booked_all_the_same(path, monkeypatch, strange):
    job = path.submit()
    monkeypatch.setattr(provider, "call", giving(strange))
    run_without_error(path)
    assert reload(job).status == "succeeded"
    assert UsageRecord.objects.count() == 1
    assert nothing_is_held()


@pytest.mark.parametrize(
    "rejection",
    [
        Rejection(400, "c" * 600, "t" * 600, "m" * 5000),
        Rejection(400, "c", "t", "a message with \x00 in it"),
    ],
    ids=["long", "NUL"],
)
def test_a_refusal_that_the_database_cannot_hold_as_it_is_gives_the_hold_back_all_the_same(
    path, monkeypatch, rejection
):
    async def refuse(*args, **kwargs):
        raise Rejected(rejection, "r" * 101)

    job = path.submit()
    monkeypatch.setattr(provider, "call", refuse)
    run_without_error(path)
    assert reload(job).status == "failed"
    assert nothing_is_held()


def test_a_long_refusal_is_kept_whole_with_the_job_and_shortened_with_the_attempt(path, monkeypatch):
    async def refuse(*args, **kwargs):
        raise Rejected(Rejection(400, "c" * 400, "t", "m" * 5000, param="messages"), "req_1")

    job = path.submit()
    monkeypatch.setattr(provider, "call", refuse)
    path.run()
    attempt = reload(job).attempts.get()
    assert (len(attempt.error_code), len(attempt.error_message)) == (100, 1000)
    assert (len(job.error["message"]), job.error["param"], job.error["status"]) == (5000, "messages", 400)


def test_a_doubt_with_a_long_reason_is_noted(path, monkeypatch):
    async def doubt(*args, **kwargs):
        raise Uncertain("gateway_error", "x" * 5000, status=502)

    job = path.submit()
    monkeypatch.setattr(provider, "call", doubt)
    path.run()
    assert reload(job).status == "in_doubt"
    assert job.attempts.get().http_status == 502
    assert len(LedgerEntry.objects.get(kind="in_doubt").reason) == 500


def test_a_429_is_booked_also_when_the_limiter_cannot_be_told(path, monkeypatch):
    def away(*args):
        raise limiter.LimiterAway("connection refused")

    job = path.submit()
    path.simulator.fault("429")
    monkeypatch.setattr(limiter, "hold_back", away)
    path.run()
    assert reload(job).waiting_on["reason"] == "retry"
    assert nothing_is_held()


def test_a_429_that_is_about_money_is_not_taken_for_a_rate_limit(path, monkeypatch):
    path.submit()
    path.simulator.fault("insufficient_quota")
    monkeypatch.setattr(limiter, "hold_back", lambda *args: pytest.fail("a rate limit is not what they wait for"))
    path.run()
    assert Job.objects.get().status == "queued"


def test_hold_back_says_when_redis_is_away(monkeypatch):
    away = redis.Redis(port=1, retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0))
    monkeypatch.setattr(limiter, "_hold_back_script", lambda: away.register_script("return 1"))
    with pytest.raises(limiter.LimiterAway):
        limiter.hold_back("account", "o1-mini", 1.0)


def body_of(attempt: Attempt) -> dict[str, object]:
    (call,) = claim([attempt.pk], worker="tests")
    return call.body


# --- What goes with the call ------------------------------------------------------------------------------------------
def test_where_the_model_stores_completions_the_call_can_be_found_by_its_attempt(path):
    job = path.submit("gpt-4o-mini", metadata={"team": "data"})
    (attempt,) = path.dispatch()
    body = body_of(attempt)
    assert body["store"] is True
    assert body["metadata"] == {"team": "data", "bursar_attempt": str(attempt.pk)}
    assert job.content.request["metadata"] == {"team": "data"}


def test_where_it_does_not_nothing_is_added(path):
    model = LanguageModel.objects.get(name="o1-mini")
    model.parameters.remove("store")
    model.save()
    job = path.submit("o1-mini")
    (attempt,) = path.dispatch()
    assert body_of(attempt) == job.content.request


def test_a_deployment_may_keep_the_provider_from_storing(path, settings):
    settings.STORE_COMPLETIONS = False
    job = path.submit("gpt-4o-mini")
    (attempt,) = path.dispatch()
    assert body_of(attempt) == job.content.request


def test_a_callers_own_wish_not_to_store_is_kept(path):
    path.submit("gpt-4o-mini", store=False)
    (attempt,) = path.dispatch()
    body = body_of(attempt)
    assert body["store"] is False
    assert "metadata" not in body  # which the provider refuses without `store`


def test_an_organization_without_retention_is_not_asked_to_keep_answers(path):
    credential = ProviderCredential(organization=path.api_key.project.organization, keeps_answers=False)
    credential.base_url, credential.api_key = path.simulator.base_url, "sk-simulator"
    credential.save()
    job = path.submit("gpt-4o-mini", metadata={"team": "data"}, store=True)
    (attempt,) = path.dispatch()
    assert body_of(attempt) == job.content.request


def test_a_callers_own_metadata_goes_first(path):
    own = {f"key{number}": "x" for number in range(16)}
    path.submit("gpt-4o-mini", metadata=own, store=True)
    (attempt,) = path.dispatch()
    assert body_of(attempt)["metadata"] == own


# --- A database that is away ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_an_outcome_waits_for_the_database(monkeypatch, error):
    pauses: list[float] = []
    monkeypatch.setattr(patience.time, "sleep", pauses.append)
    outcomes = iter([error("restarting")] * 8 + [None])

    def write() -> None:
        outcome = next(outcomes)
        if outcome is not None:
            raise outcome

    patiently(write)
    assert next(outcomes, "written") == "written"
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_the_waiting_ends(monkeypatch):
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", -1.0)

    def write() -> None:
        raise OperationalError("gone for good")

    with pytest.raises(OperationalError, match="gone for good"):
        patiently(write)


def test_a_mistake_of_ours_is_not_repeated(monkeypatch):
    monkeypatch.setattr(patience.time, "sleep", lambda seconds: pytest.fail("nothing to wait for"))

    def write() -> None:
        raise ValueError("a mistake")

    with pytest.raises(ValueError, match="a mistake"):
        patiently(write)


def test_a_beginning_that_was_committed_before_its_connection_died_is_gone_on_with(path, monkeypatch):
    """Otherwise the attempt would count as under way, with a worker that lives and knows nothing of it."""
    job = path.submit()
    commits = []

    def cut_off(ours: Sequence[Call], *, is_repeated: bool = False) -> list[bool]:
        begun = begin_all(ours, is_repeated=is_repeated)
        commits.append(begun)
        if len(commits) == 1:
            raise OperationalError("the server closed the connection")
        return begun

    monkeypatch.setattr(claims, "begin_all", cut_off)
    path.run()
    assert commits == [[True], [True]]
    assert reload(job).status == "succeeded"
    assert path.simulator.counters()["billed"] == UsageRecord.objects.count() == 1


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_connection_that_dies_during_the_call_costs_no_answer(path, monkeypatch):
    job = path.submit()
    (attempt,) = path.dispatch()
    call = provider.call

    def cut() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            (pid,) = cursor.fetchone()
        with connection.copy().cursor() as another:
            another.execute("SELECT pg_terminate_backend(%s)", [pid])
            another.connection.close()

    async def cut_meanwhile(*args, **kwargs):
        await sync_to_async(cut)()
        await asyncio.sleep(0.2)
        return await call(*args, **kwargs)

    monkeypatch.setattr(provider, "call", cut_meanwhile)
    execution.execute(attempt.pk, worker="tests")
    assert reload(job).status == "succeeded"
    assert UsageRecord.objects.count() == 1
    assert len(path.bill(job)) == 1
    assert nothing_is_held()


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_more_calls_are_under_way_at_once_than_the_database_has_connections(path, simulator: RunningSimulator):
    limiter.connection().flushdb()
    limiter.connection().set(limiter.BORN_KEY, "0.000")
    for _ in range(6):
        path.submit()
    simulator.set_latency(4.0)
    try:
        with worker("calls", simulator, BURSAR_DATABASE_POOL="2"):
            dispatch.dispatch()
            SEND(Attempt.objects.values_list("pk", flat=True))
            eventually(lambda: Job.objects.filter(status="succeeded").count() >= 2, seconds=30)
            assert simulator.counters()["max_in_flight"] == 6
    finally:
        simulator.set_latency(0.0)


def test_what_is_logged_of_a_call_is_about_it(path, monkeypatch):
    """Each call's lines have its own ids, however many are under way."""
    seen, before = [], log_context.current()

    async def call(*args, attempt_id, **kwargs):
        seen.append((attempt_id, dict(log_context.current())))
        raise provider.Unreachable("nobody there")

    monkeypatch.setattr(provider, "call", call)
    jobs = {str(path.submit().pk) for _ in range(2)}
    for attempt in path.dispatch():
        execution.execute(attempt.pk, worker="tests")
    assert {ids["job_id"] for _, ids in seen} == jobs
    assert all(ids["attempt_id"] == attempt_id for attempt_id, ids in seen)
    assert log_context.current() == before
