"""Load on a whole Bursar while processes are killed, stopped, emptied and started again; then three sums are compared.

`make chaos` runs it. The knobs are in docs/benchmarks.md; a run is repeated by those that it prints.
"""

import os
import shutil
from pathlib import Path

import pytest

from tests.benchmarks.load.fleet import Fleet, Setup, fleet
from tests.chaos import knobs, table
from tests.chaos.running import run

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(7200)]

SETUP = Setup(
    "o1-mini",
    requests_per_minute=6000,
    tokens_per_minute=150_000_000,
    workers=3,
    slots=60,
    environment={"BURSAR_CALL_DEADLINE_SECONDS": "30"},
)
SHORTEST_CALL_SECONDS, LONGEST_CALL_SECONDS = 0.2, 4.0


def test_nothing_is_lost_or_paid_twice_whatever_dies(durable_servers, tell):
    wanted = knobs.from_environment()
    tell(f"chaos: {wanted}")
    with fleet(durable_servers, SETUP) as ours:
        ours.simulator.set_latency(SHORTEST_CALL_SECONDS, LONGEST_CALL_SECONDS)
        seen = run(ours, wanted, tell)
        tell(table.table(seen))
        broken = [*table.findings(seen), *table.unrecovered(seen), *table.delays(seen)]
        if broken:
            tell("\n".join(["  what happened:", *(f"    {happened}" for happened in seen.trail)]))
        keep_logs(ours)
    assert not broken, "\n".join([*broken, f"again: {wanted} make chaos"])


def keep_logs(ours: Fleet) -> None:
    """Copies the logs of all processes into CHAOS_LOGS, if it names a folder; otherwise they go with the servers."""
    if not (folder := os.environ.get("CHAOS_LOGS")):
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    for file in (*ours.folder.glob("*.log"), *ours.folder.glob("client.json"), *ours.servers.folder.glob("*.log")):
        shutil.copy(file, folder)
