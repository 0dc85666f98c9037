"""T2: which queued jobs start now. Their worst case is held on every budget first; then a worker is told.

Any number of dispatchers may run: they take turns at a round, and skip what a canceller has locked. Nothing is lost
with a message: an attempt that no worker picks up is given back by `jobs.recovery`.

A round (`rounds`) reads the heads of the lines (`lines`), goes round the projects in fair order (`shares`, `choice`) as
far as slots (`slots`) and rate limits (`rooms`) have room, and writes what starts and what the others wait for
(`starting`). `upkeep` is what time alone does to queued jobs.
"""

import logging
from collections.abc import Iterable
from threading import Lock
from uuid import UUID

import redis
from celery import current_app
from django.db import connection, transaction
from kombu.exceptions import OperationalError as BrokerError

from jobs import limiter, waking
from jobs.crash_points import reach
from jobs.dispatch import rounds, upkeep
from jobs.dispatch.rounds import Round

logger = logging.getLogger(__name__)

# Jobs claimed in one transaction: few enough that the budget rows are locked for milliseconds only.
BATCH = 50
# Key of the advisory lock; any number that nothing else in this database locks.
ONE_DISPATCHER = 0x42_55_52_53_41_52
# A thread of this process that dispatches, and one that waits to be the next.
_running, _next = Lock(), Lock()
# Attempts that one message names: few enough that they spread over the workers.
PER_MESSAGE = 10
WAKE_LATER_KEY = "bursar:dispatch:woken-for-later"
CALL_TASK = "jobs.tasks.call_model"
# The beat comes this often by itself. Room that there is sooner is worth a message, but not one for every call: turns
# are given a second ahead, so nothing of the limit is lost by coming a little late.
BEAT_SECONDS = 1.0
SOONEST_SECONDS = 0.25


def wake_in(seconds: float) -> None:
    """Asks for a dispatch in so many seconds, unless the beat comes before or somebody has asked already."""
    if seconds < BEAT_SECONDS:
        later = max(seconds, SOONEST_SECONDS)
        waking.ask(WAKE_LATER_KEY, keep_seconds=later, countdown=later)


def dispatch_in_turn() -> int:
    """As `dispatch`, by one thread of this process at a time; 0 where another one is already waiting to begin.

    That one sees all that this one would: messages that come while a round is slow cost nothing, and nobody's job
    waits behind rounds that find nothing.
    """
    if not _next.acquire(blocking=False):
        return 0
    try:
        _running.acquire()
    finally:
        _next.release()
    try:
        return dispatch()
    finally:
        _running.release()


def dispatch() -> int:
    """Starts every queued job that slots, rate limits and budgets admit now; returns how many attempts were made."""
    upkeep.expire()
    upkeep.resume()
    done = _carry_out()
    started = len(done.attempt_ids)
    while done.is_more_likely:
        done = _carry_out()
        started += len(done.attempt_ids)
    if done.next_room_seconds is not None:
        wake_in(done.next_room_seconds)
    return started


@transaction.atomic
def _carry_out() -> Round:
    """One round. One dispatcher at a time, so that together they start no more than there are slots."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [ONE_DISPATCHER])
    _forget_wake()
    done = rounds.carry_out(BATCH)
    if done.attempt_ids:
        transaction.on_commit(lambda: _tell(done.attempt_ids))
        reach("t2.written")
    return done


def _tell(attempt_ids: Iterable[UUID]) -> None:
    reach("t2.committed")
    send(attempt_ids)
    reach("t2.sent")


def send(attempt_ids: Iterable[UUID]) -> None:
    """Tells the workers. A message that does not get through costs time, not the attempt."""
    ids = [str(attempt_id) for attempt_id in attempt_ids]
    try:
        for at in range(0, len(ids), PER_MESSAGE):
            current_app.send_task(CALL_TASK, args=[ids[at : at + PER_MESSAGE]])
    except (BrokerError, OSError) as error:
        logger.warning("calls not sent, their leases will run out: %s", error)


def _forget_wake() -> None:
    # Before the queue is read, so that whoever submits after this line wakes us again; and not before it is our turn,
    # so that whoever submits while we wait for it need not: we are going to see it.
    try:
        limiter.connection().delete(waking.WAKE_KEY)
    except redis.RedisError:
        logger.info("the wake key stays until it expires: Redis does not answer")
