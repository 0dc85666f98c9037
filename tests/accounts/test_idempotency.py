"""Work under a key is done once; what happens at the edges of that promise."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from threading import Barrier, Event

import pytest
from django.db import OperationalError, connection, transaction

from accounts import idempotency
from accounts.errors import IdempotencyKeyInFlight, IdempotencyKeyReused
from accounts.idempotency import Answer, fingerprint_of, forget_old, run_once
from accounts.models import IdempotencyRecord, Team
from billing.clock import database_now

FINGERPRINT = fingerprint_of("POST", "/api/v1/jobs", b"{}")
racing = pytest.mark.django_db(transaction=True, serialized_rollback=True)


class Work:
    """Work that can be seen in the database, and counts how often it was done."""

    def __init__(self, project):
        self.project, self.done = project, 0

    def __call__(self) -> Answer:
        self.done += 1
        Team.objects.create(organization=self.project.organization, name=f"made by turn {self.done}")
        return Answer(202, {"turn": self.done})


@pytest.fixture
def work(project) -> Work:
    return Work(project)


# --- One after the other ----------------------------------------------------------------------------------------------
def test_without_a_key_work_is_done_every_time_and_nothing_is_kept(project, work):
    assert [run_once(project, None, FINGERPRINT, work).body for _ in range(2)] == [{"turn": 1}, {"turn": 2}]
    assert not IdempotencyRecord.objects.exists()


def test_under_a_key_the_first_answer_is_repeated(project, work):
    first, again = (run_once(project, "k", FINGERPRINT, work) for _ in range(2))
    assert (first, again) == (Answer(202, {"turn": 1}), Answer(202, {"turn": 1}, is_replay=True))
    assert work.done == Team.objects.count() == 1
    assert str(IdempotencyRecord.objects.get()) == "k"


def test_another_request_under_the_key_is_refused_and_does_nothing(project, work):
    run_once(project, "k", FINGERPRINT, work)
    with pytest.raises(IdempotencyKeyReused) as refused:
        run_once(project, "k", fingerprint_of("POST", "/api/v1/jobs", b"{ }"), work)
    assert refused.value.param == "Idempotency-Key"
    assert work.done == 1


def test_two_projects_may_use_the_same_key(project, other_project, work):
    run_once(project, "k", FINGERPRINT, work)
    assert run_once(other_project, "k", FINGERPRINT, work).is_replay is False


def test_work_that_raises_leaves_neither_work_nor_record(project, work):
    def fails() -> Answer:
        work()
        raise ValueError("after the work")

    with pytest.raises(ValueError, match="after the work"):
        run_once(project, "k", FINGERPRINT, fails)
    assert not Team.objects.exists()
    assert not IdempotencyRecord.objects.exists()
    assert run_once(project, "k", "another request", work).is_replay is False


def test_a_fingerprint_tells_method_path_and_body_apart():
    requests = [
        ("POST", "/a", b"b"),
        ("PUT", "/a", b"b"),
        ("POST", "/ab", b""),
        ("POST", "/a", b""),
        ("POST", "", b"/ab"),
    ]
    assert len({fingerprint_of(*request) for request in requests}) == len(requests)
    assert {len(fingerprint_of(*request)) for request in requests} == {64}


def test_waiting_for_locks_is_bounded_for_the_claim_and_not_for_the_work(project, work):
    def lock_timeout() -> Answer:
        with connection.cursor() as cursor:
            cursor.execute("SHOW lock_timeout")
            return Answer(200, cursor.fetchone()[0])

    assert run_once(project, "k", FINGERPRINT, lock_timeout).body == "0"


def test_keys_are_forgotten_after_their_time_and_not_before(project, work, settings):
    settings.IDEMPOTENCY_KEEP_DAYS = 7
    for key, age in (("old", timedelta(days=7, seconds=1)), ("kept", timedelta(days=6, hours=23))):
        run_once(project, key, FINGERPRINT, work)
        IdempotencyRecord.objects.filter(key=key).update(created_at=database_now() - age)
    assert forget_old() == 1
    assert IdempotencyRecord.objects.get().key == "kept"
    assert run_once(project, "old", "another request", work).is_replay is False
    assert forget_old() == 0


# --- At once ----------------------------------------------------------------------------------------------------------
@contextmanager
def a_first_request_under_way(project, *, commits: bool):
    """Another connection has claimed the key and not yet finished; it ends when the block does."""
    claimed, may_end = Event(), Event()

    def first() -> None:
        def slow() -> Answer:
            claimed.set()
            may_end.wait(20)
            if not commits:
                raise ValueError("the first one fails")
            return Answer(202, {"turn": "first"})

        try:
            with suppress(ValueError):
                run_once(project, "k", FINGERPRINT, slow)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(first)
        assert claimed.wait(10)
        try:
            yield may_end
        finally:
            may_end.set()
            future.result()


@racing
def test_a_repetition_that_waits_too_long_is_told_to_come_back(project, work, monkeypatch):
    monkeypatch.setattr(idempotency, "WAIT_FOR_FIRST", "100ms")
    with a_first_request_under_way(project, commits=True), pytest.raises(IdempotencyKeyInFlight) as refused:
        run_once(project, "k", FINGERPRINT, work)
    assert refused.value.param == "Idempotency-Key"
    assert work.done == 0
    assert run_once(project, "k", FINGERPRINT, work) == Answer(202, {"turn": "first"}, is_replay=True)


@racing
@pytest.mark.parametrize("commits", [True, False])
def test_a_repetition_that_waits_gets_the_firsts_answer_or_its_turn(project, work, commits):
    def second() -> Answer:
        try:
            return run_once(project, "k", FINGERPRINT, work)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool, a_first_request_under_way(project, commits=commits) as may_end:
        waiting = pool.submit(second)
        assert not waiting.done()
        may_end.set()
        answer = waiting.result(10)
    assert answer == (Answer(202, {"turn": "first"}, is_replay=True) if commits else Answer(202, {"turn": 1}))


@racing
def test_of_many_at_once_one_works_and_all_get_its_answer(project, work):
    barrier = Barrier(8)

    def one(_: int) -> Answer:
        try:
            barrier.wait(10)
            return run_once(project, "k", FINGERPRINT, work)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(one, range(8)))
    assert work.done == Team.objects.count() == 1
    assert sorted(answer.is_replay for answer in answers) == [False] + [True] * 7
    assert [answer.body for answer in answers] == [{"turn": 1}] * 8


@racing
def test_another_fault_of_the_database_is_not_taken_for_a_request_under_way(project, work):
    with a_first_request_under_way(project, commits=True), transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = '100ms'")
        with pytest.raises(OperationalError, match="statement timeout"):
            run_once(project, "k", FINGERPRINT, work)
    assert work.done == 0
