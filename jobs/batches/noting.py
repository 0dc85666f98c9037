"""Writes down what became of lines, and counts them on their batch; in the transaction of whoever found it out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import F

from accounts.models.encrypted import encrypted
from billing.arrays import columns
from jobs.batches.states import LineStatus
from jobs.models import Batch, BatchLine

# Lines that are ended or deleted at a time where one statement does it for all alike.
ENDED_AT_ONCE = 5000
# The counts of a batch have the names of these states of its lines.
COUNTED = frozenset({LineStatus.COMPLETED, LineStatus.FAILED, LineStatus.EXPIRED, LineStatus.CANCELLED})
_NOTED = """
    UPDATE jobs_batchline AS line SET status = new.status, job_id = new.job, error = new.error
    FROM unnest(%s::bigint[], %s::text[], %s::uuid[], %s::bytea[]) AS new (id, status, job, error)
    WHERE line.id = new.id AND line.status = %s
"""
_ERROR = encrypted(BatchLine, "error")


@dataclass(frozen=True, slots=True)
class Noted:
    """What became of one line."""

    line_id: int
    status: LineStatus
    job_id: UUID | None = None
    error: dict[str, Any] | None = None


def note(batch: Batch, found: Sequence[Noted], *, come_from: LineStatus, sums: Mapping[str, Any] | None = None) -> None:
    """Moves lines of a batch that is locked, all from one state. `sums`: what else is added to the batch, by column."""
    if not found:
        return
    rows = [(one.line_id, one.status.value, one.job_id, _ERROR.sealed(one.error)) for one in found]
    with connection.cursor() as cursor:
        cursor.execute(_NOTED, [*columns(rows), come_from.value])
        assert cursor.rowcount == len(rows), "the batch is locked, so nobody else has moved its lines"
    _add(batch, {**Counter(one.status.value for one in found if one.status in COUNTED), **(sums or {})})


def end_waiting(batch: Batch, status: LineStatus, error: dict[str, Any]) -> int:
    """Ends some of the lines that have no job, all alike; how many. The next step ends the others."""
    some = batch.lines.filter(status=LineStatus.WAITING).order_by("number").values("pk")[:ENDED_AT_ONCE]
    ended = batch.lines.filter(pk__in=some).update(status=status, error=error)
    _add(batch, {status.value: ended})
    return ended


def delete_some(batch: Batch) -> bool:
    """Deletes some of the lines of a batch of which nothing has run; whether there are more."""
    some = batch.lines.order_by("number").values("pk")[:ENDED_AT_ONCE]
    deleted, _ = BatchLine.objects.filter(pk__in=some).delete()
    return deleted == ENDED_AT_ONCE


def _add(batch: Batch, sums: Mapping[str, Any]) -> None:
    # The database adds: no sum is ever read, changed and written back.
    amounts = {name: F(name) + amount for name, amount in sums.items() if amount}
    if amounts:
        Batch.objects.filter(pk=batch.pk).update(**amounts)
