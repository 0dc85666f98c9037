"""Whether workers take the calls that they are sent: a process that lives and takes nothing looks well otherwise."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection

from jobs import workers
from jobs.states import AttemptStatus

# Claiming takes milliseconds; a worker that is full gives a message back after half a second.
UNCLAIMED_SECONDS = 2.0
# With calls to claim, somebody has begun one within this.
IDLE_SECONDS = 10.0
# Newest attempts that are looked at: more than wait to be claimed at any time.
NEWEST = 500

# What the rescue has given back a moment ago was not claimed either.
_RECENT = f"""
    SELECT max(calling_at), COALESCE(bool_or(
        fencing_token IS NULL AND (
            status = '{AttemptStatus.CREATED}' AND created_at < %(now)s - make_interval(secs => {UNCLAIMED_SECONDS})
            OR status = '{AttemptStatus.ABANDONED}' AND finished_at > %(now)s - make_interval(secs => {IDLE_SECONDS})
        )
    ), false)
    FROM (SELECT * FROM jobs_attempt ORDER BY id DESC LIMIT {NEWEST}) AS attempt
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Claiming:
    """When the last call began, and whether calls wait that no worker has claimed."""

    last_at: datetime | None
    is_waited_for: bool


def claiming(now: datetime) -> Claiming:
    """What the newest attempts tell of claims."""
    with connection.cursor() as cursor:
        cursor.execute(_RECENT, {"now": now})
        last_at, is_waited_for = cursor.fetchone()
    return Claiming(last_at, is_waited_for)


def fault(now: datetime) -> str | None:
    """What is wrong with the workers of calls, in words; None when they live, and claim what there is to claim."""
    if not workers.alive(now).exists():
        return "no worker of calls is alive"
    found = claiming(now)
    has_begun = found.last_at is not None and found.last_at > now - timedelta(seconds=IDLE_SECONDS)
    return "calls wait that no worker claims" if found.is_waited_for and not has_begun else None
