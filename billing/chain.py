"""The seal of a ledger entry: a hash over all that it says and over the seal before it. Pure.

Whoever changes, removes, inserts or reorders a line breaks every seal after it; whoever cuts lines off the end leaves
the book's head pointing at a line that is not there.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

_written = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

# The seal before the first line of every book.
GENESIS = "0" * 64


@dataclass(slots=True)
class Line:
    """What a ledger entry says, as plain values. `corrects` is the closed month whose late truth it books, or None."""

    organization: UUID
    kind: str
    project: UUID
    team: UUID | None
    reservation: UUID | None
    held_change_usd: Decimal
    spent_change_usd: Decimal
    window_start: datetime
    recorded_at: datetime
    reason: str = ""
    actor: int | None = None
    corrects: datetime | None = None
    sequence: int = 0  # given by the book


@dataclass(slots=True)
class Head:
    """The end of an organization's book, behind its lock, and the instant until which its months are closed."""

    organization: UUID
    sequence: int
    seal: str
    closed_until: datetime


@dataclass(frozen=True, slots=True)
class Break:
    """The first place where a chain does not hold, and why."""

    sequence: int
    reason: str


def extend(head: Head, lines: Iterable[Line]) -> list[tuple[Line, str]]:
    """Puts lines at the end of a book, in order: each with its seal, and the head moved to the last of them."""
    sealed = []
    for line in lines:
        head.sequence += 1
        line.sequence = head.sequence
        head.seal = seal(line, head.seal)
        sealed.append((line, head.seal))
    return sealed


def seal(line: Line, previous: str) -> str:
    """The seal of a line after the one with the seal `previous`: 64 hexadecimal digits of SHA-256."""
    said: list[Any] = [
        previous,
        str(line.organization),
        line.sequence,
        line.kind,
        str(line.project),
        _name(line.team),
        _name(line.reservation),
        _amount(line.held_change_usd),
        _amount(line.spent_change_usd),
        _instant(line.window_start),
        _instant(line.recorded_at),
        line.reason,
        line.actor,
    ]
    if line.corrects is not None:
        said.append(_instant(line.corrects))
    return hashlib.sha256(_written(said).encode()).hexdigest()


def first_break(lines: Iterable[tuple[Line, str]], *, head_sequence: int, head_seal: str) -> Break | None:
    """Where a book's lines, in order of sequence and each with its seal, stop being what was written.

    None if nowhere.
    """
    expected, previous = 1, GENESIS
    for line, written in lines:
        if line.sequence != expected:
            return Break(expected, f"line {expected} is missing: line {line.sequence} stands in its place")
        if seal(line, previous) != written:
            return Break(expected, f"line {expected} is not what was written, or the line before it is not")
        expected, previous = expected + 1, written
    if expected - 1 != head_sequence or previous != head_seal:
        return Break(expected, f"the book ends at line {expected - 1}, and its head says {head_sequence}")
    return None


def _name(row: UUID | None) -> str | None:
    return str(row) if row else None


def _amount(amount: Decimal) -> str:
    return f"{amount:.12f}"


def _instant(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="microseconds")
