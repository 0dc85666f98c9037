"""How an attempt leaves its worker without an outcome: given back, as nothing was sent, or put in doubt."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from django.db import connection, transaction

from billing import ledger
from billing.arrays import columns
from billing.clock import database_now
from jobs.crash_points import reach
from jobs.models import Attempt, Doubt
from jobs.recovery import schedule
from jobs.states import AttemptStatus, DoubtStatus, JobStatus
from jobs.transitions import move_attempt, move_job, move_jobs, require_legal_attempt

_DOUBTED = f"""
    UPDATE jobs_attempt AS attempt
    SET status = '{AttemptStatus.IN_DOUBT}', http_status = new.http_status, error_code = new.code,
        error_message = new.message
    FROM unnest(%s::uuid[], %s::uuid[], %s::int[], %s::text[], %s::text[])
        AS new (id, token, http_status, code, message)
    WHERE attempt.id = new.id AND attempt.status = %s
        AND (new.token IS NULL OR attempt.fencing_token = new.token)
    RETURNING attempt.id, attempt.job_id, attempt.is_findable
"""  # noqa: S608


class Stranded(Protocol):
    """As much of an attempt as its rescue needs."""

    @property
    def pk(self) -> UUID: ...
    @property
    def job_id(self) -> UUID: ...


@dataclass(frozen=True, slots=True)
class Unknown:
    """An attempt whose outcome is not known, and why; with a token, only where that is still its own."""

    attempt_id: UUID
    code: str
    reason: str
    token: UUID | None = None
    http_status: int | None = None


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

    The worker gives back only what it has claimed (`token`). The compare-and-set against the beginning of the call
    decides: one of the two happens, never both.
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


def give_back_all(attempts: Sequence[Stranded], *, reason: str) -> int:
    """Abandons attempts whose rows the caller has locked, and queues their jobs again; returns how many there were."""
    require_legal_attempt(AttemptStatus.CREATED, AttemptStatus.ABANDONED)
    ids = [attempt.pk for attempt in attempts]
    abandoned = Attempt.objects.filter(pk__in=ids, status=AttemptStatus.CREATED).update(
        status=AttemptStatus.ABANDONED, finished_at=database_now(), error_message=reason[:1000]
    )
    assert abandoned == len(ids), "the rows are locked by this transaction"
    ledger.release_all(dict.fromkeys(ids, f"not called: {reason}"))
    jobs = [attempt.job_id for attempt in attempts]
    move_jobs(jobs, to=JobStatus.QUEUED, come_from=JobStatus.RUNNING, waiting_on=None, run_after=None)
    reach("rescue.given_back")
    return abandoned


def put_in_doubt(
    attempt: Stranded,
    *,
    code: str,
    reason: str,
    token: UUID | None = None,
    http_status: int | None = None,
    come_from: AttemptStatus = AttemptStatus.CALLING,
) -> bool:
    """Notes one doubt, as `put_all_in_doubt` does many; False where the attempt is not there, or another's."""
    return put_all_in_doubt([Unknown(attempt.pk, code, reason, token, http_status)], come_from=come_from) == 1


@transaction.atomic
def put_all_in_doubt(unknown: Sequence[Unknown], *, come_from: AttemptStatus = AttemptStatus.CALLING) -> int:
    """Notes that nobody knows the outcomes of calls; returns of how many.

    The holds stay, nothing is sent again, and each gets a first look at the provider soon, where that can find it.
    """
    require_legal_attempt(come_from, AttemptStatus.IN_DOUBT)
    rows = [(each.attempt_id, each.token, each.http_status, each.code[:100], each.reason[:1000]) for each in unknown]
    with connection.cursor() as cursor:
        cursor.execute(_DOUBTED, [*columns(rows), come_from])
        doubted = cursor.fetchall()
    if not doubted:
        return 0
    reasons = {each.attempt_id: f"{each.code}: {each.reason}"[:500] for each in unknown}
    ledger.mark_in_doubt_all({attempt_id: reasons[attempt_id] for attempt_id, _, _ in doubted})
    move_jobs([job_id for _, job_id, _ in doubted], to=JobStatus.IN_DOUBT, come_from=JobStatus.RUNNING)
    now = database_now()
    Doubt.objects.bulk_create(
        Doubt(attempt_id=attempt_id, opened_at=now, next_look_at=schedule.first_look(now) if is_findable else None)
        for attempt_id, _, is_findable in doubted
    )
    reach("rescue.doubted")
    return len(doubted)


def close(attempt_ids: Iterable[UUID], status: DoubtStatus, now: datetime, **more: Any) -> int:
    """Ends open doubts; returns how many of them were open."""
    return Doubt.objects.filter(pk__in=list(attempt_ids), status=DoubtStatus.OPEN).update(
        status=status, resolved_at=now, next_look_at=None, **more
    )
