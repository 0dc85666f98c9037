"""Thousands of calls in flight in one worker process: time of its processor and memory for each, and none that fails.

Beside it the official client alone, in its two best settings, on the same simulator.
"""

import pytest

from tests.benchmarks.load import books, knobs, processor
from tests.benchmarks.load.fleet import BOUNDLESS, Fleet, Setup, Submitting, fleet, provider
from tests.benchmarks.load.watching import most_memory

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

MODEL = "o1-mini"
BESIDE = ("asyncio", "threads")


@pytest.fixture(scope="module")
def bare(durable_servers) -> dict[str, dict[str, float]]:
    """What the bare client needs for the first number of calls, by its kind."""
    found = {}
    for kind in BESIDE:
        folder = durable_servers.folder / f"bare-{kind}"
        folder.mkdir()
        with provider(folder, Setup(MODEL, BOUNDLESS, BOUNDLESS, knobs.CALL_SECONDS)) as simulator:
            order = {"base_url": simulator.base_url, "kind": kind, "model": MODEL, "calls": knobs.IN_FLIGHT[0]}
            found[kind] = Submitting("tests.benchmarks.load.bare_client", order).result()
    return found


@pytest.mark.parametrize("calls", knobs.IN_FLIGHT)
def test_one_worker_process_holds_them_all(durable_servers, tell, bare, calls):
    with fleet(durable_servers, Setup(MODEL, call_seconds=knobs.CALL_SECONDS, slots=calls)) as ours:
        # What every process has once is there after a first job.
        ours.submit("load-0", ours.body(), 20)
        ours.wait_until_done(20, seconds=120)
        ours.pause()
        ours.submit("load-0", ours.body(), calls)
        ours.stop("web")
        worker = ours.workers()[0].process.pid
        used, memory = processor.seconds(worker), processor.resident_kib(worker)
        with most_memory(worker) as most:
            ours.pause(paused=False)
            ours.wait_until_done(20 + calls, seconds=300 + knobs.CALL_SECONDS * 20)
        milliseconds = (processor.seconds(worker) - used) / calls * 1000
        in_flight = ours.simulator.counters()["max_in_flight"]
        calling = slowest_call(ours)
        ours.drain()
        proof = books.prove(ours, submitted=20 + calls)
    best = min(kind["milliseconds"] for kind in bare.values())
    tell(
        f"{calls} calls of {knobs.CALL_SECONDS:g} s in one process: {milliseconds:.2f} ms and "
        f"{(most[0] - memory) / calls:.0f} KiB a call, ratio to the bare client's best {milliseconds / best:.2f}"
    )
    for kind, said in bare.items():
        tell(
            f"  bare client, {kind}, {knobs.IN_FLIGHT[0]} calls: {said['milliseconds']:.2f} ms and {said['kib']:.0f} "
            f"KiB a call, the slowest {said['slowest_seconds']:.1f} s, {said['failed']:.0f} failed"
        )
    tell(f"  {in_flight} in flight at once, from call to booking at most {calling:.1f} s; {proof}")


def slowest_call(ours: Fleet) -> float:
    """Seconds from the moment before sending to the moment of booking."""
    slowest = "SELECT extract(epoch FROM max(finished_at - calling_at)) FROM jobs_attempt WHERE finished_at IS NOT NULL"
    return float(ours.sql(slowest)[0][0])
