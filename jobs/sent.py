"""What PostgreSQL says was sent: from it a limit of a day is counted again when Redis has forgotten."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection

from accounts.models import Project
from billing.clock import database_now
from jobs import catalogue
from jobs.credentials import Access, access_of

DAY = timedelta(days=1)
# Two windows: what was sent before has drained by now, whatever it was.
LOOKED_BACK = 2 * DAY
SLOT_SECONDS = 600
# Of an attempt that was made before and called within the time looked at.
LONGEST_WAIT = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Sent:
    """How much a project sent by the end of a slot, `seconds_ago`; of the slot under way that is now."""

    seconds_ago: float
    requests: int
    tokens: int
    project_id: UUID | None = None


def sent_of(family: str, is_account: Callable[[Access], bool]) -> list[Sent]:
    """What one account of the provider was sent for a model family in the last two days, the oldest first.

    What others sent on the account is not known here.
    """
    now = database_now()
    with connection.cursor() as cursor:
        # Ids of attempts begin with the time of their making (UUID version 7): a range of the primary key.
        cursor.execute(
            """
            SELECT floor(extract(epoch FROM %(now)s - coalesce(attempt.calling_at, %(now)s)) / %(slot)s) AS slot,
                   job.project_id, job.model, count(*), sum(job.admission_tokens)
            FROM jobs_attempt attempt JOIN jobs_job job ON job.id = attempt.job_id
            WHERE attempt.id >= %(first)s
              AND (attempt.calling_at >= %(since)s
                   OR (attempt.status = 'created' AND attempt.fencing_token IS NOT NULL))
            GROUP BY 1, 2, 3 ORDER BY 1 DESC
            """,
            {
                "now": now,
                "slot": SLOT_SECONDS,
                "since": now - LOOKED_BACK,
                "first": _first_id_at(now - LOOKED_BACK - LONGEST_WAIT),
            },
        )
        rows = cursor.fetchall()
    projects = Project.objects.filter(pk__in={project_id for _, project_id, *_ in rows})
    ours = {project.pk for project in projects if is_account(access_of(project))}
    families = {model: _family(model) for _, _, model, *_ in rows}
    return [
        Sent(max(float(slot), 0.0) * SLOT_SECONDS, requests, int(tokens), project_id)
        for slot, project_id, model, requests, tokens in rows
        if project_id in ours and families[model] == family
    ]


def used_now(amounts: Iterable[tuple[float, int]], *, limit: int, window_seconds: float) -> float:
    """What is used of a limit now, after so many seconds ago so much was used, the oldest first: never too little."""
    used, last = float(limit), None
    for seconds_ago, amount in [(LOOKED_BACK.total_seconds(), 0), *amounts, (0.0, 0)]:
        if last is not None:
            used = max(0.0, used - (last - seconds_ago) * limit / window_seconds)
        used += amount
        last = seconds_ago
    return min(used, float(limit))


def _family(model: str) -> str:
    entry = catalogue.find(model)
    return entry.model.family if entry else model


def _first_id_at(instant: datetime) -> UUID:
    """The smallest UUID of version 7 that is made at this instant."""
    return UUID(int=int(instant.timestamp() * 1000) << 80)
