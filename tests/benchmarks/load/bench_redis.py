"""Redis is emptied, stopped and restarted while jobs are under way: none is lost, none is billed twice.

The provider's limits are on, so that turns which were forgotten with it would show as 429s.
"""

import time

import pytest
import redis

from tests.benchmarks.load import books, knobs
from tests.benchmarks.load.fleet import OUR_KEY, Fleet, Setup, fleet

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

SETUP = Setup("o1-mini", 1000, 150_000_000, call_seconds=1.0, workers=2, slots=50)


def test_no_job_is_lost_with_redis(durable_servers, tell):
    jobs = knobs.OUTAGE_JOBS
    with fleet(durable_servers, SETUP) as ours:
        # All are there before the first starts, so that each outage finds some under way.
        ours.pause()
        ours.submit("load-0", ours.body(), jobs)
        ours.pause(paused=False)
        began = time.monotonic()
        told = []
        for name, outage in (
            ("emptied", lambda: redis.Redis.from_url(durable_servers.redis_url).flushall()),
            (f"stopped for {knobs.OUTAGE_SECONDS:g} s", lambda: stop(durable_servers)),
            ("killed and restarted", durable_servers.restart_valkey),
        ):
            told.append(f"{name}: {survive(ours, outage, jobs)}")
        ours.wait_until_done(jobs, seconds=300 + jobs)
        seconds = time.monotonic() - began
        ours.drain()
        counters = ours.simulator.counters()
        refused = counters["keys"][OUR_KEY[-4:]]["rate_limited"]
        proof = books.prove(ours, submitted=jobs)
    tell(f"Redis away under load, {jobs} jobs in {seconds:.0f} s at 1,000 a minute: {refused} 429s in all")
    for line in told:
        tell(f"  {line}")
    tell(f"  {proof}")


def stop(servers) -> None:
    servers.stop_valkey_for_now()
    time.sleep(knobs.OUTAGE_SECONDS)
    servers.let_valkey_go_on()


def survive(ours: Fleet, outage, jobs: int) -> str:
    """Waits for a fifth of the calls, for the outage, and for the first call after it; says how that went."""
    billed = min(ours.simulator.counters()["billed"] + jobs // 5, jobs)
    ours.wait_until(lambda: ours.simulator.counters()["billed"] >= billed, f"{billed} calls", seconds=300)
    refused = ours.simulator.counters()["rate_limited"]
    outage()
    over = time.monotonic()
    # Calls that were under way come home all the same: what counts is the first that began afterwards.
    arrived = min(ours.simulator.counters()["requests"] + 1, jobs)
    ours.wait_until(lambda: ours.simulator.counters()["requests"] >= arrived, "a call after it", seconds=180, pause=0.1)
    seconds = time.monotonic() - over
    return f"next call after {seconds:.1f} s, 429s {ours.simulator.counters()['rate_limited'] - refused}"
