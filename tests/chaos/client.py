"""A client that gives up nothing: it submits jobs over HTTP, and repeats with the same Idempotency-Key what failed.

    python -m tests.chaos.client '{"address": ..., "key": ..., "body": {...}, "count": 2000, "seconds": 180, ...}'

At an even pace over the seconds. Beside it a prober reads, several times a second, and notes from when until when that
did not work. Writes JSON into the file `report`: `accepted` (key, id of its job, seconds until it was accepted), how
often each of the `answers` came and how often a connection was `broken`, `findings` (answers that nobody should get),
and `away` (pairs of time.time). "#" in the prompt becomes the job's number.
"""

import asyncio
import json
import random
import re
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PLACE = "#"
CONNECTIONS = 48
PATIENCE_SECONDS = 20.0
PROBE_EVERY_SECONDS, PROBE_PATIENCE_SECONDS = 0.2, 5.0
# Of so many accepted keys one is sent again at once, and must give the same job.
REPEAT_ONE_IN = 10
# What a client repeats: a proxy's or Bursar's word that it is away for a moment, or that the first try is under way.
AGAIN = frozenset({"409", "429", "502", "503", "504"})
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_BROKEN = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError)


@dataclass(frozen=True)
class Order:
    address: str
    key: str
    body: dict[str, Any]
    count: int
    seconds: float
    report: str
    seed: int = 0


@dataclass
class Report:
    accepted: list[tuple[str, str, float]] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    probes: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    away: list[tuple[float, float]] = field(default_factory=list)


class Connection:
    """One connection that is kept while it works."""

    def __init__(self, order: Order) -> None:
        parts = urlsplit(order.address)
        self._host, self._port, self._key = parts.hostname, parts.port, order.key
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: bytes = b"", idempotency_key: str = "") -> tuple[str, bytes]:
        """Status and body of the answer. Raises one of _BROKEN."""
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nAuthorization: Bearer {self._key}\r\n"
        if idempotency_key:
            head += f"Idempotency-Key: {idempotency_key}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        try:
            return await self._exchange(head.encode() + body)
        except BaseException:
            self.close()
            raise

    async def _exchange(self, request: bytes) -> tuple[str, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        body = await reader.readexactly(int(length[1])) if length else await reader.read()
        if b"connection: close" in head.lower():
            self.close()
        return head.split(b" ", 2)[1].decode(), body

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class Client:
    def __init__(self, order: Order) -> None:
        self._order, self.report = order, Report()
        self._idle = [Connection(order) for _ in range(CONNECTIONS)]
        self._may_ask = asyncio.Semaphore(CONNECTIONS)
        self._dice = random.Random(order.seed)

    async def work(self) -> None:
        """Returns when every job was accepted."""
        probing = asyncio.create_task(self._probe())
        began, under_way = time.monotonic(), []
        for number in range(self._order.count):
            await asyncio.sleep(began + number * self._order.seconds / self._order.count - time.monotonic())
            under_way.append(asyncio.create_task(self._submit(number)))
        await asyncio.gather(*under_way)
        probing.cancel()
        with suppress(asyncio.CancelledError):
            await probing

    async def _submit(self, number: int) -> None:
        key, began = f"chaos-{self._order.seed}-{number}", time.monotonic()
        body = json.dumps(self._order.body).replace(PLACE, str(number)).encode()
        job = await self._until_accepted(key, body)
        self.report.accepted.append((key, job, time.monotonic() - began))
        if self._dice.random() < 1 / REPEAT_ONE_IN:
            again = await self._until_accepted(key, body)
            if again != job:
                self.report.findings.append(f"{key} gave job {job}, and {again} when it was sent again")

    async def _until_accepted(self, key: str, body: bytes) -> str:
        """The id of the key's job."""
        pause = 0.1
        while True:
            async with self._may_ask:
                connection = self._idle.pop()
                try:
                    async with asyncio.timeout(PATIENCE_SECONDS):
                        status, said = await connection.ask("POST", "/api/v1/jobs", body, key)
                except _BROKEN as error:
                    self.report.broken[type(error).__name__] += 1
                else:
                    self._note(status, said)
                    if status == "202":
                        return str(json.loads(said)["id"])
                finally:
                    self._idle.append(connection)
            await asyncio.sleep(pause * (1 + self._dice.random()))
            pause = min(pause * 2, 1.0)

    def _note(self, status: str, said: bytes) -> None:
        code = ""
        if status != "202":
            with suppress(ValueError, AttributeError):
                code = f" {json.loads(said).get('code')}"
        self.report.answers[status + code] += 1
        if status != "202" and status not in AGAIN and len(self.report.findings) < 20:
            self.report.findings.append(f"{status} at {time.time():.1f}: {said[:300]!r}")

    async def _probe(self) -> None:
        """Notes from when until when reading did not work, as somebody sees it who tries again."""
        connection, failing_since = Connection(self._order), 0.0
        try:
            while True:
                began = time.time()
                try:
                    async with asyncio.timeout(PROBE_PATIENCE_SECONDS):
                        status, said = await connection.ask("GET", "/api/v1/limits")
                except _BROKEN as error:
                    status, said = type(error).__name__, b""
                self.report.probes[status] += 1
                if status == "200":
                    if failing_since:
                        self.report.away.append((failing_since, time.time()))
                    failing_since = 0.0
                else:
                    failing_since = failing_since or began
                    if status.isdigit() and status not in AGAIN and len(self.report.findings) < 20:
                        self.report.findings.append(f"probe: {status} at {began:.1f}: {said[:300]!r}")
                await asyncio.sleep(PROBE_EVERY_SECONDS)
        finally:
            connection.close()


async def main(order: Order) -> None:
    client = Client(order)
    await client.work()
    unfinished = Path(order.report).with_suffix(".unfinished")
    unfinished.write_text(json.dumps(vars(client.report)))
    unfinished.rename(order.report)


if __name__ == "__main__":
    asyncio.run(main(Order(**json.loads(sys.argv[1]))))
