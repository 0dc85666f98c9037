"""The wire under the official client: one event loop holds thousands of connections, and knows what was sent on them.

The client's default transport keeps a list of its connections that it searches for every call, so that its cost grows
with their square; aiohttp's pool does not (docs/decisions/0016). And an error of the client does not say whether the
request had left: that is noted here, where the connection is handed over.
"""

import asyncio
import socket
import ssl
import zlib
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any, Protocol

import aiohttp
import httpx2

from jobs.crash_points import reach

# Idle connections are dropped before the provider drops them: a call on one that is already closed would be in doubt.
IDLE_SECONDS = 5.0
LONG_BODY_BYTES = 2**18
# The largest answer is some megabytes; one without end would take the worker with it, and everybody's calls. It holds
# for what was sent and for what that unpacks to, which may be a thousand times as much.
MOST_ANSWER_BYTES = 2**26
# Words pack to a third, and to a fiftieth where they repeat; what unpacks to more than this many times what was sent is
# made to take time and memory. One of a few megabytes is no danger, whatever it was packed to.
MOST_TIMES_UNPACKED = 100
HARMLESS_BYTES = 2**21
# Unpacked at a time: a small piece may hold the most there may be, and the calls of others go on in between.
UNPACKED_AT_ONCE = 2**20
# What zlib reads, and so all that is asked for, whatever else is installed beside us.
PACKED_AS = ("gzip", "deflate")
EITHER_FORMAT = zlib.MAX_WBITS | 32  # of gzip or of zlib, as the first bytes say
# What is raised where a connection is refused, breaks, or carries no HTTP.
CARRIED_BADLY = (aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError)
# What is raised for an answer that is no HTTP, with parts of it in its words.
NOT_HTTP = (aiohttp.ClientResponseError, aiohttp.http_exceptions.HttpProcessingError)
UNPACKED_HEADERS = frozenset({b"content-encoding", b"content-length"})
EVENT_STREAM = "text/event-stream"

# An idle connection through NAT is dropped silently after 60 to 350 s, and the answer of a long call with it
# (openai-python issue 3269): probes keep it alive and find out when it is not.
KEEPALIVE_IDLE_SECONDS = 60
KEEPALIVE_INTERVAL_SECONDS = 60
KEEPALIVE_PROBES = 5


class Hearing(Protocol):
    """Who wants a stream piece by piece; it is not kept for anybody else then."""

    def begin(self, headers: Mapping[str, str]) -> None: ...
    def hear(self, piece: bytes) -> None: ...


@dataclass(slots=True)
class Sending:
    """Whether a call had a connection to send its request on: from then on it may have been billed.

    `hearing`: who hears the answer as it comes, if that is a stream of events.
    """

    is_sent: bool = False
    hearing: Hearing | None = None


sending: ContextVar[Sending | None] = ContextVar("sending", default=None)


class Connector(aiohttp.TCPConnector):
    """Connections without an upper limit of their number, kept alive, that note when a call is given one."""

    def __init__(self) -> None:
        super().__init__(
            limit=0,
            keepalive_timeout=IDLE_SECONDS,
            ssl=_trust(),
            socket_factory=_kept_alive,
        )

    async def connect(self, *args: Any, **kwargs: Any) -> Any:
        connection = await super().connect(*args, **kwargs)
        call = sending.get()
        if call is not None:
            call.is_sent = True
            reach("connected")
        return connection


