"""How many call slots there are, are used, and would be used: what an autoscaler goes by."""

from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from jobs import workers

# Jobs that wait are counted no further: no autoscaler adds so many slots at once.
MOST_COUNTED = 10_000
# A queue whose next job waits for a rate limit or a budget would start nothing more with more slots.
_WAITING_FOR_A_SLOT = """
    SELECT count(*) FROM (
        SELECT 1 FROM jobs_queue queue JOIN accounts_project project ON project.id = queue.project_id
            CROSS JOIN LATERAL (
                SELECT 1 FROM jobs_job WHERE queue_id = queue.id AND status = 'queued' AND run_after IS NULL LIMIT %s
            ) AS job
        WHERE project.paused_at IS NULL AND COALESCE(queue.waiting_on->>'reason', 'capacity') = 'capacity' LIMIT %s
    ) AS waiting
"""


@dataclass(frozen=True, slots=True)
class Demand:
    """Call slots of the live workers: all, in use, and how many would be in use if there were as many as one likes."""

    workers: int
    slots: int
    in_flight: int
    wanted: int


def demand(now: datetime) -> Demand:
    """The demand for call slots now. Jobs that a rate limit, a budget or a person keeps waiting want none."""
    with connection.cursor() as cursor:
        cursor.execute(_WAITING_FOR_A_SLOT, [MOST_COUNTED, MOST_COUNTED])
        waiting: int = cursor.fetchone()[0]
    in_flight = workers.calls_in_flight()
    return Demand(workers.alive(now).count(), workers.slots(now), in_flight, in_flight + waiting)
