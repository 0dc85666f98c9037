"""A worker process of calls: what it says of itself, what it does when it is full, late, or told to stop."""

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from uuid import UUID

import pytest
from django.db import OperationalError, transaction
from django.utils import timezone

from billing import ledger
from billing.errors import AlreadyReleased
from billing.models import Budget, Reservation, UsageRecord
from jobs import dispatch, execution, limiter, workers
from jobs.credentials import access_of
from jobs.execution import booking, calls, turns
from jobs.execution.claims import claim
from jobs.execution.engine import NAMES_AT_ONCE, Engine
from jobs.models import Attempt, Job, Watch, Worker
from tests.flows.conftest import Path
from tests.flows.processes import eventually, worker
from tests.flows.test_execution import answer

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)
SEND = dispatch.send  # as it is: the fixture `path` keeps messages from being sent


@pytest.fixture(autouse=True)
def _empty_broker() -> None:
    limiter.connection().flushdb()
    limiter.connection().set(limiter.BORN_KEY, "0.000")


@pytest.fixture
def real(path, monkeypatch):
    """The path with its messages sent, and no worker but those that the test starts."""
    monkeypatch.setattr(dispatch, "send", SEND)
    Worker.objects.all().delete()
    yield path
    path.simulator.set_latency(0.0)


def statuses() -> list[str]:
    return sorted(Job.objects.values_list("status", flat=True))


def nothing_is_held() -> bool:
    return not Budget.objects.exclude(held=0).exists()


def test_a_worker_says_that_it_lives_and_how_much_it_can_hold_and_is_forgotten_when_it_ends(real):
    assert workers.slots(timezone.now()) == 0
    with worker("calls", real.simulator, slots=7) as process:
        assert workers.slots(timezone.now()) == 7
        first = Worker.objects.get().heard_at
        eventually(lambda: Worker.objects.get().heard_at > first)
        seen = Watch.objects.get().seen_at  # it listens for the others, with no rescue anywhere
        eventually(lambda: Watch.objects.get().seen_at > seen)
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    assert process.returncode == 0
    assert not Worker.objects.exists()


def test_a_worker_of_the_control_queue_has_no_slots(real):
    with worker("control", real.simulator):
        assert not Worker.objects.exists()


def test_a_worker_is_heard_while_every_name_that_it_looks_up_hangs():
    engine, known = Engine("here", 1), threading.Event()
    engine.start()
    try:
        for _ in range(2 * NAMES_AT_ONCE):
            asyncio.run_coroutine_threadsafe(asyncio.to_thread(known.wait), engine._loop)
        first = Worker.objects.get().heard_at
        eventually(lambda: Worker.objects.get().heard_at > first)
    finally:
        known.set()
        engine.stop()
    assert not Worker.objects.exists()


def test_a_silent_worker_counts_for_nothing():
    workers.report("gone", slots=5, now=timezone.now() - timezone.timedelta(seconds=workers.SILENCE_SECONDS + 1))
    workers.report("stops", slots=5, now=timezone.now(), is_stopping=True)
    workers.report("lives", slots=3, now=timezone.now())
    assert workers.slots(timezone.now()) == 3
    workers.report("gone", slots=5, now=timezone.now() - timezone.timedelta(days=2))
    assert workers.forget_silent(timezone.now()) == 1


def test_a_worker_that_is_told_to_stop_finishes_its_calls_and_takes_no_more(real):
    real.simulator.set_latency(3.0)
    for _ in range(5):
        real.submit()
    with worker("calls", real.simulator, slots=20) as process:
        assert dispatch.dispatch() == 5
        eventually(lambda: real.simulator.counters()["max_in_flight"] == 5)
        process.send_signal(signal.SIGTERM)
        eventually(lambda: Worker.objects.filter(is_stopping=True).exists())
        real.submit()
        assert dispatch.dispatch() == 0
        process.wait(30)
    assert process.returncode == 0
    assert statuses() == ["queued"] + ["succeeded"] * 5
    assert UsageRecord.objects.count() == real.simulator.counters()["billed"] == 5
    assert nothing_is_held()


def test_a_worker_that_is_told_to_stop_hands_back_what_waits_for_its_turn(real, monkeypatch):
    with worker("calls", real.simulator, slots=20, BURSAR_ADMISSION_HORIZON_SECONDS="120") as process:
        for _ in range(3):
            real.submit()
        assert dispatch.dispatch() == 3
        eventually(lambda: statuses() == ["succeeded"] * 3)
        waiting: list[UUID] = []
        monkeypatch.setattr(dispatch, "send", waiting.extend)
        for _ in range(5):
            real.submit()
        assert dispatch.dispatch() == 5
        Attempt.objects.update(may_use_headroom=True)  # such a call waits as long for its turn as the horizon says
        limiter.hold_back(limiter.account_of(access_of(real.api_key.project)), "o1-mini", 60)
        SEND(waiting)
        eventually(lambda: Attempt.objects.filter(status="created", fencing_token__isnull=False).count() == 5)
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    assert process.returncode == 0
    assert statuses() == ["queued"] * 5 + ["succeeded"] * 3
    assert sorted(Attempt.objects.values_list("status", flat=True)) == ["abandoned"] * 5 + ["answered"] * 3
    assert sorted(Reservation.objects.values_list("status", flat=True)) == ["released"] * 5 + ["settled"] * 3
    assert nothing_is_held()
    assert UsageRecord.objects.count() == real.simulator.counters()["billed"] == 3


