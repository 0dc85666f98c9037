"""An organization's book: the one lock of its money, and the chain of its ledger entries.

Whoever changes an organization's money locks its book first; several books are locked in order of their organizations.
Behind that lock, budgets and reservations of the organization stand still, so it is also what makes a batch cheap: one
lock, however many claims.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

from django.db import connection

from billing.arrays import array, columns
from billing.chain import Head, Line, extend
from billing.models import Book, LedgerEntry

# Before anything was closed.
NEVER = datetime.min.replace(tzinfo=UTC)

_LOCK = (
    "SELECT organization_id, head_sequence, head_seal, closed_until FROM billing_book "
    # PostgreSQL locks the rows in the order in which it returns them.
    "WHERE organization_id = ANY(%s::uuid[]) ORDER BY organization_id FOR UPDATE"
)
_WRITE = """
    INSERT INTO billing_ledgerentry (sequence, seal, organization_id, project_id, team_id, reservation_id, kind,
        held_change_usd, spent_change_usd, window_start, recorded_at, reason, actor_id, corrects)
    SELECT * FROM unnest(%s::bigint[], %s::text[], %s::uuid[], %s::uuid[], %s::uuid[], %s::uuid[], %s::text[],
        %s::numeric[], %s::numeric[], %s::timestamptz[], %s::timestamptz[], %s::text[], %s::bigint[], %s::timestamptz[])
"""
_MOVE_HEADS = """
    UPDATE billing_book SET head_sequence = new.sequence, head_seal = new.seal
    FROM unnest(%s::uuid[], %s::bigint[], %s::text[]) AS new (organization, sequence, seal)
    WHERE organization_id = new.organization
"""


def lock(organization_ids: Iterable[UUID]) -> dict[UUID, Head]:
    """The books of these organizations, locked until the transaction ends; made where they are missing."""
    wanted = sorted(set(organization_ids))
    found = _locked(wanted)
    if len(found) < len(wanted):
        Book.objects.bulk_create([Book(organization_id=pk) for pk in wanted if pk not in found], ignore_conflicts=True)
        found = _locked(wanted)
    return found


def append(heads: Mapping[UUID, Head], lines: Sequence[Line]) -> None:
    """Writes lines at the end of their organizations' locked books, sealed in the order given."""
    by_book: dict[UUID, list[Line]] = {}
    for line in lines:
        by_book.setdefault(line.organization, []).append(line)
    written = [pair for pk, own in by_book.items() for pair in extend(heads[pk], own)]
    if not written:
        return
    moved = [heads[pk] for pk in by_book]
    rows = [
        (
            *(line.sequence, seal, line.organization, line.project, line.team, line.reservation, line.kind),
            *(line.held_change_usd, line.spent_change_usd, line.window_start, line.recorded_at),
            *(line.reason, line.actor, line.corrects),
        )
        for line, seal in written
    ]
    with connection.cursor() as cursor:
        cursor.execute(_WRITE, columns(rows))
        cursor.execute(_MOVE_HEADS, columns([(head.organization, head.sequence, head.seal) for head in moved]))


def line_of(entry: LedgerEntry) -> Line:
    """What an entry says."""
    return Line(
        organization=entry.organization_id,
        kind=entry.kind,
        project=entry.project_id,
        team=entry.team_id,
        reservation=entry.reservation_id,
        held_change_usd=entry.held_change_usd,
        spent_change_usd=entry.spent_change_usd,
        window_start=entry.window_start,
        recorded_at=entry.recorded_at,
        reason=entry.reason,
        actor=entry.actor_id,
        corrects=entry.corrects,
        sequence=entry.sequence,
    )


def _locked(organization_ids: Sequence[UUID]) -> dict[UUID, Head]:
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, [array(organization_ids)])
        return {pk: Head(pk, sequence, seal, until or NEVER) for pk, sequence, seal, until in cursor.fetchall()}
