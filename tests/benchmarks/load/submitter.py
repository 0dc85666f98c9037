"""Submits jobs over HTTP, as cheaply as Python can: keep-alive connections, prepared bodies, no client library.

    python -m tests.benchmarks.load.submitter '{"address": ..., "key": ..., "body": {...}, "count": 2000}'

With `per_second` at an even pace, else as fast as `connections` of them are answered. Prints JSON: how many were
`accepted`, the `seconds` it took, `submitted` as pairs of a job's id and the instant (time.time) it was sent, and how
often each other status came. "#" in the prompt becomes the job's number.
"""

import asyncio
import json
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

JOB_ID = re.compile(rb'"id"\s*:\s*"([0-9a-f-]{36})"')
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
PLACE = "#"


@dataclass
class Order:
    address: str
    key: str
    body: dict[str, Any]
    count: int
    per_second: float | None = None
    connections: int = 8


@dataclass
class Outcome:
    submitted: list[tuple[str, float]] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)

    def printed(self, seconds: float) -> str:
        waits = sorted(self.waits) or [0.0]
        return json.dumps(
            {
                "accepted": len(self.submitted),
                "refused": self.refused,
                "seconds": seconds,
                "median_seconds": waits[len(waits) // 2],
                "p95_seconds": waits[int(len(waits) * 0.95)],
                "submitted": self.submitted,
            }
        )


class Connection:
    """One connection that is kept; opened again when the server closed it."""

    def __init__(self, order: Order) -> None:
        parts = urlsplit(order.address)
        self._host, self._port = parts.hostname, parts.port
        before, _, after = json.dumps(order.body).encode().partition(PLACE.encode())
        self._before, self._after = before, after
        self._head = (
            f"POST /api/v1/jobs HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {order.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(before) + len(after) + 8}\r\n\r\n"
        ).encode()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def submit(self, number: int, outcome: Outcome) -> None:
        request = b"%b%b%08d%b" % (self._head, self._before, number, self._after)
        sent = time.time()
        try:
            head, body = await self._exchange(request)
        except (OSError, asyncio.IncompleteReadError):
            # The server may close a connection that waits, and then has not read the request.
            self._streams = None
            head, body = await self._exchange(request)
        outcome.waits.append(time.time() - sent)
        status = head.split(b" ", 2)[1].decode()
        job = JOB_ID.search(body)
        if status == "202" and job:
            outcome.submitted.append((job[1].decode(), sent))
        else:
            outcome.refused[status] += 1
        if b"connection: close" in head.lower():
            self._streams = None

    async def _exchange(self, request: bytes) -> tuple[bytes, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = LENGTH.search(head)
        assert length, head
        return head, await reader.readexactly(int(length[1]))


async def as_fast_as_answered(order: Order, outcome: Outcome) -> None:
    numbers = iter(range(order.count))

    async def work() -> None:
        connection = Connection(order)
        for number in numbers:
            await connection.submit(number, outcome)

    await asyncio.gather(*(work() for _ in range(order.connections)))


async def at_an_even_pace(order: Order, outcome: Outcome, per_second: float) -> None:
    idle: list[Connection] = []
    under_way: set[asyncio.Task[None]] = set()

    async def one(number: int) -> None:
        connection = idle.pop() if idle else Connection(order)
        await connection.submit(number, outcome)
        idle.append(connection)

    began = time.monotonic()
    for number in range(order.count):
        await asyncio.sleep(began + number / per_second - time.monotonic())
        task = asyncio.create_task(one(number))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)


async def main(order: Order) -> str:
    outcome = Outcome()
    began = time.monotonic()
    if order.per_second is None:
        await as_fast_as_answered(order, outcome)
    else:
        await at_an_even_pace(order, outcome, order.per_second)
    return outcome.printed(time.monotonic() - began)


if __name__ == "__main__":
    print(asyncio.run(main(Order(**json.loads(sys.argv[1])))))
