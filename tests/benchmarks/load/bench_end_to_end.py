"""Jobs from submission to settlement with a provider that answers at once: what they cost, by process.

Processor time and not the clock is counted, so that what else the machine does hardly matters.
"""

import pytest

from tests.benchmarks.load import books, knobs, profiled
from tests.benchmarks.load.fleet import Setup, fleet

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

WARM_UP = 100


def test_processor_time_per_job_by_process(durable_servers, tell):
    with fleet(durable_servers, Setup(slots=200, profile=knobs.PROFILE)) as ours:
        ours.submit("load-0", ours.body(), WARM_UP)
        ours.wait_until_done(WARM_UP, seconds=120)
        before = ours.seconds()
        said = ours.submit("load-0", ours.body(), knobs.JOBS)
        ours.wait_until_done(WARM_UP + knobs.JOBS, seconds=60 + knobs.JOBS)
        after = ours.seconds()
        ours.drain()
        batches = {
            name: ours.sql(f"SELECT count(*) / count(DISTINCT {column})::float FROM jobs_attempt")[0][0]
            for name, column in (("dispatch", "created_at"), ("beginning", "calling_at"), ("booking", "finished_at"))
        }
        proof = books.prove(ours, submitted=WARM_UP + knobs.JOBS)
        if knobs.PROFILE:
            ours.stop(knobs.PROFILE, grace_seconds=30)
            tell(profiled.printed(ours.folder / "profile"))
    milliseconds = {role: (after[role] - before[role]) / knobs.JOBS * 1000 for role in after}
    total = sum(milliseconds.values())
    tell(f"end to end, {knobs.JOBS} jobs: {1000 / total:,.0f} jobs per CPU-second of ours, {total:.2f} ms a job")
    tell("  " + ", ".join(f"{role} {used:.2f}" for role, used in sorted(milliseconds.items(), key=lambda kv: -kv[1])))
    tell("  jobs at a time: " + ", ".join(f"{name} {jobs:.1f}" for name, jobs in batches.items()))
    tell(f"  submitted {said['accepted'] / said['seconds']:,.0f}/s, answered in {said['median_seconds'] * 1000:.0f} ms")
    tell(f"  {proof}")
