"""Jobs in line and calls in doubt: what waits, and for how long."""

from collections.abc import Iterator

from accounts.remembered import remembered
from billing.clock import database_now
from config.metrics.reading import rows
from config.metrics.text import Family, Kind, Sample, gauge
from jobs.states import AttemptStatus

# Jobs that are counted: spread over the queues, each to the same depth.
MOST_COUNTED = 100_000
FEWEST_OF_A_QUEUE = 100
COUNTED_EVERY_SECONDS = 5.0

# Both by the index of jobs in line, however many there are. A paused project's jobs wait for a person.
_LINES = """
    WITH line AS (
        SELECT queue.id, CASE WHEN project.paused_at IS NOT NULL THEN 'paused_project'
            ELSE COALESCE(queue.waiting_on->>'reason', 'capacity') END AS reason
        FROM jobs_queue queue JOIN accounts_project project ON project.id = queue.project_id
        WHERE EXISTS (
            SELECT FROM jobs_job WHERE queue_id = queue.id AND status = 'queued' AND run_after IS NULL
        )
    ), most AS (SELECT greatest(%(fewest)s, %(most)s / greatest(count(*), 1))::int AS of_a_queue FROM line)
    SELECT line.reason, sum(depth.jobs), COALESCE(extract(epoch FROM %(now)s - min(oldest.queued_at)), 0)
    FROM line CROSS JOIN most CROSS JOIN LATERAL (
        SELECT count(*) AS jobs FROM (
            SELECT FROM jobs_job WHERE queue_id = line.id AND status = 'queued' AND run_after IS NULL
            LIMIT most.of_a_queue
        ) AS counted
    ) AS depth CROSS JOIN LATERAL (
        SELECT queued_at FROM jobs_job WHERE queue_id = line.id AND status = 'queued' AND run_after IS NULL
        ORDER BY order_at, id LIMIT 1
    ) AS oldest
    GROUP BY line.reason ORDER BY line.reason
"""
_IN_DOUBT = f"""
    SELECT count(*), COALESCE(extract(epoch FROM %(now)s - min(calling_at)), 0) FROM jobs_attempt
    WHERE status = '{AttemptStatus.IN_DOUBT}'
"""  # noqa: S608


def families() -> Iterator[Family]:
    yield from _lines()
    count, oldest = rows(_IN_DOUBT, {"now": database_now()})[0]
    yield gauge("attempts_unresolved", "Calls whose outcome is not known; their holds stay.", count)
    yield gauge("attempts_unresolved_age_seconds", "Since the oldest of them began.", round(float(oldest), 3))


@remembered(COUNTED_EVERY_SECONDS)
def _lines() -> list[Family]:
    parameters = {"now": database_now(), "most": MOST_COUNTED, "fewest": FEWEST_OF_A_QUEUE}
    found = rows(_LINES, parameters)
    depths = tuple(Sample(int(depth), {"waiting_on": reason}) for reason, depth, _ in found)
    ages = tuple(Sample(round(float(age), 3), {"waiting_on": reason}) for reason, _, age in found)
    counted = f"Of many queues no more than {MOST_COUNTED} together are counted, or {FEWEST_OF_A_QUEUE} of each."
    return [
        Family("queue_depth", Kind.GAUGE, f"Jobs in line, by what their queue waits for. {counted}", depths),
        Family("queue_age_seconds", Kind.GAUGE, "Since the first job in any of those lines was queued.", ages),
    ]
