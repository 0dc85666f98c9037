"""The thread that wakes the dispatcher: it asks once for much, never forgets the last word, keeps nobody waiting."""

import os
from collections.abc import Iterator
from queue import Queue
from threading import Event

import pytest
import redis
from celery import current_app

from jobs import limiter, waking

PATIENCE = 20


class Asking:
    """Stands in the place of `ask`: tells that it was asked, and answers when it may."""

    def __init__(self) -> None:
        self.asked: Queue[int] = Queue()
        self.may_answer = Event()
        self.times = 0

    def __call__(self) -> None:
        self.times += 1
        self.asked.put(self.times)
        assert self.may_answer.wait(PATIENCE)


@pytest.fixture
def asking(monkeypatch) -> Iterator[Asking]:
    asking = Asking()
    monkeypatch.setattr(waking, "ask", asking)
    monkeypatch.setattr(waking, "GRAIN_SECONDS", 0.0)
    yield asking
    asking.may_answer.set()


def test_nobody_waits_while_redis_does_not_answer_and_much_is_asked_once(asking):
    waker = waking.Waker()
    waker.wake()
    assert asking.asked.get(timeout=PATIENCE) == 1
    for _ in range(100):
        waker.wake()  # each would wait for the first here, if any waited
    asking.may_answer.set()
    assert asking.asked.get(timeout=PATIENCE) == 2
    waker.wake()
    assert asking.asked.get(timeout=PATIENCE) == 3
    assert asking.asked.empty()


def test_one_message_is_made_and_the_key_lapses(monkeypatch):
    sent: list[str] = []
    monkeypatch.setattr(current_app, "send_task", lambda name, countdown=None: sent.append(name))
    limiter.connection().delete(waking.WAKE_KEY)
    waking.ask()
    waking.ask()
    assert sent == [waking.WAKE_TASK]
    assert 0 < limiter.connection().pttl(waking.WAKE_KEY) <= 1000


@pytest.mark.parametrize("fault", [redis.ConnectionError("away"), redis.TimeoutError("slow"), ValueError("a surprise")])
def test_a_fault_is_logged_and_the_thread_goes_on(monkeypatch, caplog, fault):
    class Faulty:
        def set(self, *args: object, **kwargs: object) -> None:
            raise fault

    monkeypatch.setattr(limiter, "connection", Faulty)
    waking.ask()
    assert "dispatch not woken" in caplog.text


def test_a_process_that_was_forked_has_a_thread_of_its_own(asking):
    asking.may_answer.set()
    waking.wake()
    assert asking.asked.get(timeout=PATIENCE) == 1
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        told = Event()
        waking.ask = lambda: (os.write(writes, b"asked"), told.set())
        waking.wake()
        told.wait(PATIENCE)
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads, "rb") as pipe:
        assert pipe.read() == b"asked"
    assert os.waitpid(child, 0)[1] == 0
