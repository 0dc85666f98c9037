"""A project that asks for one job a second, alone and beside one that submits thousands: how long its jobs wait.

From the moment its client sends a job to the moment its call comes in at the provider; where call slots bind, and where
requests per minute do. Beside the flood twice: while it comes in, at the rate that the throttle of keys lets one send
or, if so told, as fast as it is accepted; and once it stands in line. Alone is before the flood, and again after it,
with the flood paused.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import pytest

from tests.benchmarks.load import books, knobs
from tests.benchmarks.load.fleet import Fleet, Setup, fleet

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(7200)]

FLOODING, QUIET = "load-0", "load-1"
CALL_SECONDS = 1.0
# A limiter that is new takes its limits for used up, and leaves seconds of them alone.
WARM = 8
AT_ONCE = 10  # jobs of the quiet project that one submitter sends
SETUPS = {
    "slots bind": Setup("o1-mini", call_seconds=CALL_SECONDS, slots=20, projects=2),
    "RPM binds": Setup("o1-preview", 500, call_seconds=CALL_SECONDS, slots=200, projects=2),
}
STEPS = ("accepted", "looked for", "claimed", "begun", "arrived")
# A round of the dispatcher begins before it waits for the one before it; a claim extends the lease by a fixed time.
_STEPS = """
    SELECT attempt.id, job.id, extract(epoch FROM job.queued_at), extract(epoch FROM attempt.created_at),
        extract(epoch FROM attempt.lease_expires_at) - 25, extract(epoch FROM attempt.calling_at)
    FROM jobs_attempt attempt JOIN jobs_job job ON job.id = attempt.job_id
    WHERE job.id = ANY(%s::uuid[]) AND attempt.status <> 'abandoned'
"""


@dataclass(frozen=True)
class Waits:
    """Seconds that jobs waited, sorted, and the median of each step on the way."""

    seconds: list[float]
    steps: dict[str, float]

    @property
    def median(self) -> float:
        return self.seconds[len(self.seconds) // 2]

    @property
    def p95(self) -> float:
        return self.seconds[int(len(self.seconds) * 0.95)]

    def told(self) -> str:
        steps = ", ".join(f"{name} {1000 * seconds:.0f}" for name, seconds in self.steps.items())
        return (
            f"{len(self.seconds)} jobs: median {1000 * self.median:.0f} ms, p95 {1000 * self.p95:.0f} ms, "
            f"longest {1000 * self.seconds[-1]:.0f} ms (medians: {steps})"
        )

    def over(self, alone: "Waits") -> str:
        return f"{self.median / alone.median:.2f} x alone, p95 {self.p95 / alone.p95:.2f} x"


@pytest.mark.parametrize("what", SETUPS)
def test_a_quiet_project_beside_a_flood(durable_servers, tell, what):
    jobs = int(knobs.QUIET_SECONDS)
    with fleet(durable_servers, SETUPS[what]) as ours:
        ours.submit(QUIET, ours.body(), WARM, per_second=1.0)
        sent = submit_for(ours, jobs)
        flood = ours.begin_submitting(
            FLOODING, ours.body(), knobs.FLOOD, per_second=knobs.FLOOD_PER_SECOND or None, connections=8
        )
        # The flood has to be there: a good part of it queued, and all that can be started started.
        deep = "SELECT count(*) > %s FROM jobs_job WHERE status = 'queued'"
        depth = min(knobs.FLOOD // 4, 500)
        ours.wait_until(lambda: bool(ours.sql(deep, depth)[0][0]), "a flood", seconds=600)
        coming = submit_while(ours, lambda: not has_come(ours))
        in_line = submit_for(ours, jobs)
        left = ours.sql("SELECT count(*) FROM jobs_job WHERE status = 'queued'")[0][0]
        ours.sql("UPDATE accounts_project SET paused_at = now() WHERE slug = %s", FLOODING)
        under_way = "SELECT count(*) FROM jobs_attempt WHERE status IN ('created', 'calling')"
        ours.wait_until(lambda: ours.sql(under_way)[0][0] == 0, "the flood's calls to end", seconds=60)
        sent |= submit_for(ours, jobs)
        said = flood.result()
        submitted = WARM + len(sent) + len(coming) + len(in_line) + int(said["accepted"])
        ours.drain()
        alone, while_it_comes, beside = (waits(ours, some) for some in (sent, coming, in_line))
        proof = books.prove(ours, submitted=submitted)
    tell(f"one job a second, {what}: alone {alone.told()}")
    tell(f"  while {knobs.FLOOD} jobs of another project come in ({said['accepted'] / said['seconds']:.0f}/s):")
    tell(f"    {while_it_comes.over(alone)}: {while_it_comes.told()}")
    tell(f"  beside them in line ({left} left at the end):")
    tell(f"    {beside.over(alone)}: {beside.told()}")
    tell(f"  {proof}")


def submit_for(ours: Fleet, jobs: int) -> dict[str, float]:
    """Submits one job a second for the quiet project; when each was sent."""
    said = ours.submit(QUIET, ours.body(), jobs, per_second=1.0)
    time.sleep(1.0)  # to the next one, whoever sends it
    return {str(job): float(at) for job, at in said["submitted"]}


def submit_while(ours: Fleet, holds: Callable[[], bool]) -> dict[str, float]:
    """The same, as long as it holds."""
    sent = submit_for(ours, AT_ONCE)
    while holds():
        sent |= submit_for(ours, AT_ONCE)
    return sent


def has_come(ours: Fleet) -> bool:
    """Whether the whole flood was accepted."""
    come = "SELECT count(*) FROM jobs_job job JOIN accounts_project project ON project.id = project_id WHERE slug = %s"
    return bool(ours.sql(come, FLOODING)[0][0] >= knobs.FLOOD)


def waits(ours: Fleet, sent: dict[str, float]) -> Waits:
    """How long these jobs waited; each was called once."""
    # A line is written when the call ends, and calls take equally long.
    arrived = {
        line["client_request_id"]: datetime.fromisoformat(line["created_at"]).timestamp() - CALL_SECONDS
        for line in ours.simulator.bill(lines=True)["lines"]
    }
    ways = [
        (sent[str(job)], *(float(at) for at in steps), arrived[str(attempt)])
        for attempt, job, *steps in ours.sql(_STEPS, list(sent))
    ]
    assert len(ways) == len(sent), (len(ways), len(sent))
    spent = zip(*([later - before for before, later in pairwise(way)] for way in ways), strict=True)
    return Waits(
        sorted(way[-1] - way[0] for way in ways),
        {name: sorted(values)[len(values) // 2] for name, values in zip(STEPS, spent, strict=True)},
    )
