"""Attempts that nobody has any more: found by the silence of their workers, and by leases and deadlines."""

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from billing.clock import database_now
from jobs import workers
from jobs.models import Attempt
from jobs.recovery.doubts import Unknown, give_back_all, put_all_in_doubt
from jobs.states import AttemptStatus

logger = logging.getLogger(__name__)

# Beyond the call's own deadline: time for its worker to book the outcome, a database restart included.
GRACE_SECONDS = 150.0
BATCH = 100


def rescue() -> int:
    """Takes care of every stranded attempt; returns how many there were.

    1. Not yet calling, its lease run out or its worker silent: nothing was sent, so it goes back to the queue.
    2. Calling, its worker silent or its deadline far past: the outcome is unknown, so it is in doubt; its hold stays.
    """
    now = database_now()
    dead = workers.dead(now)
    unheard = Q(worker__in=dead)
    silent_since = now - timedelta(seconds=settings.CALL_DEADLINE_SECONDS + GRACE_SECONDS)
    # Both in the words of their partial index, which has only what is in flight.
    created = Q(status=AttemptStatus.CREATED) & (Q(lease_expires_at__lte=now) | unheard)
    calling = Q(status=AttemptStatus.CALLING) & (Q(calling_at__lte=silent_since) | unheard)
    rescued = _all(created, _give_back) + _all(calling, _doubt)
    workers.forget_silent(now)
    if rescued:
        logger.warning("rescued %d stranded attempts; silent workers: %s", rescued, ", ".join(dead) or "none")
    return rescued


def _all(stranded: Q, care: Callable[[Sequence[Attempt]], int]) -> int:
    """Cares for attempts, a batch at a time, leaving alone those whose row somebody is writing this very moment."""
    total = 0
    while True:
        with transaction.atomic():
            rows = Attempt.objects.filter(stranded).order_by("id").select_for_update(skip_locked=True)
            attempts = list(rows[:BATCH])
            if not attempts:
                return total
            total += care(attempts)


def _give_back(attempts: Sequence[Attempt]) -> int:
    return give_back_all(attempts, reason="its worker or its message was lost")


def _doubt(attempts: Sequence[Attempt]) -> int:
    reason = "The worker that made the call has not been heard of."
    return put_all_in_doubt([Unknown(attempt.pk, "worker_lost", reason) for attempt in attempts])
