"""Changing the status of jobs and attempts: by compare-and-set, along the legal steps alone."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from jobs.models import Attempt, Job
from jobs.states import ATTEMPT_TRANSITIONS, JOB_TRANSITIONS, AttemptStatus, JobStatus


class IllegalTransition(Exception):
    """The table of states has no such step: a mistake in the code that asked for it."""


def move_job(job_id: UUID, *, to: JobStatus, come_from: Iterable[JobStatus], **fields: Any) -> bool:
    """Whether the job was in one of the given states and has moved; False when somebody else was first."""
    sources = list(come_from)
    for source in sources:
        require_legal_job(source, to)
    return Job.objects.filter(pk=job_id, status__in=sources).update(status=to, **fields) == 1


def move_jobs(job_ids: Iterable[UUID], *, to: JobStatus, come_from: JobStatus, **fields: Any) -> int:
    """Moves those of the jobs that are in the given state, in one statement; returns how many that were."""
    require_legal_job(come_from, to)
    return Job.objects.filter(pk__in=list(job_ids), status=come_from).update(status=to, **fields)


def move_attempt(
    attempt_id: UUID, *, to: AttemptStatus, come_from: AttemptStatus, token: UUID | None = None, **fields: Any
) -> bool:
    """Whether the attempt was in the given state, and claimed under this token where one is given, and has moved."""
    require_legal_attempt(come_from, to)
    rows = Attempt.objects.filter(pk=attempt_id, status=come_from)
    if token is not None:
        rows = rows.filter(fencing_token=token)
    return rows.update(status=to, **fields) == 1


def require_legal_job(source: JobStatus, to: JobStatus) -> None:
    """Raises IllegalTransition where a job has no such step; for statements that move many at once."""
    if to not in JOB_TRANSITIONS[source]:
        raise IllegalTransition(f"job: {source} -> {to}")


def require_legal_attempt(source: AttemptStatus, to: AttemptStatus) -> None:
    """Raises IllegalTransition where an attempt has no such step; for statements that move many at once."""
    if to not in ATTEMPT_TRANSITIONS[source]:
        raise IllegalTransition(f"attempt: {source} -> {to}")