def test_a_full_worker_passes_on_what_another_one_has_room_for(real):
    real.simulator.set_latency(3.0)
    for _ in range(4):
        real.submit()
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(worker("calls", real.simulator, slots=2))
        assert dispatch.dispatch() == 4  # named by one message
        eventually(lambda: Job.objects.filter(status="succeeded").count() == 4)
    assert real.simulator.counters()["max_in_flight"] == 4
    assert UsageRecord.objects.count() == real.simulator.counters()["billed"] == 4


def test_a_call_that_missed_its_turn_takes_another_one_and_is_sent_once(path, monkeypatch):
    begin_all, asked = calls.begin_patiently, []
    admit_all = limiter.admit_all

    def slowly(ours):
        time.sleep(limiter.LATENESS_MS / 1000 + 0.2)
        return begin_all(ours)

    def counted(askings):
        asked.extend(askings)
        return admit_all(askings)

    monkeypatch.setattr(calls, "begin_patiently", slowly)
    monkeypatch.setattr(limiter, "admit_all", counted)
    job = path.submit()
    (attempt,) = path.dispatch()
    execution.execute(attempt.pk, worker="tests")
    job.refresh_from_db()
    assert job.status == "succeeded"
    assert len(asked) == 2
    assert path.simulator.counters()["requests"] == 1


def test_a_call_that_missed_its_turn_while_the_database_is_away_waits_for_it(path, monkeypatch):
    begin, take, taken = calls.begin_patiently, turns._take, []

    def slowly(ours):
        time.sleep(limiter.LATENESS_MS / 1000 + 0.2)
        return begin(ours)

    def away_once(ours):
        taken.append(ours)
        if len(taken) == 2:
            raise OperationalError("couldn't get a connection")
        return take(ours)

    monkeypatch.setattr(calls, "begin_patiently", slowly)
    monkeypatch.setattr(turns, "_take", away_once)
    job = path.submit()
    path.run()
    job.refresh_from_db()
    assert (job.status, len(taken)) == ("succeeded", 3)
    assert path.simulator.counters()["requests"] == 1


def test_a_call_that_missed_its_turn_while_the_limiter_is_away_waits_for_it(path, monkeypatch):
    admit_all, answers = limiter.admit_all, iter([False, True, True, False])

    def sometimes_away(askings):
        if next(answers):
            raise limiter.LimiterAway("connection refused")
        return admit_all(askings)

    def slowly(ours, begin_all=calls.begin_patiently):
        time.sleep(limiter.LATENESS_MS / 1000 + 0.2)
        return begin_all(ours)

    monkeypatch.setattr(calls, "begin_patiently", slowly)
    monkeypatch.setattr(limiter, "admit_all", sometimes_away)
    path.submit()
    (attempt,) = path.dispatch()
    execution.execute(attempt.pk, worker="tests")
    assert statuses() == ["succeeded"]
    assert next(answers, "asked four times") == "asked four times"


def test_answers_are_booked_together_and_one_that_cannot_be_harms_no_other(path, monkeypatch):
    for _ in range(3):
        path.submit()
    ours = claim([attempt.pk for attempt in path.dispatch()], worker="tests")
    assert calls.begin_patiently(ours) == [True, True, True]
    with transaction.atomic():
        records = booking.settle_all([(call, answer()) for call in ours[:2]])
    assert len({record.pk for record in records}) == 2
    with transaction.atomic():
        ledger.release(ours[2].attempt_id, reason="for the test")
    with pytest.raises(AlreadyReleased):
        booking.settle_all([(call, answer()) for call in ours])
    assert UsageRecord.objects.count() == 2
    assert statuses() == ["running", "succeeded", "succeeded"]
    assert set(Attempt.objects.values_list("status", flat=True)) == {"answered", "calling"}


@pytest.fixture
def engine(path) -> Iterator[Engine]:
    """In this process, so that what it does can be held up."""
    found = Engine("here", 10)
    found.start()
    yield found
    found.stop()


@dataclass
class HeldUp:
    organizations: list[UUID]
    go_on: threading.Event


@pytest.fixture
def held_up(monkeypatch) -> Iterator[HeldUp]:
    """The organizations whose failures are not booked until the test says so, or has ended."""
    held, reject = HeldUp([], threading.Event()), booking.reject

    def slowly(call, *args, **kwargs):
        if call.project.organization_id in held.organizations:
            assert held.go_on.wait(60)
        reject(call, *args, **kwargs)

    monkeypatch.setattr(booking, "reject", slowly)
    yield held
    held.go_on.set()


def test_an_answer_is_booked_while_failures_are(path, engine, held_up):
    path.simulator.fault("500", count=None, match="broken")
    broken, whole = path.submit(prompt="A broken one"), path.submit()
    held_up.organizations.append(broken.organization_id)
    engine.take_on([attempt.pk for attempt in path.dispatch()])
    eventually(lambda: Job.objects.get(pk=whole.pk).status == "succeeded")
    assert Job.objects.get(pk=broken.pk).status == "running"


def test_the_failures_of_one_organization_wait_for_those_of_no_other(path, bob, held_up, monkeypatch):
    others = Path(bob.api_key.api_key, path.simulator)
    path.simulator.fault("500", count=None, match="broken")
    first, second = path.submit(prompt="A broken one"), others.submit(prompt="A broken one")
    lanes = next(n for n in range(2, 200) if first.organization_id.int % n != second.organization_id.int % n)
    monkeypatch.setattr(calls, "FAILURE_LANES", lanes)
    engine = Engine("here", 10)
    engine.start()
    try:
        held_up.organizations.append(first.organization_id)
        ids = [attempt.pk for attempt in path.dispatch()]
        engine.take_on(ids)
        eventually(lambda: Job.objects.get(pk=second.pk).status == "queued")
        assert Job.objects.get(pk=first.pk).status == "running"
    finally:
        held_up.go_on.set()
        engine.stop()
