"""The seal of an audit entry: a hash over all that it says and over the seal before it. Pure.

Each organization has a trail of its own, and what belongs to none has one more. Whoever changes, removes, inserts or
reorders an entry breaks every seal after it. Whoever cuts entries off the end, and sets the trail's head back, is found
by a head that was kept elsewhere. The bytes that are hashed are described in docs/audit.md.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any, Final
from uuid import UUID

_written = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False).encode

# The seal before the first entry of every trail.
GENESIS: Final = "0" * 64
# The trail of what belongs to no organization.
NO_ORGANIZATION: Final = UUID(int=0)


@dataclass(slots=True)
class Line:
    """What an audit entry says, as plain values."""

    trail: UUID
    sequence: int
    id: UUID
    action: str
    subject_type: str
    subject_id: str
    subject_name: str
    actor: int | None
    api_key: UUID | None
    actor_name: str
    address: str | None
    request_id: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Anchor:
    """A place in a trail that was written down elsewhere."""

    sequence: int
    seal: str


@dataclass(frozen=True, slots=True)
class Break:
    """The first place where a trail does not hold, and why."""

    sequence: int
    reason: str


def seal(line: Line, previous: str) -> str:
    """The seal of an entry after the one with the seal `previous`: 64 hexadecimal digits of SHA-256."""
    said = [
        previous,
        str(line.trail),
        line.sequence,
        str(line.id),
        line.action,
        line.subject_type,
        line.subject_id,
        line.subject_name,
        line.actor,
        str(line.api_key) if line.api_key else None,
        line.actor_name,
        str(ip_address(line.address)) if line.address else None,
        line.request_id,
        line.before,
        line.after,
        line.reason,
        line.at.astimezone(UTC).isoformat(timespec="microseconds"),
    ]
    return hashlib.sha256(_written(said).encode()).hexdigest()


def first_break(
    lines: Iterable[tuple[Line, str]], *, head_sequence: int, head_seal: str, anchor: Anchor | None = None
) -> Break | None:
    """Where a trail's entries, in order of sequence and each with its seal, stop being what was written.

    None if nowhere. With an anchor the trail must still pass through it.
    """
    expected, previous = 1, GENESIS
    for line, written in lines:
        if line.sequence != expected:
            return Break(expected, f"entry {expected} is missing: entry {line.sequence} stands in its place")
        if seal(line, previous) != written:
            return Break(expected, f"entry {expected} is not what was written, or the one before it is not")
        if anchor and anchor.sequence == expected and anchor.seal != written:
            return Break(expected, f"entry {expected} is another one than when its seal was written down elsewhere")
        expected, previous = expected + 1, written
    if anchor and anchor.sequence >= expected:
        return Break(expected, f"the trail ends at entry {expected - 1}, and it had {anchor.sequence} once")
    if expected - 1 != head_sequence or previous != head_seal:
        return Break(expected, f"the trail ends at entry {expected - 1}, and its head says {head_sequence}")
    return None
