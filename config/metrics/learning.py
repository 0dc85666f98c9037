"""Answered jobs that nothing was learnt of yet. The learner takes them off its list within seconds."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from accounts.remembered import remembered
from billing.clock import database_now
from config.metrics.reading import rows
from config.metrics.text import Family, gauge

# As they are learnt of next: each that is counted is looked up among the jobs.
MOST_COUNTED = 100_000
COUNTED_EVERY_SECONDS = 5.0

_BACKLOG = """
    SELECT count(*), COALESCE(extract(epoch FROM greatest(%(now)s - min(job.finished_at), interval '0')), 0)
    FROM (SELECT job_id FROM jobs_unlearnt ORDER BY job_id LIMIT %(most)s) AS unlearnt
    LEFT JOIN jobs_job job ON job.id = unlearnt.job_id
"""


class Backlog(NamedTuple):
    """How many jobs wait to be learnt of, and how long ago the first of them was answered."""

    jobs: int
    age: timedelta


def backlog(now: datetime) -> Backlog:
    """What waits to be learnt of, as far as it is counted."""
    jobs, seconds = rows(_BACKLOG, {"now": now, "most": MOST_COUNTED})[0]
    return Backlog(jobs, timedelta(seconds=float(seconds)))


def families() -> Iterator[Family]:
    yield from _counted()


@remembered(COUNTED_EVERY_SECONDS)
def _counted() -> list[Family]:
    found = backlog(database_now())
    told = f"Answered jobs that nothing was learnt of yet. No more than {MOST_COUNTED} are counted."
    age = round(found.age.total_seconds(), 3)
    return [
        gauge("jobs_unlearnt", told, found.jobs),
        gauge("jobs_unlearnt_age_seconds", "Since the first of them was answered.", age),
    ]
