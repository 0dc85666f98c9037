"""How much of the provider's limit is used at three times the demand, and how often it is crossed.

Bound by requests (500 a minute) and by tokens (450,000 a minute, calls of 25,000) in turn; alone, and beside a second
program that takes 40 % of the account unasked; against a plain Celery task. The first minute (or half, in short runs)
is not counted: the limiter begins with nothing, and has to learn of the second program.
"""

import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest

from config.embedded.processes import Program
from config.simulator.remote import Remote
from tests.benchmarks.load import books, knobs
from tests.benchmarks.load.fleet import BOUNDLESS, OUR_KEY, THEIR_KEY, Setup, Submitting, fleet

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(7200)]

WORKERS, DEMAND, SHARE = 4, 3, 0.4
OURS, THEIRS = OUR_KEY[-4:], THEIR_KEY[-4:]


@dataclass(frozen=True)
class Bound:
    """The limit that binds, and calls of a size that make it bind."""

    setup: Setup
    unit: str  # as the simulator counts it: requests or tokens
    limit: int
    cap: int

    @property
    def calls_per_minute(self) -> float:
        return self.limit if self.unit == "requests" else self.limit / self.cap


BOUNDS = {
    "RPM": Bound(Setup("o1-preview", 500, BOUNDLESS, workers=WORKERS, slots=100), "requests", 500, 1000),
    "TPM": Bound(Setup("o1-preview", 10_000, 450_000, workers=WORKERS, slots=100), "tokens", 450_000, 25_000),
}


@dataclass(frozen=True)
class Measured:
    """What the simulator counted once the first minute was over."""

    utilisation: float  # of what the second program left
    refused_ours: int
    refused_ours_at_first: int
    refused_theirs: int
    busiest_minute: int

    def told(self, limit: int) -> str:
        return (
            f"utilisation {self.utilisation:.1%}, 429s {self.refused_ours} (+{self.refused_ours_at_first} at first), "
            f"theirs {self.refused_theirs}, busiest minute {self.busiest_minute / limit:.1%} of the limit"
        )


@pytest.mark.parametrize(("beside", "call_seconds"), [(False, 2.0), (True, 2.0), (True, 20.0)])
@pytest.mark.parametrize("kind", BOUNDS)
def test_the_limit_is_used_and_not_crossed(durable_servers, tell, kind, beside, call_seconds):
    bound = BOUNDS[kind]
    with fleet(durable_servers, replace(bound.setup, call_seconds=call_seconds)) as ours, ExitStack() as cleanup:
        ours.simulator.reset()
        demand = bound.calls_per_minute * DEMAND
        # What is under way at once has to be there at the start, or demand would be less than it is said to be.
        ours.submit("load-0", ours.body(cap=bound.cap), int(demand / 6) + 1)
        flow = ours.begin_submitting(
            "load-0", ours.body(cap=bound.cap), int(demand * knobs.MINUTES), per_second=demand / 60
        )
        cleanup.callback(flow.process.kill)
        neighbour = begin_neighbour(ours.simulator, bound) if beside else None
        if neighbour:
            cleanup.callback(neighbour.process.kill)
        measured = measure(ours.simulator, bound, ours.keep_up)
        submitted = int(demand / 6) + 1 + int(flow.result()["accepted"])
        if neighbour:
            neighbour.stop()
        ours.drain()
        proof = books.prove(ours, submitted=submitted)
    told = f"beside 40 %, calls of {call_seconds:.0f} s" if beside else "alone"
    tell(f"{kind}, {knobs.MINUTES:g} min at {DEMAND} x demand, {told}: {measured.told(bound.limit)}")
    tell(f"  {proof}")


@pytest.mark.parametrize("kind", BOUNDS)
def test_a_plain_celery_task_at_the_same_limit(durable_servers, tell, kind):
    bound = BOUNDS[kind]
    setup = replace(bound.setup, call_seconds=2.0, workers=0, web=False)
    with fleet(durable_servers, setup) as ours:
        ours.stop()
        environment = {
            **os.environ,
            "PLAIN_BROKER": durable_servers.redis_url,
            "PLAIN_RATE_LIMIT": f"{bound.calls_per_minute / WORKERS:g}/m",
            "PLAIN_MODEL": bound.setup.model,
            "PLAIN_CAP": str(bound.cap),
            "OPENAI_BASE_URL": ours.simulator.base_url,
            "OPENAI_API_KEY": OUR_KEY,
        }
        ours.environment = environment
        celery = (sys.executable, "-m", "celery", "-A", "tests.benchmarks.load.plain_celery")
        demand = int(bound.calls_per_minute * DEMAND * knobs.MINUTES)
        send = f"from tests.benchmarks.load.plain_celery import ask\nfor n in range({demand}): ask.delay(str(n))"
        for number in range(WORKERS):
            options = (
                "worker",
                "-P",
                "threads",
                "-c",
                "100",
                "-n",
                f"plain{number}@{os.getpid()}",
                "--loglevel",
                "INFO",
            )
            ours.start("plain", Program(f"plain{number}", (*celery, *options)))
        for number in range(WORKERS):
            ours.wait_until(lambda n=number: " ready." in ours.log(f"plain{n}"), "a plain worker", seconds=60)
        ours.simulator.reset()
        ours.start("demand", Program("demand", (sys.executable, "-c", send)))
        measured = measure(ours.simulator, bound, lambda: None)
    tell(f"{kind}, {knobs.MINUTES:g} min at {DEMAND} x demand, plain Celery task: {measured.told(bound.limit)}")


def measure(simulator: Remote, bound: Bound, watch: Callable[[], None]) -> Measured:
    """Waits until the time is over, and compares the simulator's counters with those after the first minute."""
    began = time.monotonic()
    warm = min(60.0, knobs.MINUTES * 30)

    def until(seconds: float) -> tuple[float, dict[str, Any]]:
        while (left := began + seconds - time.monotonic()) > 0:
            watch()
            time.sleep(min(left, 0.5))
        return time.monotonic(), simulator.counters()

    first_at, first = until(warm)
    last_at, last = until(knobs.MINUTES * 60)
    unit = {"requests": "admitted", "tokens": "tokens"}[bound.unit]
    available = bound.limit / 60 * (last_at - first_at) - grown(first, last, THEIRS, unit)
    family = last["families"].get(bound.setup.model, {})
    return Measured(
        utilisation=grown(first, last, OURS, unit) / available,
        refused_ours=grown(first, last, OURS, "rate_limited"),
        refused_ours_at_first=of_key(first, OURS, "rate_limited"),
        refused_theirs=of_key(last, THEIRS, "rate_limited"),
        busiest_minute=family.get(f"most_{bound.unit}_in_a_minute", 0),
    )


def of_key(counters: dict[str, Any], key: str, name: str) -> int:
    return int(counters["keys"].get(key, {}).get(name, 0))


def grown(first: dict[str, Any], last: dict[str, Any], key: str, name: str) -> int:
    return of_key(last, key, name) - of_key(first, key, name)


def begin_neighbour(simulator: Remote, bound: Bound) -> Submitting:
    """A program that takes its share of the limit in calls of ordinary size."""
    cap = 1000 if bound.unit == "requests" else 10_000
    calls = bound.limit * SHARE / (1 if bound.unit == "requests" else cap)
    order = {
        "base_url": simulator.base_url,
        "key": THEIR_KEY,
        "model": bound.setup.model,
        "cap": cap,
        "per_minute": calls,
    }
    return Submitting("tests.benchmarks.load.neighbour", order)