class Transport(httpx2.AsyncBaseTransport):
    """Carries the client's requests over aiohttp, each sent once and its answer read to the end."""

    def __init__(self, connect_timeout_seconds: float) -> None:
        # The deadline of a call is its caller's; only what is not sent yet has one of its own.
        # The looking up of the name and the handshake included.
        timeout = aiohttp.ClientTimeout(total=None, connect=connect_timeout_seconds)
        self._session = aiohttp.ClientSession(
            connector=Connector(), timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body: Any = await request.aread()
        async with self._session.request(
            request.method,
            str(request.url),
            # As they stand: the mapping would look for their encoding anew each time.
            headers=[
                *(
                    (name.decode("ascii"), value.decode("latin-1"))
                    for name, value in request.headers.raw
                    if name.lower() != b"accept-encoding"
                ),
                ("Accept-Encoding", ", ".join(PACKED_AS)),
            ],
            # A long one in pieces, so that the calls of others go on between them.
            data=BytesIO(body) if len(body) > LONG_BODY_BYTES else body,
            allow_redirects=False,
        ) as answer:
            call = sending.get()
            if call is not None:
                reach("answering")
            said = await _whole(answer, _hearing_of(call, answer))
        # Read out of its compression here, where that has a bound: the client's own would unpack whatever comes.
        headers = [(name, value) for name, value in answer.raw_headers if name.lower() not in UNPACKED_HEADERS]
        return httpx2.Response(answer.status, headers=headers, stream=httpx2.ByteStream(said), request=request)

    async def aclose(self) -> None:
        await self._session.close()
        # What was just closed is told so in the loop's next round, which the end of the loop would cut off.
        await asyncio.sleep(0)


@cache
def _trust() -> ssl.SSLContext:
    """The trust store and the environment's certificates, as the client's default transport has them.

    Reading them takes 50 ms of CPU, which who looks at calls in the background need not spend every second.
    """
    return httpx2.create_ssl_context()


def _hearing_of(call: Sending | None, answer: aiohttp.ClientResponse) -> Hearing | None:
    """Who hears this answer as it comes; None where it is no stream, or nobody does."""
    if call is None or call.hearing is None or answer.status != 200 or answer.content_type != EVENT_STREAM:
        return None
    call.hearing.begin(answer.headers)
    return call.hearing


class _Said:
    """What was read of a body: kept, unless somebody hears it as it comes. Its length is that of all."""

    def __init__(self, hearing: Hearing | None) -> None:
        self._hearing = hearing
        self._kept = bytearray()
        self._heard = 0

    def add(self, piece: bytes) -> None:
        if self._hearing is None:
            self._kept += piece
        else:
            self._heard += len(piece)
            self._hearing.hear(piece)

    def __len__(self) -> int:
        return len(self._kept) + self._heard

    def __bytes__(self) -> bytes:
        return bytes(self._kept)


async def _whole(answer: aiohttp.ClientResponse, hearing: Hearing | None = None) -> bytes:
    """The body, unpacked, or nothing where it was heard piece by piece.

    Raises HTTPError for one that does not end, and for one that cannot be unpacked.
    """
    encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in {*PACKED_AS, "identity", ""}:
        raise _refused(answer, f"the answer is packed as {encoding!r:.60}, which nobody asked for")
    unpacking = zlib.decompressobj(EITHER_FORMAT) if encoding in PACKED_AS else None
    said, sent = _Said(hearing), 0
    async for piece in answer.content.iter_any():
        if unpacking is None:
            said.add(piece)
            _check_size(answer, said)
            continue
        sent += len(piece)
        is_more = True
        while is_more:
            try:
                unpacked = unpacking.decompress(piece, UNPACKED_AT_ONCE)
            except zlib.error as error:
                raise _refused(answer, f"the answer cannot be unpacked: {error}") from error
            said.add(unpacked)
            _check_size(answer, said)
            _check_times(answer, said, sent - len(unpacking.unconsumed_tail))
            # A full measure may have left some behind, also where all of the piece was read.
            piece, is_more = unpacking.unconsumed_tail, len(unpacked) == UNPACKED_AT_ONCE
            if is_more:
                await asyncio.sleep(0)
    if unpacking and said and not unpacking.eof:
        raise httpx2.ReadError("the answer ends before it is whole")
    return bytes(said)


def _check_size(answer: aiohttp.ClientResponse, said: _Said) -> None:
    if len(said) > MOST_ANSWER_BYTES:
        raise _refused(answer, f"the answer has more than {MOST_ANSWER_BYTES} bytes")


def _check_times(answer: aiohttp.ClientResponse, said: _Said, unpacked_bytes: int) -> None:
    """Raises HTTPError for what came out of so few bytes that it is no answer, long before it is all there."""
    if len(said) > max(HARMLESS_BYTES, MOST_TIMES_UNPACKED * unpacked_bytes):
        raise _refused(answer, f"the answer unpacks to more than {MOST_TIMES_UNPACKED} times what was sent")


def _refused(answer: aiohttp.ClientResponse, reason: str) -> httpx2.ReadError:
    """The error of an answer that is not read any further; its connection is closed."""
    answer.close()
    return httpx2.ReadError(reason)


def _kept_alive(address: Any) -> socket.socket:
    """A socket for an address, which probes its connection."""
    family, kind, protocol, *_ = address
    made = socket.socket(family=family, type=kind, proto=protocol)
    for level, option, value in _keepalive():
        made.setsockopt(level, option, value)
    return made


def _keepalive() -> Iterable[tuple[int, int, int]]:
    yield socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE_SECONDS),
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_SECONDS),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
    ):
        if hasattr(socket, name):  # macOS calls the first one otherwise
            yield socket.IPPROTO_TCP, getattr(socket, name), value
