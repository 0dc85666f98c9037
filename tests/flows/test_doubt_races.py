"""Two who take care of the same doubt at once: one does, the other finds it done."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import pytest
from django.db import connection, transaction

from billing.models import LedgerEntry, Reservation
from jobs.models import Attempt, Doubt
from jobs.recovery import decisions, looks
from tests.flows.processes import eventually
from tests.flows.test_doubts import age, have_policy, lose

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)
WAITS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


def connected(work: Callable[[], Any]) -> Any:
    try:
        return work()
    finally:
        connection.close()


@contextmanager
def uncommitted(work: Callable[[], Any]) -> Iterator[Future[Any]]:
    """Has done `work` in a transaction of another thread that stays open until the block ends."""
    done, end = Event(), Event()

    def hold() -> Any:
        with transaction.atomic():
            result = work()
            done.set()
            end.wait(30)
        return result

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(connected, hold)
        assert done.wait(30)
        try:
            yield first
        finally:
            end.set()


def someone_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(WAITS)
        return bool(cursor.fetchone()[0])


def test_of_two_who_decide_at_once_one_does(path):
    (job,) = lose(path)
    attempt_id, actor = job.attempts.get().pk, path.api_key.created_by
    with ThreadPoolExecutor(1) as pool:
        with uncommitted(lambda: decisions.presume_spent(attempt_id, reason="the first", actor=actor)) as first:
            second = pool.submit(connected, lambda: decisions.release(attempt_id, reason="the second", actor=actor))
            eventually(someone_waits)
        assert (first.result(), second.result()) == (True, False)
    assert Doubt.objects.get().reason == "the first"
    assert Attempt.objects.get().status == "resolved"
    assert Reservation.objects.get().status == "settled"
    assert LedgerEntry.objects.filter(kind__in=("settle", "release")).count() == 1


def test_a_doubt_is_looked_up_by_one_of_two_rounds(path):
    lose(path, 2)
    Doubt.objects.update(next_look_at="2024-01-01T00:00:00Z")
    with uncommitted(looks._take_due) as first:
        assert looks._take_due() == []
    assert len(first.result()) == 2


def test_a_policy_and_a_person_at_once_book_it_once(path):
    have_policy(path, "presume_spent")
    (job,) = lose(path)
    age(25)
    Doubt.objects.update(next_look_at=None)
    attempt_id, actor = job.attempts.get().pk, path.api_key.created_by
    with ThreadPoolExecutor(1) as pool:
        with uncommitted(lambda: decisions.run_again(attempt_id, reason="by a person", actor=actor)) as person:
            policy = pool.submit(connected, decisions.decide_by_policy)
            eventually(someone_waits)
        assert (person.result(), policy.result()) == (True, 0)
    assert LedgerEntry.objects.filter(kind="settle").count() == 1
