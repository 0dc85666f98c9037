"""From a worker by Valkey to who reads along: in order and sealed, or not at all."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis

from accounts.secrets import SecretUnreadable
from jobs import limiter
from jobs.front_door.relayed import Relayed, Restarted
from jobs.front_door.waiting import Waiter
from jobs.relay import listening, telling
from jobs.relay.listening import Listener
from jobs.relay.messages import Message, channel_of, opened, sealed
from jobs.relay.telling import Telling
from jobs.streams import Contradiction, Delta

FRAME = {"id": "chatcmpl-1", "model": "gpt-4o-2024-08-06"}
ROLE = Delta(0, {"role": "assistant", "content": ""}, {})


def text(said: str, index: int = 0) -> Delta:
    return Delta(index, {"content": said}, {})


def until(holds: Callable[[], Any], *, seconds: float = 10.0) -> None:
    give_up_at = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up_at, "did not come to hold in time"
        time.sleep(0.01)


class Reader:
    """Who reads along: all that was told, as one text."""

    def __init__(self, job_id: UUID):
        self.waiter, self.relayed = Waiter(job_id, None), Relayed(job_id)
        self.deltas: list[Delta] = []

    @property
    def text(self) -> str:
        self.deltas += self.relayed.take(self.waiter.take())
        return "".join(delta.message.get("content") or "" for delta in self.deltas)


@pytest.fixture
def job_id() -> UUID:
    return uuid4()


@pytest.fixture(scope="module")
def ears() -> Listener:
    return Listener()


@pytest.fixture
def reader(ears: Listener, job_id: UUID) -> Iterator[Reader]:
    made = Reader(job_id)
    ears.add(job_id, made.waiter)
    until(lambda: heard_by(job_id) == 1)
    yield made
    ears.remove(job_id, made.waiter)


def heard_by(job_id: UUID) -> int:
    ((_, listeners),) = limiter.connection().pubsub_numsub(channel_of(job_id))
    return int(listeners)


# --- All the way ------------------------------------------------------------------------------------------------------
def test_what_is_told_is_heard_in_order_and_few_messages_carry_it(reader, job_id):
    tell = Telling(job_id, attempt=1)
    for word in [ROLE, *(text(f"{number} ") for number in range(500))]:
        tell(FRAME, word)
    wanted = "".join(f"{number} " for number in range(500))
    until(lambda: reader.text == wanted)
    assert reader.relayed.frame == FRAME
    assert reader.deltas[0].message == {"role": "assistant", "content": ""}
    assert len(reader.deltas) < 100
    assert reader.relayed.rest([{"index": 0, "message": {"role": "assistant", "content": wanted + "end"}}]) == [
        text("end")
    ]


def test_many_answers_go_side_by_side(ears):
    readers = [Reader(uuid4()) for _ in range(50)]
    for reader in readers:
        ears.add(reader.waiter.job_id, reader.waiter)
    until(lambda: all(heard_by(reader.waiter.job_id) for reader in readers))
    tellings = [Telling(reader.waiter.job_id, 1) for reader in readers]
    for word in ("a", "b", "c"):
        for number, tell in enumerate(tellings):
            tell(FRAME, text(f"{number}{word}"))
        time.sleep(0.05)
    until(lambda: [reader.text for reader in readers] == [f"{n}a{n}b{n}c" for n in range(50)])
    for reader in readers:
        ears.remove(reader.waiter.job_id, reader.waiter)
    until(lambda: not any(heard_by(reader.waiter.job_id) for reader in readers))


def test_two_may_read_the_same_and_one_that_leaves_takes_nothing_away(ears, reader, job_id):
    other = Reader(job_id)
    ears.add(job_id, other.waiter)
    tell = Telling(job_id, 1)
    tell(FRAME, text("a"))
    until(lambda: (reader.text, other.text) == ("a", "a"))
    ears.remove(job_id, other.waiter)
    tell(FRAME, text("b"))
    until(lambda: reader.text == "ab")
    assert other.text == "a"


def test_nothing_is_told_before_there_is_something_to_see(reader, job_id):
    tell = Telling(job_id, 1)
    tell(FRAME, ROLE)
    time.sleep(0.2)
    assert reader.waiter.take() == []
    tell(FRAME, text("a"))
    until(lambda: reader.text == "a")
    assert [delta.message for delta in reader.deltas] == [ROLE.message, {"content": "a"}]


def test_it_is_over_when_nobody_listens(job_id):
    tell = Telling(job_id, 1)
    tell(FRAME, text("a"))
    until(lambda: tell.is_over)


# --- What is lost -----------------------------------------------------------------------------------------------------
def test_who_comes_late_hears_nothing(ears, reader, job_id):
    tell = Telling(job_id, 1)
    tell(FRAME, text("a"))
    until(lambda: reader.text == "a")
    late = Reader(job_id)
    ears.add(job_id, late.waiter)
    tell(FRAME, text("b"))
    until(lambda: reader.text == "ab")
    assert late.text == ""
    assert late.relayed.rest([{"index": 0, "message": {"content": "ab"}}]) == [text("ab")]
    ears.remove(job_id, late.waiter)


def test_with_valkey_away_the_call_goes_on_and_nothing_more_is_told_of_it(reader, job_id, monkeypatch):
    tell = Telling(job_id, 1)
    tell(FRAME, text("a"))
    until(lambda: reader.text == "a")

    def away() -> redis.Redis:
        raise redis.ConnectionError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(limiter, "connection", away)
        tell(FRAME, text("b"))
        until(lambda: tell.is_over)
    tell(FRAME, text("c"))
    time.sleep(0.2)
    assert reader.text == "a"
    other = Telling(job_id, 2)  # the thread that tells lives on
    other(FRAME, text("d"))
    with pytest.raises(Restarted):
        until(lambda: reader.text != "a")


def test_a_listener_whose_connection_broke_hears_again_and_what_it_missed_shows(ears, reader, job_id, monkeypatch):
    monkeypatch.setattr(listening, "AWAY_SECONDS", 1.0)
    tell = Telling(job_id, 1)
    tell(FRAME, text("a"))
    until(lambda: reader.text == "a")
    host, port = ears._connection._sock.getsockname()[:2]
    limiter.connection().client_kill(f"{host}:{port}")
    until(lambda: heard_by(job_id) == 0)
    tell(FRAME, text("b"))
    until(lambda: tell.is_over)
    until(lambda: heard_by(job_id) == 1)
    limiter.connection().publish(channel_of(job_id), sealed(job_id, Message(1, 2, (text("c"),))))
    time.sleep(0.2)
    assert reader.text == "a"
    limiter.connection().publish(channel_of(job_id), sealed(job_id, Message(2, 0, (text("a"),))))
    with pytest.raises(Restarted):
        until(lambda: reader.text != "a")


@pytest.mark.parametrize(
    ("numbers", "wanted"),
    [
        ([(1, 0), (1, 1), (1, 2)], "1.0 1.1 1.2 "),
        ([(1, 0), (1, 0), (1, 1), (1, 0), (1, 1)], "1.0 1.1 "),  # twice
        ([(1, 0), (1, 2), (1, 1), (1, 3)], "1.0 "),  # one is missing, and never made good
        ([(1, 1), (1, 2)], ""),
        ([(1, 1), (2, 0), (1, 2), (2, 1)], "2.0 2.1 "),  # nothing was told of the first attempt
        ([(2, 0), (1, 0), (1, 1), (2, 1)], "2.0 2.1 "),  # of an attempt that was given up
    ],
)
def test_what_does_not_follow_is_not_told(job_id, numbers, wanted):
    relayed = Relayed(job_id)
    messages = [sealed(job_id, Message(*each, (text("{}.{} ".format(*each)),), FRAME)) for each in numbers]
    assert "".join(str(delta.message["content"]) for delta in relayed.take(messages)) == wanted


def test_another_attempt_cannot_go_on_with_what_was_told(job_id):
    relayed = Relayed(job_id)
    relayed.take([sealed(job_id, Message(1, 0, (text("a"),)))])
    with pytest.raises(Restarted):
        relayed.take([sealed(job_id, Message(2, 0, (text("a"),)))])


@pytest.mark.parametrize("choices", [[], [{"index": 0, "message": {"content": "b"}}], [{"index": 1, "message": {}}]])
def test_an_answer_that_begins_otherwise_is_not_gone_on_with(job_id, choices):
    relayed = Relayed(job_id)
    relayed.take([sealed(job_id, Message(1, 0, (text("a"),)))])
    with pytest.raises(Contradiction):
        relayed.rest(choices)


def test_who_does_not_keep_up_loses_the_oldest_and_hears_no_more(job_id, monkeypatch):
    reader = Reader(job_id)
    for number in range(1500):
        reader.waiter.hear(sealed(job_id, Message(1, number, (text("a"),))))
    assert reader.text == ""


# --- Sealed -----------------------------------------------------------------------------------------------------------
def test_nobody_else_can_read_what_is_told(reader, job_id):
    said: list[bytes] = []
    with limiter.connection().pubsub() as spy:
        spy.psubscribe("bursar:relay:*")
        until(lambda: spy.get_message(timeout=1))
        listening_thread = threading.Thread(target=lambda: said.append(_first(spy)))
        listening_thread.start()
        Telling(job_id, 1)(FRAME, text("a canary"))
        listening_thread.join()
    assert b"canary" not in said[0]
    assert b"chatcmpl" not in said[0]
    assert opened(job_id, said[0]).deltas == (text("a canary"),)
    with pytest.raises(SecretUnreadable):
        opened(uuid4(), said[0])


def _first(spy: Any) -> bytes:
    while True:
        message = spy.get_message(timeout=5)
        if message and message["type"] == "pmessage":
            return bytes(message["data"])


def test_what_cannot_be_read_is_as_if_it_was_lost(job_id):
    relayed = Relayed(job_id)
    messages = [
        sealed(job_id, Message(1, 0, (text("a"),))),
        sealed(uuid4(), Message(1, 1, (text("b"),))),
        sealed(job_id, Message(1, 2, (text("c"),))),
    ]
    assert relayed.take(messages) == [text("a")]


def test_what_the_database_could_not_keep_is_told_as_it_is_kept(reader, job_id):
    tell = Telling(job_id, 1)
    for said in ("a\x00", "\ud83d", "\ude00"):
        tell(FRAME, text(said))
    until(lambda: reader.text == "a\ufffd\ufffd\ufffd")


def test_a_grain_is_what_readers_do_not_see():
    assert 0.02 <= telling.GRAIN_SECONDS <= 0.05
