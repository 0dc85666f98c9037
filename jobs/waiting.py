"""What a queued job waits for, as people and programs are told: with numbers, and when it may start."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import connection

from billing.amounts import at_most
from billing.models import Measure
from billing.money import plain
from jobs import workers
from jobs.models import BreakerReason, Job, Queue
from jobs.queues import rate
from jobs.states import JobStatus

# Jobs ahead are counted no further.
MOST_COUNTED = 10_000
# A queue that starts less than this tells nothing of when its next job will.
LEAST_STARTS_PER_MINUTE = Decimal("0.01")
# When these are over, nothing tells.
_NOBODY_KNOWS = {"project_paused", *BreakerReason.values}
_AHEAD = """
    SELECT count(*) FROM (
        SELECT 1 FROM jobs_job WHERE queue_id = %s AND status = 'queued' AND run_after IS NULL
            AND (order_at, id) < (%s, %s) LIMIT %s
    ) AS ahead
"""
# The same for whole queues, of which a page shows many.
MOST_SHOWN = 1000
_IN_LINE = """
    SELECT next.id, counted.count
    FROM jobs_queue queue
    CROSS JOIN LATERAL (
        SELECT id FROM jobs_job WHERE queue_id = queue.id AND status = 'queued' AND run_after IS NULL
        ORDER BY order_at, id LIMIT 1
    ) AS next
    CROSS JOIN LATERAL (
        SELECT count(*) FROM (
            SELECT 1 FROM jobs_job WHERE queue_id = queue.id AND status = 'queued' AND run_after IS NULL LIMIT %s
        ) AS job
    ) AS counted
    WHERE queue.project_id = ANY(%s::uuid[])
"""


def waiting_on(job: Job) -> dict[str, Any] | None:
    """What the job waits for: for itself alone, else with its queue, else for a slot. None once it has left the queue.

    A budget has the job's own requirement beside its figures. Reads nothing but the job's own project and queue.
    """
    if job.status != JobStatus.QUEUED:
        return None
    if job.project.paused_at is not None:
        return {"reason": "project_paused", "message": job.project.paused_reason}
    if job.waiting_on is not None:
        return dict(job.waiting_on)
    told = dict(job.queue.waiting_on or {"reason": "capacity"})
    if told["reason"] == "budget":
        own = at_most(job.bound_usd, input_tokens=job.bound_input_tokens, output_tokens=job.bound_output_tokens)
        told["required"] = plain(told["measure"], own.of(Measure(told["measure"])))
    return told


def waiting_in_figures(job: Job, now: datetime) -> dict[str, Any] | None:
    """The same, with the jobs ahead of it in its queue, the call slots, and when it is expected to start.

    `jobs_ahead` counts up to 10,000, and `more_ahead` says that there are more. `expected_start` is an instant, or None
    where nothing tells.
    """
    told = waiting_on(job)
    if told is None:
        return None
    slots = workers.slots(now)
    if slots == 0 and told["reason"] != "project_paused":
        told = {"reason": "capacity"}
    if told["reason"] == "capacity":
        told |= {"slots": slots, "in_use": workers.calls_in_flight()}
    ahead = None if job.run_after else jobs_ahead(job)
    more = ahead is not None and ahead > MOST_COUNTED
    expected = _expected_start(job, told, None if more else ahead, now)
    return told | {
        "jobs_ahead": None if ahead is None else min(ahead, MOST_COUNTED),
        "more_ahead": more,
        "expected_start": f"{expected:%Y-%m-%dT%H:%M:%SZ}" if expected else None,
    }


def jobs_ahead(job: Job) -> int:
    """How many jobs of its queue start before it, counted to one more than the most."""
    with connection.cursor() as cursor:
        cursor.execute(_AHEAD, [job.queue_id, job.order_at, job.pk, MOST_COUNTED + 1])
        count: int = cursor.fetchone()[0]
    return count


def _expected_start(job: Job, told: dict[str, Any], ahead: int | None, now: datetime) -> datetime | None:
    if told["reason"] in _NOBODY_KNOWS or told.get("slots") == 0:
        return None
    if job.run_after is not None:
        return job.run_after
    if told["reason"] == "budget" and _is_spent(told):
        return datetime.fromisoformat(told["resets_at"])
    queue = job.queue
    per_minute = rate(queue.starts_per_minute, queue.started_at, 0, now)
    if ahead is None or per_minute < LEAST_STARTS_PER_MINUTE:
        return None
    return now + timedelta(minutes=float((ahead + 1) / per_minute))


def _is_spent(told: dict[str, Any]) -> bool:
    """Whether no call under way can make room for the job: what is spent stays spent until the window ends."""
    if "resets_at" not in told:
        return False
    return Decimal(told["spent"]) + Decimal(told["required"]) > Decimal(told["limit"])


@dataclass(frozen=True, slots=True)
class WaitingLine:
    """A queue that has jobs in line: how many (counted to one more than `MOST_SHOWN`), what the next one waits for.

    `first_start` and `last_start` are when its next job and the last of those counted may start; None: nothing tells.
    """

    queue: Queue
    jobs: int
    since: datetime
    told: dict[str, Any]
    first_start: datetime | None
    last_start: datetime | None


def lines_in(project_ids: Collection[UUID], now: datetime) -> list[WaitingLine]:
    """The queues of these projects that have jobs in line, the longest first. Five queries, however many there are."""
    with connection.cursor() as cursor:
        cursor.execute(_IN_LINE, [MOST_SHOWN + 1, list(project_ids)])
        found = dict(cursor.fetchall())
    if not found:
        return []
    jobs = Job.objects.select_related("queue", "project").in_bulk(list(found))
    slots, in_use = workers.slots(now), workers.calls_in_flight()
    lines = []
    for pk, count in found.items():
        job = jobs.get(pk)
        told = waiting_on(job) if job else None
        if job is None or told is None:
            continue  # it has left the queue since
        if slots == 0 and told["reason"] != "project_paused":
            told = {"reason": "capacity"}
        if told["reason"] == "capacity":
            told |= {"slots": slots, "in_use": in_use}
        first, last = (_expected_start(job, told, ahead, now) for ahead in (0, count - 1))
        lines.append(WaitingLine(job.queue, count, job.queued_at, told, first, None if count > MOST_SHOWN else last))
    return sorted(lines, key=lambda line: (-line.jobs, line.since))


def pausing_in(project_ids: Collection[UUID]) -> int:
    """How many queued jobs of these projects wait alone, for another try; counted to one more than `MOST_SHOWN`."""
    alone = Job.objects.filter(status=JobStatus.QUEUED, run_after__isnull=False, project_id__in=project_ids)
    return alone.order_by()[: MOST_SHOWN + 1].count()
