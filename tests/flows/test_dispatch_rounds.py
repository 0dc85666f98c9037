"""What rounds of the dispatcher cost those that wait: none is made that would find nothing, and none is waited for."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from types import SimpleNamespace

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.models import RateLimit
from jobs import dispatch, limiter, tasks, waking
from jobs.dispatch import choice
from jobs.models import Queue
from tests.flows.test_fair_dispatch import end, key_of, started, submit

PATIENCE = 20.0


def until(holds: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def somebody_waits_for_the_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        return bool(cursor.fetchone()[0])


@pytest.fixture
def rounds(monkeypatch) -> list[int]:
    """How much each round started."""
    made: list[int] = []
    carry_out = dispatch._carry_out

    def counted():
        done = carry_out()
        made.append(len(done.attempt_ids))
        return done

    monkeypatch.setattr(dispatch, "_carry_out", counted)
    return made


# --- Dispatchers that wait --------------------------------------------------------------------------------------------
@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_whoever_submits_while_a_dispatcher_waits_for_its_turn_makes_no_other_one_wait(path, monkeypatch):
    sent: list[str] = []
    app = SimpleNamespace(send_task=lambda name, args=None, countdown=None: sent.append(name))
    monkeypatch.setattr(waking, "current_app", app)
    limiter.connection().delete(waking.WAKE_KEY)
    waking.ask()
    # As if it had been asked for just now, however long this machine takes.
    limiter.connection().persist(waking.WAKE_KEY)
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [dispatch.ONE_DISPATCHER])
            dispatcher = pool.submit(lambda: (dispatch.dispatch(), connection.close())[0])
            until(somebody_waits_for_the_lock)
            waking.ask()
            assert sent == [waking.WAKE_TASK]
        assert dispatcher.result(PATIENCE) == 0
    waking.ask()  # the queue has been read: this one is news
    assert sent == [waking.WAKE_TASK] * 2


def test_messages_that_come_while_a_dispatch_waits_for_another_are_left_to_it(monkeypatch):
    begun, may_end = [], Event()

    def slow() -> int:
        begun.append(1)
        may_end.wait(PATIENCE)
        return 1

    monkeypatch.setattr(dispatch, "dispatch", slow)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(dispatch.dispatch_in_turn)
        until(lambda: len(begun) == 1 and not dispatch._next.locked())
        second = pool.submit(dispatch.dispatch_in_turn)
        until(dispatch._next.locked)
        tasks.dispatch()  # would wait for both
        assert len(begun) == 1
        may_end.set()
        assert (first.result(PATIENCE), second.result(PATIENCE)) == (1, 1)
    assert len(begun) == 2
    assert dispatch.dispatch_in_turn() == 1


def test_a_dispatch_that_fails_keeps_no_other_one_out(monkeypatch):
    def fails() -> int:
        raise ConnectionError("the database is away")

    monkeypatch.setattr(dispatch, "dispatch", fails)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            dispatch.dispatch_in_turn()


# --- Rounds that find nothing -----------------------------------------------------------------------------------------
def test_another_round_is_made_only_after_a_full_one(path, slots, rounds, monkeypatch):
    monkeypatch.setattr(dispatch, "BATCH", 3)
    slots(100)
    for _ in range(7):
        path.submit()
    assert dispatch.dispatch() == 7
    assert rounds == [3, 3, 1]


def reads_of_jobs(queries: CaptureQueriesContext) -> list[str]:
    return [query["sql"] for query in queries if "SKIP LOCKED" in query["sql"] and "unnest" in query["sql"]]


def test_no_job_is_read_of_a_line_whose_rate_limit_is_full(path):
    RateLimit.objects.filter(model="o1-mini").update(requests_per_minute=10)
    for _ in range(20):
        path.submit()
    dispatch.dispatch()
    with CaptureQueriesContext(connection) as queries:
        assert dispatch.dispatch() == 0
    assert reads_of_jobs(queries) == []
    assert Queue.objects.get().waiting_on["limit"] == "requests_per_minute"


def test_no_job_is_read_of_a_project_that_must_leave_the_last_slot_free(path, alice, slots):
    slots(10)
    flood, quiet = key_of(alice, "flood"), key_of(alice, "quiet")
    submit(path, quiet, 1)
    dispatch.dispatch()
    end(*started())
    submit(path, flood, 20)
    assert dispatch.dispatch() == 9
    with CaptureQueriesContext(connection) as queries:
        assert dispatch.dispatch() == 0
    assert reads_of_jobs(queries) == []


def test_no_more_jobs_are_read_than_there_are_slots(path, slots, monkeypatch):
    asked: list[int] = []
    read_heads = choice.read_heads

    def counted(wanted):
        asked.extend(count for _, count in wanted)
        return read_heads(wanted)

    monkeypatch.setattr(choice, "read_heads", counted)
    slots(2)
    for _ in range(9):
        path.submit()
    assert dispatch.dispatch() == 2
    assert asked == [2]
