"""A project that asks for one job a second, alone and beside one that has submitted thousands: how long its jobs wait.

From the moment its client sends a job to the moment its call comes in at the provider; where call slots bind, and where
requests per minute do.
"""

from dataclasses import dataclass
from datetime import datetime

import pytest

from tests.benchmarks.load import books, knobs
from tests.benchmarks.load.fleet import Fleet, Setup, fleet

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(7200)]

FLOODING, QUIET = "load-0", "load-1"
CALL_SECONDS = 1.0
SETUPS = {
    "slots bind": Setup("o1-mini", call_seconds=CALL_SECONDS, slots=20, projects=2),
    "RPM binds": Setup("o1-preview", 500, call_seconds=CALL_SECONDS, slots=200, projects=2),
}


@dataclass(frozen=True)
class Waits:
    median: float
    p95: float
    arrived: int

    def told(self, alone: "Waits") -> str:
        return (
            f"median {self.median:.2f} s ({self.median / alone.median:.2f} x alone), "
            f"p95 {self.p95:.2f} s ({self.p95 / alone.p95:.2f} x alone)"
        )


@pytest.mark.parametrize("what", SETUPS)
def test_a_quiet_project_beside_a_flood(durable_servers, tell, what):
    jobs = int(knobs.QUIET_SECONDS)
    with fleet(durable_servers, SETUPS[what]) as ours:
        ours.submit(QUIET, ours.body(), 5, per_second=1.0)
        alone = waits(ours, jobs)
        flood = ours.begin_submitting(FLOODING, ours.body(), knobs.FLOOD)
        # The flood has to be there: a good part of it queued, and all that can be started started.
        deep = "SELECT count(*) > %s FROM jobs_job WHERE status = 'queued'"
        depth = min(knobs.FLOOD // 4, 1000)
        ours.wait_until(lambda: bool(ours.sql(deep, depth)[0][0]), "a flood", seconds=600)
        beside = waits(ours, jobs)
        left = ours.sql("SELECT count(*) FROM jobs_job WHERE status = 'queued'")[0][0]
        submitted = 5 + 2 * jobs + int(flood.result()["accepted"])
        ours.drain()
        proof = books.prove(ours, submitted=submitted)
    tell(f"one job a second, {what}: alone median {alone.median:.2f} s, p95 {alone.p95:.2f} s")
    tell(f"  beside {knobs.FLOOD} jobs of another project ({left} left at the end): {beside.told(alone)}")
    tell(f"  {proof}")


def waits(ours: Fleet, jobs: int) -> Waits:
    """Submits one job a second for the quiet project and waits for their calls."""
    said = ours.submit(QUIET, ours.body(), jobs, per_second=1.0)
    sent = {str(job): float(at) for job, at in said["submitted"]}

    def arrived() -> dict[str, float]:
        attempts = ours.sql("SELECT id, job_id FROM jobs_attempt WHERE job_id = ANY(%s::uuid[])", list(sent))
        job_of = {str(attempt): str(job) for attempt, job in attempts}
        lines = ours.simulator.bill(lines=True)["lines"]
        return {
            # A line is written when the call ends, and calls take equally long.
            job_of[line["client_request_id"]]: datetime.fromisoformat(line["created_at"]).timestamp() - CALL_SECONDS
            for line in lines
            if line["client_request_id"] in job_of
        }

    ours.wait_until(lambda: len(arrived()) == len(sent), "the quiet project's calls", seconds=900, pause=2.0)
    seconds = sorted(at - sent[job] for job, at in arrived().items())
    return Waits(seconds[len(seconds) // 2], seconds[int(len(seconds) * 0.95)], len(seconds))
