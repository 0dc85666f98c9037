"""What stands in line: the queues that have a job to start, and the jobs at their heads.

A queue's line is a partial index, and so is the list of queues that have one: what is read here follows from how many
queues and jobs are looked at, and not from how many wait.
"""

import json
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import connection

from billing.arrays import columns
from jobs.dispatch.shares import Party

# The recursion jumps from one queue to the next along the index of all lines. In one order, so that of two who had the
# same the same one is first in each round.
_PRESENT = """
    WITH RECURSIVE ready (id) AS (
        (SELECT queue_id FROM jobs_job WHERE status = 'queued' AND run_after IS NULL ORDER BY queue_id LIMIT 1)
        UNION ALL
        SELECT (
            SELECT queue_id FROM jobs_job
            WHERE status = 'queued' AND run_after IS NULL AND queue_id > ready.id ORDER BY queue_id LIMIT 1
        ) FROM ready WHERE ready.id IS NOT NULL
    ), created (id, calls, requests, tokens) AS (
        SELECT job.queue_id, count(*), count(*) FILTER (WHERE attempt.fencing_token IS NULL),
            COALESCE(sum(job.admission_tokens) FILTER (WHERE attempt.fencing_token IS NULL), 0)
        FROM jobs_attempt attempt JOIN jobs_job job ON job.id = attempt.job_id
        WHERE attempt.status = 'created' GROUP BY job.queue_id
    )
    SELECT queue.id, queue.family, queue.project_id, project.organization_id,
        project.dispatch_weight, own.begun_ns, own.served_ns,
        organization.dispatch_weight, whole.begun_ns, whole.served_ns, whole.clock_ns,
        ready.id IS NOT NULL AND project.paused_at IS NULL AND (queue.retry_at IS NULL OR queue.retry_at <= now()),
        created.calls, created.requests, created.tokens::bigint,
        queue.waiting_on, queue.waiting_at, queue.probe, queue.starts_per_minute, queue.started_at
    FROM ready
    FULL JOIN created USING (id)
    JOIN jobs_queue queue USING (id)
    JOIN accounts_project project ON project.id = queue.project_id
    JOIN accounts_organization organization ON organization.id = project.organization_id
    LEFT JOIN jobs_share own ON own.organization_id = organization.id AND own.project_id = project.id
    LEFT JOIN jobs_share whole ON whole.organization_id = organization.id AND whole.project_id IS NULL
    ORDER BY queue.id
"""
_CLOCK = "SELECT COALESCE(max(begun_ns), 0) FROM jobs_share WHERE project_id IS NULL"
# Whoever is being cancelled this very moment is passed over.
_HEADS = """
    SELECT head.* FROM unnest(%s::uuid[], %s::int[], %s::timestamptz[], %s::uuid[]) AS wanted (id, count, after, than)
    CROSS JOIN LATERAL (
        SELECT id, queue_id, order_at, project_id, created_by_id, api_key_id, model, service_tier, bound_usd,
            bound_input_tokens, bound_output_tokens, admission_tokens, max_cost_usd, deadline, attempt_count,
            reasoning_effort, prompt_class
        FROM jobs_job job
        WHERE job.queue_id = wanted.id AND job.status = 'queued' AND job.run_after IS NULL
            AND (job.order_at, job.id) > (wanted.after, wanted.than)
        ORDER BY job.order_at, job.id LIMIT wanted.count
        FOR UPDATE SKIP LOCKED
    ) head
"""
BEGINNING: tuple[object, UUID] = ("-infinity", UUID(int=0))
# So many of the oldest jobs are tried first, whatever else is tried of a line whose budget is short.
OLDEST = 5


@dataclass(frozen=True, slots=True)
class Candidate:
    """A queued job, as much of it as decides whether it starts."""

    id: UUID
    queue_id: UUID
    order_at: datetime
    project_id: UUID
    created_by_id: int
    api_key_id: UUID | None
    model: str
    service_tier: str
    bound_usd: Decimal
    bound_input_tokens: int
    bound_output_tokens: int
    admission_tokens: int
    max_cost_usd: Decimal | None
    deadline: datetime | None
    attempt_count: int
    reasoning_effort: str
    prompt_class: str


