"""What becomes of the attempts of a worker that fell silent, and of a worker that was only away."""

import os
import signal
import time
from contextlib import contextmanager
from datetime import timedelta

import pytest

from billing.clock import database_now
from billing.models import Budget, LedgerEntry, Reservation, UsageRecord
from jobs import dispatch, limiter, recovery, workers
from jobs.execution.claims import begin_all, claim
from jobs.models import Attempt, Doubt, Job, Watch, Worker
from tests.flows.processes import eventually, worker
from tests.flows.test_execution import answer, settle

LONG = timedelta(seconds=workers.SILENCE_SECONDS + 1)
SEND = dispatch.send  # as it is: the fixture `path` keeps messages from being sent


def nothing_is_held() -> bool:
    return not Budget.objects.exclude(held=0).exists()


def watch_for(seconds: float) -> None:
    """Somebody has listened for so long, and still does."""
    now = database_now()
    Watch.objects.update_or_create(id=1, defaults={"since": now - timedelta(seconds=seconds), "seen_at": now})


def fall_silent(name: str) -> None:
    """The worker is dead, as far as anybody could hear."""
    Worker.objects.filter(name=name).update(heard_at=database_now() - LONG)
    watch_for(3600)


def claimed(path, name: str, *, calls: bool) -> Attempt:
    path.submit()
    (attempt,) = [each for each in path.dispatch() if each.fencing_token is None]
    workers.report(name, slots=10, now=database_now())
    (call,) = claim([attempt.pk], worker=name)
    if calls:
        assert begin_all([call]) == [True]
    return attempt


def status(attempt: Attempt) -> tuple[str, str]:
    attempt.refresh_from_db()
    return attempt.status, attempt.job.status


def test_what_a_silent_worker_had_not_sent_is_queued_again_and_what_it_had_is_in_doubt(path):
    claimed_only, calling = claimed(path, "dies", calls=False), claimed(path, "dies", calls=True)
    others = [claimed(path, "lives", calls=True), claimed(path, "lives", calls=False)]
    fall_silent("dies")
    assert recovery.rescue() == 2
    assert status(claimed_only) == ("abandoned", "queued")
    assert status(calling) == ("in_doubt", "in_doubt")
    assert [status(other) for other in others] == [("calling", "running"), ("created", "running")]
    holds = dict(Reservation.objects.values_list("reference", "status"))
    assert holds[claimed_only.pk] == "released"
    assert holds[calling.pk] == "open"
    assert Reservation.objects.get(reference=calling.pk).is_in_doubt
    assert LedgerEntry.objects.get(kind="in_doubt").reason.startswith("worker_lost")
    assert Doubt.objects.get().attempt_id == calling.pk
    assert recovery.rescue() == 0


def test_many_attempts_of_a_silent_worker_are_rescued_in_one_go(path, monkeypatch):
    monkeypatch.setattr("jobs.recovery.stranded.BATCH", 2)
    for number in range(7):
        claimed(path, "dies", calls=number % 2 == 0)
    fall_silent("dies")
    assert recovery.rescue() == 7
    assert sorted(Attempt.objects.values_list("status", flat=True)) == ["abandoned"] * 3 + ["in_doubt"] * 4
    assert Doubt.objects.count() == LedgerEntry.objects.filter(kind="in_doubt").count() == 4


def test_nobody_is_dead_because_nobody_could_be_heard(path):
    attempt = claimed(path, "lives", calls=True)
    fall_silent("lives")
    # The database was away: nobody wrote, and nobody listened either.
    Watch.objects.update(seen_at=database_now() - timedelta(seconds=workers.BREAK_SECONDS + 1))
    assert recovery.rescue() == 0
    watch_for(workers.SILENCE_SECONDS - 1)
    assert recovery.rescue() == 0
    assert status(attempt) == ("calling", "running")
    watch_for(workers.SILENCE_SECONDS + 1)
    assert recovery.rescue() == 1


