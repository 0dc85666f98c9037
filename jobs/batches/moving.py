"""Changing the status of batches: by compare-and-set, along the legal steps alone."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db.models.functions import Now

from jobs.batches.errors import BatchNotCancellable
from jobs.batches.states import BATCH_TRANSITIONS, BatchStatus
from jobs.models import Batch
from jobs.transitions import IllegalTransition


def move_batch(batch_id: UUID, *, to: BatchStatus, come_from: Iterable[BatchStatus], **fields: Any) -> bool:
    """Whether the batch was in one of the given states and has moved, which it notes with the present instant.

    False when somebody else was first.
    """
    sources = list(come_from)
    for source in sources:
        if to not in BATCH_TRANSITIONS[source]:
            raise IllegalTransition(f"batch: {source} -> {to}")
    stamp = {f"{to.value}_at": Now()}
    return Batch.objects.filter(pk=batch_id, status__in=sources).update(status=to, **stamp, **fields) == 1


def cancel(batch: Batch) -> Batch:
    """The batch, about to be cancelled: `ending` withdraws what has not started; cancelling it again changes nothing.

    Raises BatchNotCancellable for one that has ended, or whose files are being written.
    """
    moved = move_batch(batch.pk, to=BatchStatus.CANCELLING, come_from=[BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS])
    batch.refresh_from_db()
    if not moved and batch.status not in {BatchStatus.CANCELLING, BatchStatus.CANCELLED}:
        raise BatchNotCancellable(f"The batch is {batch.status}, so there is nothing left of it to be cancelled.")
    return batch
