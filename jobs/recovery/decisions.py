"""Doubts that are decided without knowing: by the project's policy after a time, or by a person.

A decision never takes the books below the provider's bill: what is presumed spent, or run again, is settled at its
bound. Only a person who knows that the provider did not bill the call gives its hold back.
"""

import logging
from uuid import UUID

from django.db import connection, transaction

from accounts import audit
from accounts.audit import SERVICE, Who
from accounts.models import AuditAction, DoubtPolicy, User
from billing import ledger
from billing.clock import database_now
from billing.models import Reservation, UsageRecord
from billing.pricing import Tokens
from jobs.crash_points import reach
from jobs.models import Attempt, Doubt, Job
from jobs.recovery import doubts
from jobs.states import AttemptStatus, DoubtStatus, JobStatus
from jobs.transitions import move_attempt, move_job

logger = logging.getLogger(__name__)

AT_ONCE = 100
# Only after the provider was asked and did not have it, or where it cannot be asked.
_OVERDUE = f"""
    SELECT doubt.attempt_id, project.doubt_policy
    FROM jobs_doubt doubt
    JOIN jobs_attempt attempt ON attempt.id = doubt.attempt_id
    JOIN jobs_job job ON job.id = attempt.job_id
    JOIN accounts_project project ON project.id = job.project_id
    WHERE doubt.status = '{DoubtStatus.OPEN}' AND project.doubt_policy <> '{DoubtPolicy.HOLD}'
        AND doubt.opened_at <= now() - make_interval(hours => project.doubt_patience_hours)
        AND (doubt.was_missed OR doubt.next_look_at IS NULL) AND attempt.look_at IS NULL
        AND (project.doubt_policy <> '{DoubtPolicy.RERUN}' OR NOT EXISTS (
            SELECT FROM jobs_doubt before JOIN jobs_attempt earlier ON earlier.id = before.attempt_id
            WHERE earlier.job_id = job.id AND before.status = '{DoubtStatus.RERUN}'))
    ORDER BY doubt.opened_at LIMIT %s
"""  # noqa: S608


def decide_by_policy() -> int:
    """Decides the doubts that have outlived the patience of their projects; returns how many.

    A job that was run again once and is in doubt again stays held: only a person pays a third time.
    """
    with connection.cursor() as cursor:
        cursor.execute(_OVERDUE, [AT_ONCE])
        overdue = cursor.fetchall()
    decided = 0
    for attempt_id, policy in overdue:
        reason = "not found at the provider in the time that the project's policy gives it"
        decide = run_again if policy == DoubtPolicy.RERUN else presume_spent
        decided += decide(attempt_id, reason=reason)
    if decided:
        logger.warning("decided %d doubts by their projects' policies", decided)
    return decided


@transaction.atomic
def presume_spent(attempt_id: UUID, *, reason: str, actor: User | None = None, by: Who | None = None) -> bool:
    """Settles an attempt in doubt at its bound; its job has failed. False where it is not in doubt any more."""
    attempt = _taken(attempt_id)
    if attempt is None:
        return False
    usage = _settle_at_bound(attempt, DoubtStatus.PRESUMED_SPENT, reason, actor)
    error = {
        "code": "answer_lost",
        "type": "in_doubt",
        "message": "The answer was lost on its way and not found at the provider; its bound is presumed spent.",
        "status": None,
        "param": None,
    }
    moved = move_job(
        attempt.job_id,
        to=JobStatus.FAILED,
        come_from=[JobStatus.IN_DOUBT],
        finished_at=database_now(),
        error=error,
        input_usd=usage.input_usd,
        cached_input_usd=usage.cached_input_usd,
        output_usd=usage.output_usd,
        reasoning_usd=usage.reasoning_usd,
        total_usd=usage.total_usd,
    )
    assert moved, "a job whose open attempt is in doubt is in doubt"
    _record(attempt, DoubtStatus.PRESUMED_SPENT, reason, actor, by)
    reach("decision.written")
    return True


