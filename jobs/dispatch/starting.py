"""What a round writes: holds, attempts and running jobs; what queues wait for; what projects had."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import F
from uuid_utils.compat import uuid7

from accounts.errors import DomainError
from billing import ledger
from billing.arrays import columns
from billing.ledger import Claim, Refusal
from billing.limits import Owner
from billing.prices import terms_of
from jobs.crash_points import reach
from jobs.dispatch import probes
from jobs.dispatch.choice import Choice, Pick
from jobs.dispatch.facts import Facts
from jobs.dispatch.lines import Candidate, Line
from jobs.dispatch.shares import Shares
from jobs.learning.likely import likely_cost
from jobs.models import Attempt, Job
from jobs.queues import rate
from jobs.states import JobStatus
from jobs.transitions import move_job, move_jobs

# What a queue waits for is written when it changes, and otherwise this often.
TOLD_SECONDS = 5
# A job that waits alone is looked at again after this.
OWN_WAIT_SECONDS = 5
# A queue whose budget has no room is looked at again after this; later where there are more such queues than this many.
BUDGET_RETRY_SECONDS = 1.0
BUDGET_RETRIES_PER_SECOND = 50
_SHARES = """
    INSERT INTO jobs_share (organization_id, project_id, begun_ns, served_ns, clock_ns, started_at)
    SELECT *, %s FROM unnest(%s::uuid[], %s::uuid[], %s::bigint[], %s::bigint[], %s::bigint[])
    ON CONFLICT (organization_id, project_id) DO UPDATE SET begun_ns = excluded.begun_ns,
        served_ns = excluded.served_ns, clock_ns = excluded.clock_ns, started_at = excluded.started_at
"""
_QUEUES = """
    UPDATE jobs_queue AS queue SET waiting_on = new.waiting_on, waiting_at = new.waiting_at, retry_at = new.retry_at,
        probe = new.probe, starts_per_minute = new.starts_per_minute, started_at = new.started_at
    FROM unnest(%s::uuid[], %s::jsonb[], %s::timestamptz[], %s::timestamptz[], %s::jsonb[], %s::numeric[],
        %s::timestamptz[]) AS new (id, waiting_on, waiting_at, retry_at, probe, starts_per_minute, started_at)
    WHERE queue.id = new.id