@dataclass(slots=True)
class Line:
    """A queue that has jobs in line, or attempts that wait for their turn at its rate limits."""

    id: UUID
    family: str
    organization: Party
    project: Party
    is_open: bool
    created: int
    unclaimed: int
    unclaimed_tokens: int
    waiting_on: dict[str, Any] | None
    waiting_at: datetime | None
    probe: dict[str, Any] | None
    starts_per_minute: Decimal
    started_at: datetime | None
    # In this round:
    heads: deque[Candidate] = field(default_factory=deque)
    read: int = 0
    is_read_up: bool = False
    is_at_end: bool = False
    last: Candidate | None = None
    picked: int = 0
    told: dict[str, Any] | None = None
    was_looked_at: bool = False


def present() -> tuple[int, list[Line]]:
    """The clock of all organizations, and every queue that has jobs in line or attempts that wait for their turn."""
    with connection.cursor() as cursor:
        cursor.execute(_CLOCK)
        clock_ns: int = cursor.fetchone()[0]
        cursor.execute(_PRESENT)
        rows = cursor.fetchall()
    organizations: dict[UUID, Party] = {}
    projects: dict[UUID, Party] = {}
    lines = []
    for pk, family, project, owner, weight, begun, served, of_all, whole_begun, whole_served, clock, *rest in rows:
        if owner not in organizations:
            organizations[owner] = Party(owner, of_all, whole_begun or 0, whole_served or 0, clock or 0)
        if project not in projects:
            projects[project] = Party(project, weight, begun or 0, served or 0)
        is_open, created, unclaimed, tokens, *told = rest
        in_line = (created or 0, unclaimed or 0, tokens or 0)
        lines.append(Line(pk, family, organizations[owner], projects[project], is_open, *in_line, *_decoded(told)))
    return clock_ns, lines


def read_heads(wanted: Iterable[tuple[Line, int]]) -> None:
    """Reads on in these lines, so many jobs each, and locks them against cancelling until the end of the round.

    A line that is being looked through for what fits its budget has the oldest of it before those that follow next.
    """
    asked: list[tuple[UUID, int, object, UUID]] = []
    by_id = {}
    for line, count in wanted:
        by_id[line.id] = (line, count)
        if line.last is None and line.probe is not None:
            asked.append((line.id, OLDEST, *BEGINNING))
        asked.append((line.id, count, *_place(line)))
    found: dict[UUID, dict[UUID, Candidate]] = {pk: {} for pk in by_id}
    for candidate in _heads(asked):
        found[candidate.queue_id][candidate.id] = candidate
    for pk, (line, count) in by_id.items():
        line.heads.extend(found[pk].values())
        line.is_read_up = line.probe is not None or len(found[pk]) < count
        line.is_at_end = len(found[pk]) < count
        line.last = line.heads[-1] if line.heads else line.last
        line.read += count


def _heads(asked: Sequence[tuple[UUID, int, object, UUID]]) -> list[Candidate]:
    with connection.cursor() as cursor:
        cursor.execute(_HEADS, columns(asked))
        found = [Candidate(*row) for row in cursor.fetchall()]
    return sorted(found, key=lambda candidate: (candidate.order_at, candidate.id))


def _place(line: Line) -> tuple[object, UUID]:
    if line.last is not None:
        return line.last.order_at, line.last.id
    return (line.probe["order_at"], UUID(line.probe["id"])) if line.probe else BEGINNING


def _decoded(values: Sequence[Any]) -> tuple[Any, ...]:
    waiting_on, waiting_at, probe, *rest = values
    return (json.loads(waiting_on) if waiting_on else None, waiting_at, json.loads(probe) if probe else None, *rest)
