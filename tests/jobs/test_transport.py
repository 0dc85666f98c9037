"""The wire under the client: one deadline for the whole call, and the knowledge whether anything was sent."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpcore2
import httpx2
import pytest

from jobs.transport import (
    KEEPALIVE_IDLE_SECONDS,
    KEEPALIVE_INTERVAL_SECONDS,
    KEEPALIVE_PROBES,
    _TimedBackend,
    call_clock,
    timed_transport,
)
from tests.jobs.wire import Wire, answering, read_request, response, serving

SLACK_SECONDS = 2.0  # what a busy machine may add


@pytest.fixture
def http() -> Iterator[httpx2.Client]:
    """A client that would itself wait for a minute."""
    with httpx2.Client(transport=timed_transport(), timeout=60.0) as client:
        yield client


def trickle(head: bytes, drop: bytes) -> Callable[[socket.socket, Wire], None]:
    """Sends the head at once, and then one drop every 50 ms for as long as the client listens."""

    def handle(connection: socket.socket, wire: Wire) -> None:
        read_request(connection, wire)
        connection.sendall(head)
        while True:
            connection.sendall(drop)
            time.sleep(0.05)

    return handle


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
def test_the_deadline_is_obeyed_however_the_answer_trickles(http, head, drop):
    with serving(trickle(head, drop)) as wire, call_clock(0.5) as clock:
        started = time.monotonic()
        with pytest.raises((httpx2.TimeoutException, httpx2.RemoteProtocolError)):
            http.get(wire.base_url)
        assert time.monotonic() - started < 0.5 + SLACK_SECONDS
        assert clock.is_sent


def test_silence_ends_at_the_deadline(http):
    def silent(connection: socket.socket, wire: Wire) -> None:
        read_request(connection, wire)
        connection.recv(1)

    with serving(silent) as wire, call_clock(0.3):
        started = time.monotonic()
        with pytest.raises(httpx2.ReadTimeout):
            http.get(wire.base_url)
        assert 0.3 <= time.monotonic() - started < 0.3 + SLACK_SECONDS


def test_a_provider_that_does_not_read_stops_the_sending_at_the_deadline(http):
    def deaf(connection: socket.socket, wire: Wire) -> None:
        time.sleep(1.0)

    with serving(deaf) as wire, call_clock(0.4) as clock:
        started = time.monotonic()
        with pytest.raises(httpx2.TimeoutException):
            http.post(wire.base_url, content=b"x" * 50_000_000)
        assert time.monotonic() - started < 0.4 + SLACK_SECONDS
        assert clock.is_sent


def test_a_shorter_timeout_of_the_client_still_counts():
    def silent(connection: socket.socket, wire: Wire) -> None:
        read_request(connection, wire)
        connection.recv(1)

    with httpx2.Client(transport=timed_transport(), timeout=0.2) as http, serving(silent) as wire, call_clock(30.0):
        started = time.monotonic()
        with pytest.raises(httpx2.ReadTimeout):
            http.get(wire.base_url)
        assert time.monotonic() - started < 0.2 + SLACK_SECONDS


def test_a_deadline_that_has_passed_sends_nothing(http):
    with answering(response(b"{}")) as wire, call_clock(0.0) as clock:
        with pytest.raises(httpx2.TimeoutException):
            http.get(wire.base_url)
        assert not clock.is_sent
    assert wire.requests == []


def test_a_connection_that_is_never_made_sends_nothing(http):
    with call_clock(5.0) as clock:
        with pytest.raises(httpx2.ConnectError):
            http.get("http://127.0.0.1:1/")
        assert not clock.is_sent


def test_a_handshake_that_fails_sends_nothing(http):
    with serving(lambda connection, wire: connection.sendall(b"no TLS")) as wire, call_clock(5.0) as clock:
        with pytest.raises(httpx2.ConnectError):
            http.get(wire.base_url.replace("http:", "https:"))
        assert not clock.is_sent


def test_what_is_sent_is_known_before_the_answer_comes(http):
    with answering(response(b"{}")) as wire, call_clock(5.0) as clock:
        assert not clock.is_sent
        assert http.get(wire.base_url).json() == {}
        assert clock.is_sent


def test_each_call_has_a_clock_of_its_own_on_one_connection(http):
    with serving(lambda c, w: [c.sendall(response(b"{}")) for _ in iter(lambda: read_request(c, w), False)]) as wire:
        for _ in range(2):
            with call_clock(5.0) as clock:
                http.get(wire.base_url)
                assert clock.is_sent
        assert http.get(wire.base_url).json() == {}  # and outside a call the client's own timeouts hold
        assert wire.connections == 1
        http.close()


def test_clocks_of_threads_do_not_meet(http):
    answered = threading.Event()

    def slow(connection: socket.socket, wire: Wire) -> None:
        read_request(connection, wire)
        answered.wait(2)
        connection.sendall(response(b"{}"))

    def call(deadline_seconds: float) -> str:
        with call_clock(deadline_seconds):
            try:
                return str(http.get(wire.base_url).json())
            except httpx2.TimeoutException:
                answered.set()
                return "timeout"

    with serving(slow) as wire, ThreadPoolExecutor(2) as pool:
        assert list(pool.map(call, [0.3, 30.0])) == ["timeout", "{}"]


def test_an_inner_clock_gives_the_outer_one_back():
    with call_clock(60.0) as outer:
        with call_clock(1.0):
            pass
        assert outer.remaining(None) > 50
        assert outer.remaining(2.0) == 2.0
    with pytest.raises(httpcore2.ReadTimeout, match="deadline"), call_clock(-1.0) as late:
        late.remaining(60.0)


def test_the_connections_are_kept_alive_by_probes(http):
    with (
        answering(response(b"{}")) as wire,
        http.stream("GET", wire.base_url) as answer,
    ):
        connection = answer.extensions["network_stream"].get_extra_info("socket")
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == KEEPALIVE_IDLE_SECONDS
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == KEEPALIVE_INTERVAL_SECONDS
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == KEEPALIVE_PROBES
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_unix_socket_obeys_the_clock_as_well(tmp_path: Path):
    backend = _TimedBackend(httpcore2.SyncBackend())
    path = str(tmp_path / "provider.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        stream = backend.connect_unix_socket(path)
        with call_clock(0.1) as clock:
            stream.write(b"x")
            assert clock.is_sent
            with pytest.raises(httpcore2.ReadTimeout):
                stream.read(1, timeout=60.0)
        stream.close()
    backend.sleep(0.0)