def test_a_worker_whose_node_has_started_again_is_dead_though_nobody_has_listened_for_long(path):
    attempt = claimed(path, "node#dies", calls=True)
    now = database_now()
    Worker.objects.filter(name="node#dies").update(
        started_at=now - timedelta(hours=1), heard_at=now - timedelta(seconds=7)
    )
    workers.report("other#lives", slots=10, now=now - timedelta(seconds=6))
    workers.report("node#follows", slots=10, now=now - timedelta(seconds=workers.REPLACED_SECONDS - 1))
    watch_for(1)
    assert recovery.rescue() == 0
    assert status(attempt) == ("calling", "running")
    Worker.objects.filter(name="node#follows").update(started_at=now - timedelta(seconds=workers.REPLACED_SECONDS))
    assert recovery.rescue() == 1
    assert status(attempt) == ("in_doubt", "in_doubt")


def test_a_worker_that_is_heard_beside_its_successor_lives(path):
    attempt = claimed(path, "node#stops", calls=True)
    now = database_now()
    workers.report("node#follows", slots=10, now=now - timedelta(minutes=1))
    Worker.objects.filter(name="node#stops").update(started_at=now - timedelta(hours=1))
    watch_for(3600)
    assert recovery.rescue() == 0
    assert status(attempt) == ("calling", "running")


def test_a_short_break_is_no_reason_to_listen_anew(db):
    watch_for(100)
    Watch.objects.update(seen_at=database_now() - timedelta(seconds=workers.BREAK_SECONDS - 1))
    since = Watch.objects.get().since
    workers.dead(database_now())
    assert Watch.objects.get().since == since


def test_silence_is_longer_than_what_a_living_worker_can_be_kept_silent_unnoticed():
    assert workers.SILENCE_SECONDS > workers.BREAK_SECONDS + 2 * workers.HEARTBEAT_SECONDS
    assert workers.SILENCE_SECONDS + 2 * 2.0 <= 15  # with a rescue every two seconds


def test_the_dead_are_forgotten_after_a_day(db):
    for name, hours in (("today", 23), ("yesterday", 25)):
        workers.report(name, slots=1, now=database_now() - timedelta(hours=hours))
    recovery.rescue()
    assert list(Worker.objects.values_list("name", flat=True)) == ["today"]


def test_a_worker_given_up_cannot_begin_but_its_answer_is_the_truth(path):
    path.submit()
    path.submit()
    workers.report("paused", slots=10, now=database_now())
    first, second = claim([attempt.pk for attempt in path.dispatch()], worker="paused")
    assert begin_all([first]) == [True]
    fall_silent("paused")
    assert recovery.rescue() == 2
    assert begin_all([second]) == [False]
    record = settle(first, answer())
    assert Attempt.objects.get(pk=first.pk).status == "resolved"
    assert Doubt.objects.get().status == "answered"
    assert UsageRecord.objects.get() == record
    assert sorted(Job.objects.values_list("status", flat=True)) == ["queued", "succeeded"]
    assert nothing_is_held()


@contextmanager
def stopped(pid: int):
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_process_that_was_stopped_and_given_up_brings_its_answer_when_it_goes_on(path, monkeypatch):
    limiter.connection().flushdb()
    limiter.connection().set(limiter.BORN_KEY, "0.000")
    monkeypatch.setattr(dispatch, "send", SEND)
    Worker.objects.all().delete()
    path.simulator.set_latency(1.0)
    job = path.submit()
    try:
        with worker("calls", path.simulator) as process:
            name = Worker.objects.get().name
            dispatch.dispatch()
            eventually(lambda: path.simulator.counters()["max_in_flight"] == 1)
            with stopped(process.pid):
                assert Attempt.objects.get().worker == name
                fall_silent(name)
                assert recovery.rescue() == 1
                assert status(Attempt.objects.get()) == ("in_doubt", "in_doubt")
                eventually(lambda: path.simulator.counters()["billed"] == 1)
                time.sleep(0.2)
            eventually(lambda: Job.objects.get().status == "succeeded")
    finally:
        path.simulator.set_latency(0.0)
    assert status(job.attempts.get()) == ("resolved", "succeeded")
    assert path.simulator.counters()["requests"] == UsageRecord.objects.count() == 1
    assert nothing_is_held()