@transaction.atomic
def run_again(attempt_id: UUID, *, reason: str, actor: User | None = None, by: Who | None = None) -> bool:
    """Settles an attempt in doubt at its bound and queues its job again, which may pay twice."""
    attempt = _taken(attempt_id)
    if attempt is None:
        return False
    _settle_at_bound(attempt, DoubtStatus.RERUN, reason, actor)
    _queue_again(attempt.job)
    _record(attempt, DoubtStatus.RERUN, reason, actor, by)
    reach("decision.written")
    return True


@transaction.atomic
def release(attempt_id: UUID, *, reason: str, actor: User, by: Who | None = None) -> bool:
    """Gives the hold of an attempt in doubt back and queues its job again: a person knows that it was not billed."""
    attempt = _taken(attempt_id)
    if attempt is None:
        return False
    ledger.release(attempt_id, reason=reason, actor=actor)
    _close(attempt, DoubtStatus.RELEASED, reason, actor)
    _queue_again(attempt.job)
    _record(attempt, DoubtStatus.RELEASED, reason, actor, by)
    reach("decision.written")
    return True


def look_up_now(attempt_id: UUID) -> bool:
    """Has an open doubt looked up by the next round. False where its answer was not to be kept, or it is decided."""
    found = Doubt.objects.filter(pk=attempt_id, status=DoubtStatus.OPEN, attempt__is_findable=True)
    return Doubt.objects.filter(pk__in=found).update(next_look_at=database_now()) == 1


def _taken(attempt_id: UUID) -> Attempt | None:
    """The attempt, locked, if it is in doubt: whoever comes with its answer waits, and finds it decided."""
    rows = Attempt.objects.select_for_update(of=("self",)).select_related("job")
    return rows.filter(pk=attempt_id, status=AttemptStatus.IN_DOUBT).first()


def _settle_at_bound(attempt: Attempt, status: DoubtStatus, reason: str, actor: User | None) -> UsageRecord:
    job = attempt.job
    # As the bound takes it: what is written to the cache is the dearest input, where it has a price of its own.
    writes = Reservation.objects.filter(reference=attempt.pk, price__cache_write_usd_per_million__isnull=False).exists()
    read = job.bound_input_tokens
    at_most = Tokens(read, 0, job.bound_output_tokens, 0, cache_write=read if writes else 0)
    told = f"{status.label.lower()}: {reason}"[:500]
    usage = ledger.Usage(attempt.pk, at_most, job.model, reason=told, actor_id=actor.pk if actor else None)
    (record,) = ledger.settle_all([usage])
    _close(attempt, status, reason, actor)
    return record


def _close(attempt: Attempt, status: DoubtStatus, reason: str, actor: User | None) -> None:
    now = database_now()
    move_attempt(attempt.pk, to=AttemptStatus.RESOLVED, come_from=AttemptStatus.IN_DOUBT, finished_at=now)
    doubts.close([attempt.pk], status, now, reason=reason[:500], actor=actor)


def _record(attempt: Attempt, status: DoubtStatus, reason: str, actor: User | None, by: Who | None) -> None:
    """In the audit trail, after the book's lock. Without an actor the project's policy has decided."""
    audit.record(
        AuditAction.DECIDED,
        "doubt",
        attempt.pk,
        by=by or (Who(user=actor) if actor else SERVICE),
        organization_id=attempt.job.organization_id,
        name=f"attempt {attempt.number} of job {attempt.job_id}",
        before={"status": DoubtStatus.OPEN},
        after={"status": status},
        reason=reason,
    )


def _queue_again(job: Job) -> None:
    """A job whose owner wants it stopped is cancelled instead."""
    if job.cancel_asked_at:
        moved = move_job(job.pk, to=JobStatus.CANCELLED, come_from=[JobStatus.IN_DOUBT], finished_at=database_now())
    else:
        moved = move_job(job.pk, to=JobStatus.QUEUED, come_from=[JobStatus.IN_DOUBT], waiting_on=None, run_after=None)
    assert moved, "a job whose open attempt is in doubt is in doubt"
