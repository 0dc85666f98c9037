"""Looking up doubts at the provider, many at a time, and settling what is found to the truth."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from time import monotonic
from uuid import UUID

from django.conf import settings
from django.db import connection

from accounts.models import Project
from billing.arrays import columns
from billing.clock import database_now
from jobs.crash_points import reach
from jobs.credentials import Access, accesses_of
from jobs.execution.booking import settle_all
from jobs.provider import Answer, Clients
from jobs.recovery import schedule
from jobs.recovery.lookup import LookFailed, find
from jobs.states import DoubtStatus

logger = logging.getLogger(__name__)

AT_ONCE = 100
# Requests under way together: each is a row at the provider, and none may be in the way of calls.
CONCURRENTLY = 16
# A round ends after this; the next one goes on. One that died leaves its doubts to be taken again after the lease.
ROUND_SECONDS = 20.0
LEASE_SECONDS = 120
THROTTLED_PAUSE = timedelta(seconds=30)

_DUE = f"""
    WITH due AS (
        UPDATE jobs_doubt SET next_look_at = now() + make_interval(secs => %s) WHERE attempt_id IN (
            SELECT attempt_id FROM jobs_doubt WHERE status = '{DoubtStatus.OPEN}' AND next_look_at <= now()
            ORDER BY next_look_at LIMIT %s FOR UPDATE SKIP LOCKED
        ) RETURNING attempt_id, opened_at
    )
    SELECT due.attempt_id, attempt.fencing_token, attempt.job_id, job.project_id, due.opened_at
    FROM due JOIN jobs_attempt attempt ON attempt.id = due.attempt_id JOIN jobs_job job ON job.id = attempt.job_id
    ORDER BY due.attempt_id
"""  # noqa: S608
_MISSED = f"""
    UPDATE jobs_doubt AS doubt
    SET looks = looks + 1, looked_at = now(), last_look = new.said, was_missed = new.was_missed,
        next_look_at = new.next_look_at
    FROM unnest(%s::uuid[], %s::text[], %s::boolean[], %s::timestamptz[]) AS new (id, said, was_missed, next_look_at)
    WHERE doubt.attempt_id = new.id AND doubt.status = '{DoubtStatus.OPEN}'
"""  # noqa: S608
_FOUND = """
    UPDATE jobs_doubt SET looks = looks + 1, looked_at = now(), last_look = 'found' WHERE attempt_id = ANY(%s::uuid[])
"""
# One round at a time in a process: the threads of a control worker have other work as well.
_round = Lock()


@dataclass(frozen=True, slots=True)
class Doubted:
    """An attempt in doubt, with what its look needs."""

    attempt_id: UUID
    token: UUID
    job_id: UUID
    opened_at: datetime
    access: Access = field(repr=False)


def look_up() -> int:
    """Looks up the doubts whose next look is due; returns how many were settled."""
    if not _round.acquire(blocking=False):
        return 0
    try:
        settled, give_up_at = 0, monotonic() + ROUND_SECONDS
        while monotonic() < give_up_at and (due := _take_due()):
            settled += _look(due)
        return settled
    finally:
        _round.release()


def _take_due() -> list[Doubted]:
    """Doubts whose look is due, ours for as long as the lease."""
    with connection.cursor() as cursor:
        cursor.execute(_DUE, [LEASE_SECONDS, AT_ONCE])
        rows = cursor.fetchall()
    accesses = accesses_of(Project.objects.filter(pk__in={project_id for _, _, _, project_id, _ in rows}))
    reach("look.taken")
    return [
        Doubted(attempt_id, token, job_id, opened_at, accesses[project_id])
        for attempt_id, token, job_id, project_id, opened_at in rows
    ]


def _look(due: Sequence[Doubted]) -> int:
    """Looks up each once; returns how many were settled."""
    if not connection.in_atomic_block:
        connection.close()  # not kept from others for as long as the provider takes
    looked = list(zip(due, asyncio.run(_find_all(due)), strict=True))
    found = [(doubt, result) for doubt, result in looked if isinstance(result, Answer)]
    _note_misses([(doubt, result) for doubt, result in looked if not isinstance(result, Answer)])
    reach("look.found")
    return _settle(found)


async def _find_all(due: Sequence[Doubted]) -> list[Answer | LookFailed | None]:
    limit = asyncio.Semaphore(CONCURRENTLY)
    throttled: dict[Access, LookFailed] = {}

    async def look(doubt: Doubted) -> Answer | LookFailed | None:
        async with limit:
            if doubt.access in throttled:
                return throttled[doubt.access]
            try:
                return await find(clients, doubt.access, doubt.attempt_id)
            except LookFailed as failed:
                if failed.is_throttled:
                    throttled[doubt.access] = failed
                return failed

    async with Clients() as clients:
        return await asyncio.gather(*map(look, due))


def _settle(found: Sequence[tuple[Doubted, Answer]]) -> int:
    """Books found answers, together or, where one stands in the way of the others, each alone."""
    if not found:
        return 0
    try:
        settled = len(settle_all(found, doubt=DoubtStatus.FOUND))
    except Exception:
        logger.exception("%d found answers were not booked", len(found))
        return sum(_settle([each]) for each in found) if len(found) > 1 else 0
    with connection.cursor() as cursor:
        cursor.execute(_FOUND, [[doubt.attempt_id for doubt, _ in found]])
    reach("look.settled")
    logger.info("settled %d doubts by what the provider keeps", settled)
    return settled


def _note_misses(missed: Sequence[tuple[Doubted, LookFailed | None]]) -> None:
    if not missed:
        return
    now = database_now()
    rows = []
    for doubt, failed in missed:
        again = schedule.next_look(doubt.opened_at, now, call_seconds=settings.CALL_DEADLINE_SECONDS)
        if failed and failed.is_throttled and again:
            again = max(again, now + THROTTLED_PAUSE)
        elif failed and failed.is_useless:
            again = None
        said = str(failed) if failed else "the provider does not have it"
        rows.append((doubt.attempt_id, said[:300], failed is None, again))
    with connection.cursor() as cursor:
        cursor.execute(_MISSED, columns(rows))
