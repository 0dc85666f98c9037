"""What becomes of an attempt whose worker, message or connection was lost: back to the queue, or in doubt.

Never sent again.
"""

import logging
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

from django.conf import settings
from django.db import transaction

from billing import ledger
from billing.clock import database_now
from jobs.models import Attempt
from jobs.states import AttemptStatus, JobStatus
from jobs.transitions import move_attempt, move_job

logger = logging.getLogger(__name__)

# Beyond the call's own deadline: time for its worker to book the outcome, a database restart included.
GRACE_SECONDS = 150.0
BATCH = 200


class Stranded(Protocol):
    """As much of an attempt as its rescue needs."""

    @property
    def pk(self) -> UUID: ...
    @property
    def job_id(self) -> UUID: ...


def rescue() -> int:
    """Takes care of every stranded attempt; returns how many there were.

    1. Not yet calling, lease run out: nothing was sent, so the hold is released and the job is queued again.
    2. Calling, far beyond its deadline: the outcome is unknown, so it is put in doubt and its hold stays.
    """
    now = database_now()
    unclaimed = Attempt.objects.filter(status=AttemptStatus.CREATED, lease_expires_at__lte=now).order_by("id")[:BATCH]
    silent_since = now - timedelta(seconds=settings.CALL_DEADLINE_SECONDS + GRACE_SECONDS)
    silent = Attempt.objects.filter(status=AttemptStatus.CALLING, calling_at__lte=silent_since).order_by("id")[:BATCH]
    rescued = 0
    for attempt in unclaimed:
        rescued += give_back(attempt, waiting_on=None, after_seconds=0.0, reason="its worker or its message was lost")
    for attempt in silent:
        rescued += put_in_doubt(
            attempt, code="worker_lost", reason="The worker that made the call has not been heard of."
        )
    if rescued:
        logger.warning("rescued %d stranded attempts", rescued)
    return rescued


@transaction.atomic
def give_back(
    attempt: Stranded,
    *,
    waiting_on: dict[str, Any] | None,
    after_seconds: float,
    token: UUID | None = None,
    reason: str = "its turn at the rate limit is too far away",
) -> bool:
    """Abandons an attempt whose call has not begun; its job is queued again. False when the call began, or it is past.

    The worker gives back only what it has claimed (`token`); the rescue gives back whatever has outlived its lease.
    Either way the compare-and-set against the beginning of the call decides: one of the two happens, never both.
    """
    now = database_now()
    abandoned = move_attempt(
        attempt.pk,
        to=AttemptStatus.ABANDONED,
        come_from=AttemptStatus.CREATED,
        token=token,
        finished_at=now,
        error_message=reason[:1000],
    )
    if not abandoned:
        return False
    ledger.release(attempt.pk, reason=f"not called: {reason}")
    move_job(
        attempt.job_id,
        to=JobStatus.QUEUED,
        come_from=[JobStatus.RUNNING],
        waiting_on=waiting_on,
        run_after=now + timedelta(seconds=after_seconds) if after_seconds else None,
    )
    return True


@transaction.atomic
def put_in_doubt(
    attempt: Stranded, *, code: str, reason: str, token: UUID | None = None, http_status: int | None = None
) -> bool:
    """Notes that nobody knows the outcome of a call. The hold stays, and the call is not sent again."""
    doubted = move_attempt(
        attempt.pk,
        to=AttemptStatus.IN_DOUBT,
        come_from=AttemptStatus.CALLING,
        token=token,
        http_status=http_status,
        error_code=code,
        error_message=reason[:1000],
    )
    if not doubted:
        return False
    ledger.mark_in_doubt(attempt.pk, reason=f"{code}: {reason}"[:500])
    move_job(attempt.job_id, to=JobStatus.IN_DOUBT, come_from=[JobStatus.RUNNING])
    return True