"""


def start(choice: Choice, facts: Facts) -> tuple[list[Pick], dict[UUID, Refusal], list[Attempt]]:
    """Holds what the chosen jobs may come to, and starts those whose hold was granted.

    Returns their picks, the refusals by job, and the attempts made.
    """
    claims = [_claim(pick, facts) for pick in choice.picks]
    refusals = {refusal.claim.reference: refusal for refusal in ledger.reserve(claims)}
    reach("t2.held")
    granted = [
        (pick, claim) for pick, claim in zip(choice.picks, claims, strict=True) if claim.reference not in refusals
    ]
    refused = {
        pick.candidate.id: refusals[claim.reference]
        for pick, claim in zip(choice.picks, claims, strict=True)
        if claim.reference in refusals
    }
    attempts = _attempts(granted, facts.now)
    return [pick for pick, _ in granted], refused, attempts


def _claim(pick: Pick, facts: Facts) -> Claim:
    job, terms = pick.candidate, pick.terms
    project = facts.projects[job.project_id]
    return Claim(
        reference=uuid7(),
        amount_usd=terms.amount_usd,
        input_tokens=job.bound_input_tokens,
        output_tokens=job.bound_output_tokens,
        owner=Owner(project, project.team_id, job.created_by_id, job.api_key_id, terms.model),
        service_tier=terms.price.service_tier,
        price=terms.price,
        likely=likely_cost(project.organization_id, job, lambda: terms_of(terms.price)),
    )


def _attempts(granted: Sequence[tuple[Pick, Claim]], now: datetime) -> list[Attempt]:
    if not granted:
        return []
    moved = move_jobs(
        [pick.candidate.id for pick, _ in granted],
        to=JobStatus.RUNNING,
        come_from=JobStatus.QUEUED,
        waiting_on=None,
        run_after=None,
        attempt_count=F("attempt_count") + 1,
    )
    assert moved == len(granted), "the rows are locked by this transaction"
    lease = now + timedelta(seconds=settings.CLAIM_LEASE_SECONDS)
    return Attempt.objects.bulk_create(
        Attempt(
            id=claim.reference,
            job_id=pick.candidate.id,
            number=pick.candidate.attempt_count + 1,
            may_use_headroom=pick.use_headroom,
            created_at=now,
            lease_expires_at=lease,
        )
        for pick, claim in granted
    )


def fail(failures: Iterable[tuple[Candidate, DomainError]], now: datetime) -> None:
    """Ends jobs that can never start."""
    for candidate, reason in failures:
        move_job(
            candidate.id,
            to=JobStatus.FAILED,
            come_from=[JobStatus.QUEUED],
            finished_at=now,
            error=why_not_started(reason.code, reason.message),
            waiting_on=None,
        )


def why_not_started(code: str, message: str) -> dict[str, Any]:
    """The error of a job that ends before any call."""
    return {"code": code, "message": message, "type": "not_started", "status": None, "param": None}


def set_aside(waits: Iterable[tuple[Candidate, dict[str, Any]]], now: datetime) -> None:
    """Takes jobs that wait for themselves alone out of their lines for a while."""
    again = now + timedelta(seconds=OWN_WAIT_SECONDS)
    for candidate, told in waits:
        Job.objects.filter(pk=candidate.id).update(waiting_on=told, run_after=again)


def pay(granted: Iterable[Pick], shares: Shares, now: datetime) -> None:
    """Books the starts in the shares of their projects and organizations, where nothing of this round is booked."""
    for pick in granted:
        shares.pay(pick.line.organization, pick.line.project, pick.cost_ns)
    rows: dict[tuple[UUID, UUID | None], tuple[int, int, int]] = {}
    for organization, project in shares.changed.values():
        rows[organization.id, None] = (organization.begun_ns, organization.served_ns, organization.clock_ns)
        rows[organization.id, project.id] = (project.begun_ns, project.served_ns, 0)
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(_SHARES, [now, *columns([(*key, *values) for key, values in rows.items()])])


def tell(lines: Iterable[Line], choice: Choice, refused: dict[UUID, Refusal], now: datetime) -> None:
    """Writes on each queue that was looked at what its jobs wait for, how far it was looked through, and its rate."""
    looked_at = [line for line in lines if line.was_looked_at]
    short = sum(bool(line.waiting_on and line.waiting_on["reason"] == "budget") for line in lines)
    pause = timedelta(seconds=max(BUDGET_RETRY_SECONDS, short / BUDGET_RETRIES_PER_SECOND))
    rows = [row for line in looked_at if (row := _row(line, choice.tried.get(line.id, []), refused, pause, now))]
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(_QUEUES, columns(rows))


def _row(
    line: Line, tried: Sequence[Candidate], refused: dict[UUID, Refusal], pause: timedelta, now: datetime
) -> tuple[Any, ...] | None:
    """The row of a queue after a round; None where nothing of it is new."""
    without = [candidate for candidate in tried if candidate.id in refused]
    started = line.picked - len(without)
    probe = probes.next_probe(line, tried, without, now)
    told, is_short = line.told, bool(without)
    if without:
        told = {"reason": "budget", **refused[without[0].id].describe()}
    elif line.probe is not None and tried and told is None and not started:
        told, is_short = line.waiting_on, True  # all that was looked at waits behind older ones of its size
    is_news = _is_news(line, told, now)
    if not (started or is_short or is_news or probe != line.probe):
        return None
    rated = (rate(line.starts_per_minute, line.started_at, started, now), now)
    return (
        line.id,
        _text(told if is_news else line.waiting_on),
        now if is_news else line.waiting_at,
        now + pause if is_short and not started else None,
        _text(probe),
        *(rated if started else (line.starts_per_minute, line.started_at)),
    )


def _is_news(line: Line, told: dict[str, Any] | None, now: datetime) -> bool:
    if told is None or line.waiting_on is None or line.waiting_at is None:
        return told != line.waiting_on
    is_other = any(told.get(name) != line.waiting_on.get(name) for name in ("reason", "limit", "model", "scope", "id"))
    return is_other or now - line.waiting_at > timedelta(seconds=TOLD_SECONDS)


def _text(value: dict[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value, default=str)
