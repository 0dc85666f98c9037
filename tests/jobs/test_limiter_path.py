"""The limiter in the path of a job: turns that go back, limits of a day, and what a refusal teaches everybody."""

import socket
from struct import unpack_from

import openai
import pytest

from accounts.models import ProjectRateLimit, RateLimit
from config.simulator.running import RunningSimulator
from jobs import execution, limiter
from jobs.execution import calls
from jobs.limiter import NotYet
from jobs.models import Attempt, Job
from jobs.sent import sent_of
from tests.flows.conftest import _fresh_limiter, path, simulator, simulator_process, slots  # noqa: F401 (fixtures)
from tests.simulator.clients import ask, connect


def requests_used() -> float:
    """What the one bucket of requests per minute that there is says is used."""
    (key,) = limiter.connection().keys("bursar:limiter:*:o1-mini")
    return unpack_from(">d", limiter.connection().hget(key, "requests_per_minute"))[0]


def forget() -> None:
    """As after FLUSHALL."""
    redis = limiter.connection()
    redis.delete(*redis.keys("bursar:limiter:*"))


# --- Turns that go back -----------------------------------------------------------------------------------------------
def test_a_call_that_was_sent_keeps_its_turn(path):  # noqa: F811
    path.submit()
    path.run()
    assert requests_used() == 1


def test_an_attempt_that_lost_its_claim_gives_its_turn_back(path, monkeypatch):  # noqa: F811
    path.submit()
    (attempt,) = path.dispatch()
    monkeypatch.setattr(calls, "begin_patiently", lambda calls: [False])
    execution.execute(attempt.pk, worker="tests")
    assert requests_used() == 0
    assert path.simulator.counters()["requests"] == 0


def test_a_worker_that_is_stopped_before_its_call_gives_its_turn_back(path, monkeypatch):  # noqa: F811
    path.submit()
    (attempt,) = path.dispatch()

    async def stopped(*args):
        return True

    monkeypatch.setattr(calls, "is_told_to_stop", stopped)
    execution.execute(attempt.pk, worker="tests")
    assert requests_used() == 0
    assert Job.objects.get().status == "queued"
    assert path.simulator.counters()["requests"] == 0


def test_a_connection_that_was_never_made_uses_no_turn(path, settings):  # noqa: F811
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        settings.OPENAI_BASE_URL = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        path.submit()
        path.run()
    assert Attempt.objects.get().error_code == "connection_failed"
    assert requests_used() == 0


def test_a_turn_that_cannot_be_given_back_is_lost_and_the_attempt_is_not(path, monkeypatch):  # noqa: F811
    def away(turns):
        raise limiter.LimiterAway("connection refused")

    path.submit()
    (attempt,) = path.dispatch()
    with monkeypatch.context() as patch:
        patch.setattr(limiter, "give_back_all", away)
        patch.setattr(calls, "begin_patiently", lambda calls: [False])
        execution.execute(attempt.pk, worker="tests")
    assert requests_used() == 1


# --- What a refusal teaches -------------------------------------------------------------------------------------------
def test_one_refusal_tells_everybody_the_providers_limit_and_who_else_uses_it(path, settings):  # noqa: F811
    with RunningSimulator(requests_per_minute={"o1-mini": 30}) as full, connect(full) as somebody_else:
        for _ in range(30):
            ask(somebody_else, "o1-mini")
        settings.OPENAI_BASE_URL = full.base_url
        path.submit()
        path.submit()
        first, second = path.dispatch()
        Attempt.objects.update(may_use_headroom=True)  # the others get no turn that far ahead
        execution.execute(first.pk, worker="tests")
        assert first.job.attempts.get().http_status == 429
        limits = RateLimit(requests_per_minute=1000)
        (key,) = limiter.connection().keys("bursar:limiter:*:o1-mini")
        account = key.decode().split(":")[2]
        seen = limiter.look(account, "o1-mini", limits, requests=1, tokens=1, horizon_seconds=0.0)
        assert isinstance(seen, NotYet)
        assert 1.5 < seen.wait_seconds <= 4.0
        # The second one waits for its turn by what was learnt, and is not refused.
        execution.execute(second.pk, worker="tests")
        assert second.job.attempts.get().status == "answered"
        assert full.counters()["rate_limited"] == 1


def test_the_others_wait_for_what_the_provider_asks_and_not_for_the_backoff_of_one_job(path, monkeypatch):  # noqa: F811
    held = []
    monkeypatch.setattr(limiter, "hold_back", lambda account, family, seconds: held.append(seconds))
    path.submit()
    for _ in range(5):
        path.simulator.fault("429")
        path.run()
        Job.objects.update(run_after=None)
    assert len(held) == 5
    assert len(set(held)) == 1


def test_what_is_too_large_for_the_providers_limit_is_final_and_holds_nobody_back(path, settings):  # noqa: F811
    with RunningSimulator(tokens_per_minute={"o1-mini": 10_000}) as small:
        settings.OPENAI_BASE_URL = small.base_url
        job = path.submit(max_completion_tokens=10_001)
        path.run()
        job.refresh_from_db()
        assert job.status == "failed"
        assert job.error["message"].startswith("Request too large")
        fits = path.submit(max_completion_tokens=5_000)
        path.run()
        fits.refresh_from_db()
        assert fits.status == "succeeded"


