"""The durable bill: a line for each billed call, every stored completion and response, in one SQLite file.

One thread writes. It takes whatever is queued, commits once, and only then lets the waiting calls answer; so a line is
on disk before its answer leaves, at the price of one fsync for many calls.
"""

import asyncio
import json
import queue
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from config.simulator.usage import decimal_text

# The statements below are put together from names of columns and from placeholders; every value is bound.
# ruff: noqa: S608

SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    id TEXT PRIMARY KEY, request_id TEXT NOT NULL, created_at TEXT NOT NULL, key_last4 TEXT NOT NULL,
    organization TEXT NOT NULL, project TEXT NOT NULL, model TEXT NOT NULL, snapshot TEXT NOT NULL,
    service_tier TEXT NOT NULL, metadata TEXT NOT NULL, prompt_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL, cost_usd TEXT NOT NULL,
    client_request_id TEXT
);
CREATE TABLE IF NOT EXISTS stored (
    id TEXT PRIMARY KEY, organization TEXT NOT NULL, project TEXT NOT NULL, model TEXT NOT NULL, snapshot TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS responses (
    id TEXT PRIMARY KEY, organization TEXT NOT NULL, project TEXT NOT NULL, body TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS labels (
    name TEXT NOT NULL, value TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (name, value, id)
) WITHOUT ROWID;
"""
PRAGMAS = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
RESPONSE_IDS = "resp_"
GROUP_MAX = 2000  # lines in one commit


@dataclass(frozen=True, slots=True)
class BillLine:
    """One billed call. `metadata` is JSON, `cost_usd` an exact decimal, `created_at` ISO 8601 in UTC."""

    id: str
    request_id: str
    created_at: str
    key_last4: str
    organization: str
    project: str
    model: str
    snapshot: str
    service_tier: str
    metadata: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cost_usd: str
    client_request_id: str | None


COLUMNS = tuple(field.name for field in fields(BillLine))
_values_of = attrgetter(*COLUMNS)
INSERT_CALL = f"INSERT INTO calls ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
INSERT_STORED = "INSERT INTO stored (id, organization, project, model, snapshot, body) VALUES (?, ?, ?, ?, ?, ?)"
INSERT_RESPONSE = "INSERT INTO responses (id, organization, project, body) VALUES (?, ?, ?, ?)"
INSERT_LABEL = "INSERT INTO labels (name, value, id) VALUES (?, ?, ?)"


@dataclass(frozen=True, slots=True)
class StoredQuery:
    """Which stored completions are asked for; `model` is an alias or a snapshot id."""

    organization: str
    project: str
    model: str | None
    metadata: Mapping[str, str]
    after: str | None
    limit: int
    order: Literal["asc", "desc"]


@dataclass(frozen=True, slots=True)
class _Entry:
    line: BillLine
    stored: str | None  # the body of the stored completion or response
    written: asyncio.Future[None]


class Bill:
    """The writer. Reading opens a connection of its own each time and may happen in any thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._queue: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(PRAGMAS + SCHEMA)
        self._writer = threading.Thread(target=self._write, name="simulator-bill")
        self._writer.start()

    async def write(self, line: BillLine, stored: str | None) -> None:
        """Returns when the line, and the stored body if there is one, are on disk. Raises what SQLite raises."""
        written = asyncio.get_running_loop().create_future()
        self._queue.put(_Entry(line, stored, written))
        await written

    def close(self) -> None:
        """Writes what is queued and ends the thread."""
        self._queue.put(None)
        self._writer.join()

    def totals(self, metadata: Mapping[str, str]) -> dict[str, Any]:
        """Calls, dollars and tokens, overall and by model, of the calls that carry all of the metadata."""
        where, values = _labelled("calls", metadata)
        # Summed in Decimal over distinct costs, because SQLite would add text as floats.
        statement = f"""SELECT model, cost_usd, count(*) AS calls, sum(prompt_tokens) AS prompt_tokens,
            sum(cached_tokens) AS cached_tokens, sum(completion_tokens) AS completion_tokens,
            sum(reasoning_tokens) AS reasoning_tokens FROM calls {where} GROUP BY model, cost_usd"""
        rows = self._read(statement, values)
        models = sorted({row["model"] for row in rows})
        by_model = {model: _sum([row for row in rows if row["model"] == model]) for model in models}
        return _sum(rows) | {"by_model": by_model}

    def lines(self, metadata: Mapping[str, str]) -> list[dict[str, Any]]:
        """Every line, oldest first."""
        where, values = _labelled("calls", metadata)
        rows = self._read(f"SELECT {', '.join(COLUMNS)} FROM calls {where} ORDER BY rowid", values)
        return [dict(row) | {"metadata": json.loads(row["metadata"])} for row in rows]

    def lines_between(self, start: datetime, end: datetime) -> list[BillLine]:
        """The lines of calls that were billed from `start` up to, and not including, `end`; oldest first."""
        # Texts of one form and one time zone sort as the instants do.
        statement = f"SELECT {', '.join(COLUMNS)} FROM calls WHERE created_at >= ? AND created_at < ? ORDER BY rowid"
        bounds = [instant.astimezone(UTC).isoformat(timespec="milliseconds") for instant in (start, end)]
        return [BillLine(*row) for row in self._read(statement, bounds)]

    def stored(self, wanted: StoredQuery) -> list[dict[str, Any]]:
        """Up to `limit` + 1 stored completions, so that the caller sees whether there are more."""
        where, values = _labelled("stored", wanted.metadata)
        where, values = f"{where or 'WHERE 1'} AND organization = ? AND project = ?", [*values, *_scope(wanted)]
        if wanted.model is not None:
            where, values = f"{where} AND ? IN (model, snapshot)", [*values, wanted.model]
        if wanted.after is not None:
            side = ">" if wanted.order == "asc" else "<"
            where += f" AND rowid {side} (SELECT rowid FROM stored WHERE id = ?)"
            values = [*values, wanted.after]
        rows = self._read(
            f"SELECT body FROM stored {where} ORDER BY rowid {wanted.order} LIMIT ?", [*values, wanted.limit + 1]
        )
        return [json.loads(row["body"]) for row in rows]

    def stored_one(self, completion: str, *, organization: str, project: str) -> dict[str, Any] | None:
        rows = self._read(
            "SELECT body FROM stored WHERE id = ? AND organization = ? AND project = ?",
            [completion, organization, project],
        )
        return json.loads(rows[0]["body"]) if rows else None

    def response(self, response: str, *, organization: str, project: str) -> dict[str, Any] | None:
        rows = self._read(
            "SELECT body FROM responses WHERE id = ? AND organization = ? AND project = ?",
            [response, organization, project],
        )
        return json.loads(rows[0]["body"]) if rows else None

    def _read(self, statement: str, values: Sequence[Any]) -> list[sqlite3.Row]:
        with closing(sqlite3.connect(self._path)) as connection:
            connection.row_factory = sqlite3.Row
            return connection.execute(statement, values).fetchall()

    def _write(self) -> None:
        with closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            connection.executescript(PRAGMAS)
            running = True
            while running:
                entries, running = self._take()
                if entries:
                    _tell(entries, _commit(connection, entries))

    def _take(self) -> tuple[list[_Entry], bool]:
        """Whatever is queued, at least one; False when nothing comes after it."""
        entries: list[_Entry] = []
        item = self._queue.get()
        while item is not None:
            entries.append(item)
            if len(entries) == GROUP_MAX:
                return entries, True
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return entries, True
        return entries, False


def _commit(connection: sqlite3.Connection, entries: Sequence[_Entry]) -> sqlite3.Error | None:
    """Writes all entries in one transaction, or none of them."""
    stored = [
        (line.id, line.organization, line.project, line.model, line.snapshot, body)
        for line, body in ((entry.line, entry.stored) for entry in entries)
        if body is not None and not line.id.startswith(RESPONSE_IDS)
    ]
    responses = [
        (line.id, line.organization, line.project, body)
        for line, body in ((entry.line, entry.stored) for entry in entries)
        if body is not None and line.id.startswith(RESPONSE_IDS)
    ]
    labels = [
        (name, value, entry.line.id) for entry in entries for name, value in json.loads(entry.line.metadata).items()
    ]
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(INSERT_CALL, [_values_of(entry.line) for entry in entries])
        connection.executemany(INSERT_STORED, stored)
        connection.executemany(INSERT_RESPONSE, responses)
        connection.executemany(INSERT_LABEL, labels)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        return error
    return None


def _tell(entries: Sequence[_Entry], error: sqlite3.Error | None) -> None:
    """Wakes the waiting calls, with one call into each event loop."""
    for loop in {entry.written.get_loop() for entry in entries}:
        futures = [entry.written for entry in entries if entry.written.get_loop() is loop]
        try:
            loop.call_soon_threadsafe(_resolve, futures, error)
        except RuntimeError:  # the loop is closed: nobody waits any more, and the lines are written
            continue


def _resolve(futures: Sequence[asyncio.Future[None]], error: sqlite3.Error | None) -> None:
    for future in futures:
        if future.done():  # its call was cancelled at the stop
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


def _labelled(table: str, metadata: Mapping[str, str]) -> tuple[str, list[Any]]:
    """A WHERE clause that leaves rows with all of these labels; empty when there are none."""
    clauses = [f"{table}.id IN (SELECT id FROM labels WHERE name = ? AND value = ?)" for _ in metadata]
    values = [part for pair in metadata.items() for part in pair]
    return (f"WHERE {' AND '.join(clauses)}" if clauses else "", values)


def _scope(wanted: StoredQuery) -> tuple[str, str]:
    return wanted.organization, wanted.project


def _sum(rows: Sequence[sqlite3.Row]) -> dict[str, Any]:
    tokens = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
    cost = sum((Decimal(row["cost_usd"]) * row["calls"] for row in rows), Decimal(0))
    return {
        "calls": sum(row["calls"] for row in rows),
        "cost_usd": decimal_text(cost),
        **{name: sum(row[name] for row in rows) for name in tokens},
    }
