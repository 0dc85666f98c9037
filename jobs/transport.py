"""The wire under the official client: a deadline for the whole call, and the knowledge whether anything was sent.

The client's own timeouts are per read, so a body that trickles outlives them for ever; and an error of its own does not
say whether the request had left (measured with openai 3.54). Both decide here, at the socket, where they can be known.
"""

import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic
from typing import Any

import httpcore2
import httpx2

# A pool of the HTTP library is quadratic in its open connections: about this many cost least (measured with 2,000
# calls).
CONNECTIONS_PER_POOL = 50

# An idle connection through NAT is dropped silently after 60 to 350 s, and the answer of a long call with it
# (openai-python issue 3269): probes keep it alive and find out when it is not.
KEEPALIVE_IDLE_SECONDS = 60
KEEPALIVE_INTERVAL_SECONDS = 60
KEEPALIVE_PROBES = 5


@dataclass(slots=True)
class CallClock:
    """The instant (monotonic) by which the call under way has to end, and whether its first byte was sent."""

    ends_at: float
    is_sent: bool = False

    def remaining(self, timeout: float | None) -> float:
        """Seconds that a step may still take. Raises ReadTimeout when the time is up."""
        left = self.ends_at - monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout("the call's deadline has passed")
        return left if timeout is None else min(timeout, left)


_clock: ContextVar[CallClock | None] = ContextVar("call_clock", default=None)


@contextmanager
def call_clock(deadline_seconds: float) -> Iterator[CallClock]:
    """Times everything that this thread sends and reads inside the block."""
    clock = CallClock(monotonic() + deadline_seconds)
    reset = _clock.set(clock)
    try:
        yield clock
    finally:
        _clock.reset(reset)


class _TimedStream(httpcore2.NetworkStream):
    """A connection that obeys the clock of whichever call is using it."""

    def __init__(self, stream: httpcore2.NetworkStream):
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        clock = _clock.get()
        return self._stream.read(max_bytes, clock.remaining(timeout) if clock else timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        clock = _clock.get()
        if clock is not None:
            timeout = clock.remaining(timeout)
            clock.is_sent = clock.is_sent or bool(buffer)
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(self, *args: Any, **kwargs: Any) -> httpcore2.NetworkStream:
        return _TimedStream(self._stream.start_tls(*args, **kwargs))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _TimedBackend(httpcore2.NetworkBackend):
    def __init__(self, backend: httpcore2.NetworkBackend):
        self._backend = backend

    def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore2.NetworkStream:
        return _TimedStream(self._backend.connect_tcp(*args, **kwargs))

    def connect_unix_socket(self, *args: Any, **kwargs: Any) -> httpcore2.NetworkStream:
        return _TimedStream(self._backend.connect_unix_socket(*args, **kwargs))

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


def timed_transport() -> httpx2.HTTPTransport:
    """A transport with one pool of its own, TCP keepalive, and the clock under every connection."""
    transport = httpx2.HTTPTransport(
        limits=httpx2.Limits(
            max_connections=None, max_keepalive_connections=CONNECTIONS_PER_POOL, keepalive_expiry=5.0
        ),
        socket_options=list(_keepalive()),
    )
    # The library takes a network backend only from a pool that one builds whole; tests hold this line to its purpose.
    pool = transport._pool
    pool._network_backend = _TimedBackend(pool._network_backend)
    return transport


def _keepalive() -> Iterable[tuple[int, int, int]]:
    yield socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE_SECONDS),
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_SECONDS),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
    ):
        if hasattr(socket, name):  # macOS calls the first one otherwise
            yield socket.IPPROTO_TCP, getattr(socket, name), value