def test_a_client_sees_the_same_headers_that_are_learnt(path):  # noqa: F811
    with RunningSimulator(requests_per_minute={"o1-mini": 2}) as small, connect(small) as client:
        ask(client, "o1-mini")
        ask(client, "o1-mini")
        with pytest.raises(openai.RateLimitError) as refusal:
            ask(client, "o1-mini")
    said = {statement.name: statement.limit for statement in limiter.statements(refusal.value.response.headers)}
    assert said["requests_per_minute"] == 2


def test_one_answer_tells_everybody_who_else_uses_the_account(path, settings):  # noqa: F811
    with RunningSimulator(requests_per_minute={"o1-mini": 60}) as shared, connect(shared) as somebody_else:
        RateLimit.objects.filter(model="o1-mini").update(requests_per_minute=60)
        for _ in range(40):
            ask(somebody_else, "o1-mini")
        settings.OPENAI_BASE_URL = shared.base_url
        path.submit()
        path.run()
        assert Job.objects.get().status == "succeeded"
        assert requests_used() > 30  # 41, less what drained while somebody else was asking


# --- Days -------------------------------------------------------------------------------------------------------------
def test_nothing_that_is_learnt_keeps_a_paid_answer_from_being_booked(path, monkeypatch, caplog):  # noqa: F811
    def broken(*args, **more):
        raise ValueError("a header that nobody thought of")

    job = path.submit()
    (attempt,) = path.dispatch()
    monkeypatch.setattr(limiter, "learn_all", broken)
    execution.execute(attempt.pk, worker="tests")
    assert "a header that nobody thought of" in caplog.text
    assert Attempt.objects.get(pk=attempt.pk).status == "answered"
    assert Job.objects.get(pk=job["id"] if isinstance(job, dict) else job.pk).status == "succeeded"


def test_a_day_is_counted_again_from_the_attempts_of_the_same_account_and_family(path):  # noqa: F811
    path.submit()
    path.submit()
    path.submit("o1-preview")
    path.run()
    sent = sent_of("o1-mini", lambda access: True)
    assert [(slot.requests, slot.seconds_ago) for slot in sent] == [(2, 0.0)]
    assert sent[0].tokens == sum(Job.objects.filter(model="o1-mini").values_list("admission_tokens", flat=True))
    assert sent_of("o1-mini", lambda access: False) == []


@pytest.mark.parametrize(("limit", "status"), [(2, "queued"), (20, "succeeded")])
def test_after_redis_was_emptied_a_limit_of_a_day_still_holds_and_blocks_no_more_than_it_must(
    path,  # noqa: F811
    limit,
    status,
):
    RateLimit.objects.filter(model="o1-mini").update(requests_per_minute=None, tokens_per_minute=None)
    for _ in range(2):
        path.submit()
    path.run()
    RateLimit.objects.filter(model="o1-mini").update(requests_per_day=limit)
    forget()
    job = path.submit()
    path.run()
    job.refresh_from_db()
    assert job.status == status
    if status == "queued":
        told = job.queue.waiting_on
        assert (told["limit"], told["limit_value"]) == ("requests_per_day", 2)


def test_a_limit_of_a_day_that_only_the_provider_knows_is_learnt_from_its_refusal(path, settings):  # noqa: F811
    with RunningSimulator(requests_per_day={"o1-mini": 20}) as small:
        settings.OPENAI_BASE_URL = small.base_url
        for _ in range(21):
            path.submit()
            path.run()
        assert small.counters()["requests"] == 19  # and what is left to quiet projects
        assert small.counters()["rate_limited"] == 0
        waiting = Job.objects.filter(status="queued")
        assert {(job.waiting_on or job.queue.waiting_on)["limit"] for job in waiting} == {"requests_per_day"}


# --- A project's own limits -------------------------------------------------------------------------------------------
def test_a_projects_own_limit_keeps_its_queue_waiting_and_is_named(path, project):  # noqa: F811
    ProjectRateLimit.objects.create(project=project, model="o1-mini", requests_per_minute=10)
    for _ in range(12):
        path.submit()
    path.run()
    assert Job.objects.filter(status="succeeded").count() == path.simulator.counters()["requests"] == 9
    assert not Attempt.objects.filter(status="abandoned").exists()
    told = Job.objects.filter(status="queued").first().queue.waiting_on
    assert told == {
        "reason": "rate_limit",
        "model": "o1-mini",
        "limit": "requests_per_minute",
        "limit_value": 10,
        "scope": "project",
    }


def test_a_worker_names_a_projects_own_limit_as_a_reader_knows_it(path, project):  # noqa: F811
    job = path.submit()
    (attempt,) = path.dispatch()
    ProjectRateLimit.objects.create(project=project, model="o1-mini", tokens_per_minute=1)
    execution.execute(attempt.pk, worker="tests")
    job.refresh_from_db()
    told = {"reason": "rate_limit", "model": "o1-mini", "limit": "tokens_per_minute", "scope": "project"}
    assert (job.status, job.waiting_on) == ("queued", told)
