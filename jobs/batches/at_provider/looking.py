"""Works on the batches at the provider that are due: sends them, asks how far they are, fetches and books their ends.

Any process may do it at any time: each step is written by compare-and-set, or behind the lock of the batch's row. Few
questions for many lines: one a minute at most for five thousand of them.
"""

import logging
from datetime import datetime, timedelta
from threading import Lock
from time import monotonic
from uuid import UUID

from django.db import connection, transaction

from billing.clock import database_now
from jobs.batches.at_provider import fetching, holding, sending, settling
from jobs.batches.at_provider.moving import move
from jobs.batches.at_provider.sending import is_unwanted, lose
from jobs.batches.at_provider.wire import NotKnown, Refused, Told, Wire
from jobs.batches.states import ProviderBatchStatus
from jobs.crash_points import reach
from jobs.credentials import access_of
from jobs.models import Batch, ProviderBatch

logger = logging.getLogger(__name__)

# Of each time in which the beat asks for it; a file that is on its way takes longer.
WORK_SECONDS = 20.0
AT_ONCE = 20
# Whoever works on some has taken them for so long: a file of megabytes, over a slow line.
TAKEN_FOR = timedelta(minutes=5)
AFTER_A_FAILURE = timedelta(seconds=30)
# One is asked for again after this part of the time that it has taken so far.
PART_OF_AGE = 0.25
SHORTEST, LONGEST = timedelta(seconds=5), timedelta(seconds=60)
# A batch may not be there yet for whoever asks at once; and none takes more than a day, and some time to stop.
UNKNOWN_UNTIL = timedelta(minutes=2)
GIVE_UP_AFTER = timedelta(hours=48)
# The queue there is full: the next are sent later, and fewer.
QUEUE_FULL = "token_limit_exceeded"
QUEUE_PAUSE = timedelta(minutes=10)
FEWEST_LINES = 50
TERMINAL = frozenset({"completed", "failed", "expired", "cancelled"})
FAILED = "failed"
_TAKE = f"""
    UPDATE jobs_providerbatch SET look_at = now() + make_interval(secs => %s) WHERE id IN (
        SELECT id FROM jobs_providerbatch WHERE status <> '{ProviderBatchStatus.CLOSED}' AND look_at <= now()
        ORDER BY look_at LIMIT %s FOR UPDATE SKIP LOCKED
    ) RETURNING id
"""  # noqa: S608


_running = Lock()


def work(seconds: float = WORK_SECONDS) -> int:
    """Takes what is due further, for so long at most; how many were taken. One run at a time in a process."""
    if not _running.acquire(blocking=False):
        return 0  # the threads of this process have other work as well
    try:
        return _work(seconds)
    finally:
        _running.release()


def _work(seconds: float) -> int:
    give_up_at, taken = monotonic() + seconds, 0
    while monotonic() < give_up_at and (due := _take()):
        for pk in due:
            taken += 1
            try:
                _advance(pk, give_up_at)
            except NotKnown as failure:
                logger.warning("provider batch %s could not be taken further: %s", pk, failure)
                _look_again(pk, AFTER_A_FAILURE)
            except Exception:
                # The others are worked on, and this one is tried again.
                logger.exception("provider batch %s could not be taken further", pk)
                _look_again(pk, AFTER_A_FAILURE)
    return taken


def _take() -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, [TAKEN_FOR.total_seconds(), AT_ONCE])
        return [pk for (pk,) in cursor.fetchall()]


def _look_again(pk: UUID, after: timedelta) -> None:
    ProviderBatch.objects.filter(pk=pk).update(look_at=database_now() + after)


def _advance(pk: UUID, give_up_at: float) -> None:
    """One step of one batch; the next is due at once, or when it says."""
    row = ProviderBatch.objects.select_related("batch__project__organization", "answers", "refusals").get(pk=pk)
    match ProviderBatchStatus(row.status):
        case ProviderBatchStatus.FILLING:
            _seal(row)
        case ProviderBatchStatus.SETTLING:
            while (more := settling.settle(pk)) and monotonic() < give_up_at:
                pass
            if more:
                _look_again(pk, timedelta(0))
        case ProviderBatchStatus.CLOSED:
            return
        case status:
            with Wire(access_of(row.batch.project)) as wire:
                if status is ProviderBatchStatus.SENDING:
                    sending.send(row, wire)
                elif status is ProviderBatchStatus.RUNNING:
                    _look(row, wire)
                else:
                    fetching.fetch(row, wire)


@transaction.atomic
def _seal(row: ProviderBatch) -> None:
    """Sends what nobody fills any more; lines that nobody waits for are given back instead."""
    batch = Batch.objects.select_for_update().get(pk=row.batch_id)
    now = database_now()
    if not is_unwanted(batch, now):
        if ProviderBatch.objects.filter(pk=row.pk, status=ProviderBatchStatus.FILLING).exists():
            holding.seal(row, now)
        return
    move(row.pk, to=ProviderBatchStatus.SETTLING, come_from=ProviderBatchStatus.FILLING, look_at=now)


def _look(row: ProviderBatch, wire: Wire) -> None:
    """Asks once how far it is, and stops it where nobody waits for it any more."""
    now = database_now()
    assert row.accepted_at is not None, "a constraint of its status"
    if row.cancel_told_at is None and is_unwanted(row.batch, now):
        _tell_to_stop(row, wire, now)
    try:
        told = wire.retrieve(row.provider_id)
    except Refused as refusal:
        if refusal.status == 404 and now > row.accepted_at + UNKNOWN_UNTIL:
            lose(row, "batch_unknown", come_from=ProviderBatchStatus.RUNNING)
            return
        raise NotKnown(str(refusal)) from refusal
    if told.status in TERMINAL:
        _ended(row, told, now)
    elif now > row.accepted_at + GIVE_UP_AFTER:
        lose(row, "never_ended", come_from=ProviderBatchStatus.RUNNING)
    else:
        pause = min(LONGEST, max(SHORTEST, PART_OF_AGE * (now - row.accepted_at)))
        ProviderBatch.objects.filter(pk=row.pk).update(provider_status=told.status, look_at=now + pause)


def _tell_to_stop(row: ProviderBatch, wire: Wire, now: datetime) -> None:
    try:
        wire.cancel(row.provider_id)
    except Refused as refusal:
        logger.info("provider batch %s cannot be cancelled (%s); how it ends is asked all the same", row.pk, refusal)
    ProviderBatch.objects.filter(pk=row.pk).update(cancel_told_at=now)


@transaction.atomic
def _ended(row: ProviderBatch, told: Told, now: datetime) -> None:
    said = {
        "provider_status": told.status,
        "output_file": told.output_file,
        "error_file": told.error_file,
        "told_completed": told.completed,
        "ended_at": now,
        "look_at": now,
    }
    if told.status != FAILED or told.completed or told.output_file:
        move(row.pk, to=ProviderBatchStatus.ENDED, come_from=ProviderBatchStatus.RUNNING, **said)
        reach("at_provider.ended")
        return
    code = next((code for code in told.codes if code), "batch_failed")
    logger.warning("provider batch %s failed there: %s", row.pk, code)
    if move(row.pk, to=ProviderBatchStatus.SETTLING, come_from=ProviderBatchStatus.RUNNING, error_code=code, **said):
        rows = Batch.objects.filter(pk=row.batch_id)
        if code == QUEUE_FULL:
            rows.update(at_provider_after=now + QUEUE_PAUSE, at_provider_lines=max(FEWEST_LINES, row.size // 2))
        else:
            rows.update(at_provider=False)  # what it does not take once, it does not take again
    reach("at_provider.ended")
