"""The wire under the client: one deadline for the whole call, and the knowledge whether anything was sent."""

import asyncio
import gc
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobs import transport
from jobs.credentials import Access
from jobs.provider import Answer, Clients, Uncertain, Unreachable, call
from jobs.transport import KEEPALIVE_IDLE_SECONDS, KEEPALIVE_INTERVAL_SECONDS, KEEPALIVE_PROBES, Sending
from tests.jobs.test_provider import BODY, access_to, good
from tests.jobs.wire import Wire, answering, read_request, response, serving

SLACK_SECONDS = 2.0  # what a busy machine may add

# An event loop that ends leaves sockets to be collected whose peer never took what was written, or no handshake.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _collected_here() -> Iterator[None]:
    """Here, where that is expected, and not in whichever test comes next."""
    yield
    gc.collect()


async def ask(clients: Clients, wire: Wire | str, *, deadline_seconds: float, body: Any = None) -> Answer:
    access: Access = access_to(wire if isinstance(wire, str) else wire.base_url)
    return await call(clients, access, body or BODY, attempt_id="attempt-1", deadline_seconds=deadline_seconds)


def ask_once(wire: Wire | str, *, deadline_seconds: float = 5.0, body: Any = None) -> Answer:
    async def once() -> Answer:
        async with Clients() as clients:
            return await ask(clients, wire, deadline_seconds=deadline_seconds, body=body)

    return asyncio.run(once())


def trickle(head: bytes, drop: bytes) -> Callable[[socket.socket, Wire], None]:
    """Sends the head at once, and then one drop every 50 ms for as long as the client listens."""

    def handle(connection: socket.socket, wire: Wire) -> None:
        read_request(connection, wire)
        connection.sendall(head)
        while True:
            connection.sendall(drop)
            time.sleep(0.05)

    return handle


def silent(connection: socket.socket, wire: Wire) -> None:
    read_request(connection, wire)
    connection.recv(1)


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\n", b"x-padding: x\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b" "),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["status line", "headers", "body", "chunks", "body without end", "interim answers"],
)
def test_the_deadline_is_obeyed_however_the_answer_trickles(head, drop):
    with serving(trickle(head, drop)) as wire:
        started = time.monotonic()
        with pytest.raises(Uncertain) as doubt:
            ask_once(wire, deadline_seconds=0.5)
        assert time.monotonic() - started < 0.5 + SLACK_SECONDS
    assert doubt.value.code in {"timeout", "connection_lost"}


def test_silence_ends_at_the_deadline():
    with serving(silent) as wire:
        started = time.monotonic()
        with pytest.raises(Uncertain) as doubt:
            ask_once(wire, deadline_seconds=0.3)
        assert 0.3 <= time.monotonic() - started < 0.3 + SLACK_SECONDS
    assert doubt.value.code == "timeout"


def test_a_provider_that_does_not_read_stops_the_sending_at_the_deadline():
    def deaf(connection: socket.socket, wire: Wire) -> None:
        time.sleep(4.0)

    long = {**BODY, "messages": [{"role": "user", "content": "x" * 20_000_000}]}
    with serving(deaf) as wire:
        started = time.monotonic()
        with pytest.raises(Uncertain) as doubt:
            ask_once(wire, deadline_seconds=2.0, body=long)
        assert time.monotonic() - started < 2.0 + SLACK_SECONDS
    assert doubt.value.code == "timeout"


def test_a_deadline_that_has_passed_sends_nothing():
    with answering(response(good())) as wire, pytest.raises(Unreachable):
        ask_once(wire, deadline_seconds=0.0)
    assert wire.requests == []


def test_a_handshake_that_fails_sends_nothing():
    with serving(lambda connection, wire: connection.sendall(b"no TLS")) as wire, pytest.raises(Unreachable):
        ask_once(wire.base_url.replace("http:", "https:"))


def test_calls_on_one_loop_have_deadlines_of_their_own_and_do_not_know_of_each_other():
    """One finds nobody there, one is never answered, one is: each learns what became of its own request."""

    def one_in_two(connection: socket.socket, wire: Wire) -> None:
        read_request(connection, wire)
        if b"slow" in wire.requests[-1]:
            connection.recv(1)
        else:
            time.sleep(0.2)
            connection.sendall(response(good()))

    async def together(wire: Wire) -> list[Any]:
        slow = {**BODY, "messages": [{"role": "user", "content": "slow"}]}
        async with Clients() as clients:
            return await asyncio.gather(
                ask(clients, "http://127.0.0.1:1/v1", deadline_seconds=5.0),
                ask(clients, wire, deadline_seconds=0.5, body=slow),
                ask(clients, wire, deadline_seconds=5.0),
                return_exceptions=True,
            )

    with serving(one_in_two) as wire:
        nobody, late, answer = asyncio.run(together(wire))
    assert isinstance(nobody, Unreachable)
    assert isinstance(late, Uncertain)
    assert isinstance(answer, Answer)


def test_what_is_sent_is_known_before_the_answer_comes(monkeypatch):
    seen: list[Sending] = []

    class Watched(Sending):
        def __init__(self, **more: Any) -> None:
            super().__init__(**more)
            seen.append(self)

    def look(connection: socket.socket, wire: Wire) -> None:
        read_request(connection, wire)
        assert seen[-1].is_sent
        connection.sendall(response(good()))

    monkeypatch.setattr("jobs.provider.Sending", Watched)
    with serving(look) as wire:
        ask_once(wire)
    assert len(seen) == 1


def test_hundreds_of_calls_are_in_flight_at_once_on_one_loop():
    """The number of connections has no bound of the client's own."""
    count = 300

    def wait_for_all(connection: socket.socket, wire: Wire) -> None:
        read_request(connection, wire)
        give_up_at = time.monotonic() + 20
        while len(wire.requests) < count and time.monotonic() < give_up_at:
            time.sleep(0.05)
        connection.sendall(response(good()))

    async def together(wire: Wire) -> list[Answer]:
        async with Clients() as clients:
            return await asyncio.gather(*(ask(clients, wire, deadline_seconds=30.0) for _ in range(count)))

    with serving(wait_for_all) as wire:
        answers = asyncio.run(together(wire))
    assert len(answers) == count == wire.connections


def test_the_connections_are_kept_alive_by_probes(monkeypatch):
    made: list[socket.socket] = []
    kept_alive = transport._kept_alive

    def remembered(address: Any) -> socket.socket:
        made.append(kept_alive(address))
        return made[-1]

    options = {}

    def look(connection: socket.socket, wire: Wire) -> None:
        read_request(connection, wire)
        for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_NODELAY"):
            options[name] = made[0].getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
        options["SO_KEEPALIVE"] = made[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        connection.sendall(response(good()))

    monkeypatch.setattr(transport, "_kept_alive", remembered)
    with serving(look) as wire:
        ask_once(wire)
    assert options == {
        "TCP_KEEPIDLE": KEEPALIVE_IDLE_SECONDS,
        "TCP_KEEPINTVL": KEEPALIVE_INTERVAL_SECONDS,
        "TCP_KEEPCNT": KEEPALIVE_PROBES,
        "TCP_NODELAY": 1,
        "SO_KEEPALIVE": 1,
    }
