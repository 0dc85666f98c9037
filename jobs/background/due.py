"""Which calls at the provider are to be looked at now: few questions for many calls, the rarer the longer they take."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection

from accounts.models import Project
from jobs import catalogue
from jobs.credentials import accesses_of
from jobs.execution.claims import Call
from jobs.states import AttemptStatus

# A call is looked at again after this part of the time that it has taken so far, within these bounds: sixteen looks in
# the first minute, and an end is known that part later at most.
PART_OF_AGE = 0.25
SHORTEST_SECONDS, LONGEST_SECONDS = 1.0, 30.0
# Whoever looks has taken them: another one finds them due only after the next interval.
_TAKE = f"""
    WITH due AS (
        SELECT id FROM jobs_attempt
        WHERE status IN ('{AttemptStatus.ACCEPTED}', '{AttemptStatus.IN_DOUBT}') AND look_at <= now()
            AND NOT id = ANY(%s::uuid[])
        ORDER BY look_at LIMIT %s FOR UPDATE SKIP LOCKED
    )
    UPDATE jobs_attempt AS attempt
    SET look_at = now() + make_interval(secs => least({LONGEST_SECONDS}, greatest({SHORTEST_SECONDS},
        {PART_OF_AGE} * extract(epoch FROM now() - attempt.calling_at))))
    FROM due, jobs_job AS job
    WHERE attempt.id = due.id AND job.id = attempt.job_id
    RETURNING attempt.id, attempt.number, attempt.fencing_token, attempt.job_id, job.project_id, job.model,
        job.admission_tokens, attempt.may_use_headroom, attempt.provider_response_id,
        job.cancel_asked_at IS NOT NULL, extract(epoch FROM now() - attempt.calling_at)::float
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Due:
    """A call under way at the provider; `is_to_stop` says that its owner wants it cancelled."""

    call: Call
    response_id: str
    is_to_stop: bool
    age_seconds: float


def take_due(most: int, *, besides: Iterable[UUID] = ()) -> list[Due]:
    """Up to so many that are due, the longest due first; the next look at each is put off."""
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, [list(besides), most])
        rows = cursor.fetchall()
    if not rows:
        return []
    projects = Project.objects.select_related("organization").in_bulk({row[4] for row in rows})
    accesses = accesses_of(projects.values())
    families = {model: catalogue.family_of(model) for model in {row[5] for row in rows}}
    return [_due(row, projects, accesses, families) for row in rows]


def _due(row: tuple[Any, ...], projects: dict[UUID, Project], accesses: Any, families: dict[str, str]) -> Due:
    attempt_id, number, token, job_id, project_id, model, admission_tokens, may_use_headroom, *rest = row
    response_id, is_to_stop, age_seconds = rest
    call = Call(
        attempt_id=attempt_id,
        number=number,
        token=token,
        job_id=job_id,
        project=projects[project_id],
        access=accesses[project_id],
        family=families[model],
        admission_tokens=admission_tokens,
        may_use_headroom=may_use_headroom,
        body={},  # was sent
    )
    return Due(call, response_id, is_to_stop, age_seconds)
