"""Makes jobs of lines, and no more of them than keep the project's queue busy: the file is the queue of the others."""

import logging

from django.db import DatabaseError

from accounts import api_keys
from accounts.errors import DomainError
from accounts.models import ApiKey
from billing.clock import nearly_now
from jobs.batches import files
from jobs.batches.ceiling import room_of
from jobs.batches.lines import read_request
from jobs.batches.noting import Noted, end_waiting, note
from jobs.batches.refusals import COST_LIMIT, INTERNAL, KEY_OVER, refused
from jobs.batches.states import LineStatus
from jobs.ceilings import Room
from jobs.errors import BacklogFull, MaxCostTooSmall
from jobs.models import Batch, BatchLine
from jobs.states import JobStatus
from jobs.submission import submit

logger = logging.getLogger(__name__)

# Jobs of one batch that are queued at a time: some seconds of work for the fastest project, and no flood for anybody.
QUEUED_AHEAD = 1000
LINES_AT_ONCE = 100
BYTES_AT_ONCE = 4 * 1024 * 1024


def feed(batch: Batch) -> bool:
    """Submits some lines; whether more may be submitted at once. Runs in the caller's transaction."""
    key = batch.api_key and api_keys.find_again(batch.api_key.secret_hash, nearly_now())
    if key is None:
        return bool(end_waiting(batch, LineStatus.FAILED, KEY_OVER))
    lines = _next(batch)
    if not lines:
        return False
    first, last = lines[0], lines[-1]
    text = files.read(batch.input_file, first.position, last.position + last.length - first.position)
    room, done, is_full = room_of(batch), [], False
    for line in lines:
        begin = line.position - first.position
        try:
            done.append(submit_line(batch, key, line, text[begin : begin + line.length], room))
        except (BacklogFull, MaxCostTooSmall):
            is_full = True
            break
    note(batch, done, come_from=LineStatus.WAITING)
    return not is_full


def _next(batch: Batch) -> list[BatchLine]:
    """The lines that may be fed now, in their order; their bytes are no more than one step reads."""
    ahead = batch.lines.filter(status=LineStatus.FED, job__status=JobStatus.QUEUED).count()
    room = min(LINES_AT_ONCE, QUEUED_AHEAD - ahead)
    waiting = list(batch.lines.filter(status=LineStatus.WAITING).order_by("number")[: max(0, room)])
    near = [line for line in waiting if line.position + line.length - waiting[0].position <= BYTES_AT_ONCE]
    return near or waiting[:1]


def submit_line(batch: Batch, key: ApiKey, line: BatchLine, text: bytes, room: Room) -> Noted:
    """What becomes of one line. Raises BacklogFull, MaxCostTooSmall where it waits until jobs under way have ended and
    cost less than they might, and what the database raises.
    """
    try:
        wanted = read_request(text).submission(
            batch_id=batch.public_id, priority=batch.priority, deadline=batch.expires_at, max_cost_usd=room.usd
        )
        job = submit(key, wanted)
    except (BacklogFull, DatabaseError):
        raise
    except MaxCostTooSmall:
        if room.may_grow:
            raise
        return Noted(line.pk, LineStatus.FAILED, error=COST_LIMIT)
    except DomainError as error:
        return Noted(line.pk, LineStatus.FAILED, error=refused(error))
    except Exception:
        # One line that nobody expected does not keep the others from being answered.
        logger.exception("line %d of %s could not be submitted", line.number, batch.pk)
        return Noted(line.pk, LineStatus.FAILED, error=INTERNAL)
    room.take(job.bound_usd)
    return Noted(line.pk, LineStatus.FED, job.pk)
