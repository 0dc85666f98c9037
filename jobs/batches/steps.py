"""Drives batches: one step is one transaction, which takes a batch a little further and says how far.

Whoever is killed in the middle of a step leaves everything as it was before it. Two that come at once do not meet: the
batch is locked, and the second goes on to another one.
"""

from collections.abc import Callable, Mapping
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from billing.clock import database_now
from jobs.batches import ending, feeding, harvesting, validating
from jobs.batches.at_provider import choice, holding
from jobs.batches.moving import move_batch
from jobs.batches.states import BATCH_ACTIVE, BatchStatus
from jobs.crash_points import reach
from jobs.models import Batch
from jobs.stepping import WORK_SECONDS, work_in_turn


def work(seconds: float = WORK_SECONDS) -> int:
    """Takes all batches further in turn, for so long at most; how many steps were made."""
    return work_in_turn(active(), step, seconds, of="batch")


def active() -> list[UUID]:
    """The batches that have not ended; first those that were worked on longest ago."""
    rows = Batch.objects.filter(status__in=sorted(BATCH_ACTIVE)).order_by(F("stepped_at").asc(nulls_first=True), "id")
    return list(rows.values_list("pk", flat=True))


@transaction.atomic
def step(batch_id: UUID) -> bool:
    """Takes one batch a little further; whether there is more to do at once."""
    rows = Batch.objects.select_for_update(skip_locked=True, of=("self",)).filter(status__in=sorted(BATCH_ACTIVE))
    batch = rows.select_related("input_file", "api_key", "project__organization").filter(pk=batch_id).first()
    if batch is None:
        return False  # somebody else works on it, or it has ended
    more = _STEPS[BatchStatus(batch.status)](batch)
    Batch.objects.filter(pk=batch.pk).update(stepped_at=Now())
    reach("batch.stepped")
    return more


def _go_on(batch: Batch) -> bool:
    """Takes in what has ended, and submits what there is room for."""
    more = harvesting.harvest(batch)
    now = database_now()
    if now < batch.expires_at:
        prices = choice.prices_for(batch, now)
        more |= feeding.feed(batch) if prices is None else holding.hold(batch, prices, now)
    else:
        more |= ending.expire(batch)
        harvesting.give_up_doubts(batch, batch.expires_at, now)
    if ending.has_ended(batch):
        return move_batch(batch.pk, to=BatchStatus.FINALIZING, come_from=[BatchStatus.IN_PROGRESS])
    return more


def _cancel(batch: Batch) -> bool:
    """Withdraws what has not started, waits for what has, and writes the answers of that."""
    assert batch.cancelling_at, "it is noted with the status"
    if batch.in_progress_at is None:
        return ending.drop(batch)
    more = ending.withdraw(batch) | harvesting.harvest(batch)
    harvesting.give_up_doubts(batch, batch.cancelling_at, database_now())
    return ending.write(batch) if ending.has_ended(batch) else more


_STEPS: Mapping[BatchStatus, Callable[[Batch], bool]] = {
    BatchStatus.VALIDATING: validating.validate,
    BatchStatus.IN_PROGRESS: _go_on,
    BatchStatus.FINALIZING: ending.write,
    BatchStatus.CANCELLING: _cancel,
}
