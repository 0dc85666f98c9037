"""One run of the chaos: load, what goes wrong meanwhile, the wait for recovery, and what was seen."""

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.embedded import processes
from tests.benchmarks.load.fleet import Fleet
from tests.chaos.driver import Driver, Happened
from tests.chaos.knobs import Knobs
from tests.chaos.proof import Books, prove
from tests.chaos.sampler import Sample, Sampler
from tests.chaos.schedule import plan

TICK_SECONDS, TELL_SECONDS = 0.05, 5.0
# The provider goes wrong in these ways, each for an equal share of the calls that are to fail.
FAULTS = ("cut_after_billing", "cut_before_billing", "500", "503", "429", "garbage")
# From the end of the load: until every job has ended, or nothing but doubts is left and they have not changed so long.
RECOVERY_SECONDS, STEADY_SECONDS = 300.0, 60.0
# The client's last repetitions.
CLIENT_SECONDS = 120.0


@dataclass(frozen=True)
class Run:
    """What was seen of one run."""

    knobs: Knobs
    trail: list[Happened]
    report: dict[str, Any]  # the client's, see tests.chaos.client
    samples: list[Sample]
    books: Books
    recovery_seconds: float


def run(fleet: Fleet, knobs: Knobs, tell: Callable[[str], None], *, patience_seconds: float = RECOVERY_SECONDS) -> Run:
    """Load and chaos, until everything has recovered, or until patience for that has run out."""
    with ExitStack() as cleanup:
        sampler = Sampler(fleet.database_url, fleet.simulator)
        sampler.start()
        cleanup.callback(sampler.stop)
        for kind in FAULTS if knobs.faults else ():
            fleet.simulator.fault(kind, count=None, probability=knobs.faults / len(FAULTS))
        report = fleet.folder / "client.json"
        client = _start_client(fleet, knobs, report)
        cleanup.callback(lambda: client.poll() is None and client.kill())
        driver = Driver(fleet, plan(knobs))
        watch = _Watch(driver, sampler, knobs, tell)
        watch.until(lambda: driver.is_through and client.poll() is not None, knobs.seconds + CLIENT_SECONDS)
        assert report.exists(), f"not every job was accepted: {knobs}, {fleet.describe()}"
        began = time.monotonic()
        fleet.simulator.clear_faults()
        watch.until(_Recovered(sampler, knobs.jobs), patience_seconds)
        recovery_seconds = time.monotonic() - began
    said = json.loads(report.read_text())
    books = prove(fleet, {key: job for key, job, _ in said["accepted"]})
    return Run(knobs, driver.trail, said, sampler.samples, books, recovery_seconds)


def _start_client(fleet: Fleet, knobs: Knobs, report: Path) -> Any:
    order = {
        "address": fleet.address,
        "key": fleet.keys["load-0"],
        "body": fleet.body(),
        "count": knobs.jobs,
        "seconds": knobs.seconds,
        "report": str(report),
        "seed": knobs.seed,
    }
    command = [sys.executable, "-m", "tests.chaos.client", json.dumps(order)]
    with (fleet.folder / "client.log").open("ab") as log:
        return processes.start(command, environment=os.environ, output=log)


class _Watch:
    """Keeps the driver going, and tells how things stand every few seconds."""

    def __init__(self, driver: Driver, sampler: Sampler, knobs: Knobs, tell: Callable[[str], None]) -> None:
        self._driver, self._sampler, self._knobs, self._tell = driver, sampler, knobs, tell
        self._began = self._told = time.monotonic()

    def until(self, holds: Callable[[], bool], seconds: float) -> None:
        """Returns when it holds, and after so many seconds at the latest."""
        give_up_at = time.monotonic() + seconds
        while not holds() and time.monotonic() < give_up_at:
            self._driver.tick()
            if time.monotonic() - self._told >= TELL_SECONDS:
                self._told = time.monotonic()
                self._tell(self._line())
            time.sleep(TICK_SECONDS)

    def _line(self) -> str:
        went_wrong = ", ".join(f"{count} x {action}" for action, count in self._driver.counts.items()) or "nothing yet"
        sample, seconds = self._sampler.last, time.monotonic() - self._began
        if sample is None or time.monotonic() - sample.at > TELL_SECONDS:
            return f"{seconds:4.0f} s  (PostgreSQL is away)  {went_wrong}"
        line = f"{sample.jobs - sample.done - sample.in_doubt - sample.in_flight} in line"
        if sample.waiting_on:
            line += f" ({sample.waiting_on})"
        return (
            f"{seconds:4.0f} s  {sample.jobs}/{self._knobs.jobs} jobs, {line}, {sample.in_flight} in flight, "
            f"{sample.in_doubt} in doubt, {sample.done} ended; standstill {max(sample.stuck_seconds, 0):.0f} s; "
            f"bill {sample.bill:.4f}, ledger {sample.spent:.4f}, held {sample.held:.4f}; {went_wrong}"
        )


class _Recovered:
    """Whether every job has ended; or all but doubts, whose number has not changed for long."""

    def __init__(self, sampler: Sampler, jobs: int) -> None:
        self._sampler, self._jobs = sampler, jobs
        self._in_doubt, self._since = -1, time.monotonic()

    def __call__(self) -> bool:
        sample = self._sampler.last
        if sample is None:
            return False
        if sample.in_doubt != self._in_doubt:
            self._in_doubt, self._since = sample.in_doubt, sample.at
        if sample.done + sample.in_doubt < self._jobs:
            return False
        return sample.in_doubt == 0 or sample.at - self._since > STEADY_SECONDS
