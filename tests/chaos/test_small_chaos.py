"""A few seconds of the chaos on the servers of the tests: two workers die amid calls, and Redis is emptied."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from jobs import limiter
from tests.benchmarks.load.fleet import Setup, fleet
from tests.chaos import table
from tests.chaos.knobs import Knobs
from tests.chaos.running import run

SETUP = Setup(workers=2, slots=20, environment={"BURSAR_CALL_DEADLINE_SECONDS": "20"})
# By this seed it is calls that both kills meet.
KNOBS = Knobs(seed=9, minutes=0.1, jobs=50, kills=2, stops=0, flushes=1, valkey_kills=0, postgres_kills=0, faults=0.0)
PATIENCE_SECONDS = 100.0


class ServersOfTheTests:
    """What a fleet asks of its servers; nobody takes these down."""

    pids: dict[str, int] = {}

    def __init__(self, folder: Path) -> None:
        self.folder, self.redis_url = folder, settings.REDIS_URL

    @contextmanager
    def database(self) -> Iterator[str]:
        own = connection.settings_dict
        yield f"postgres://{own['USER']}:{own['PASSWORD']}@{own['HOST']}:{own['PORT']}/{own['NAME']}"

    def keep_up(self, *, after_seconds: float) -> None:
        """Whoever started them does."""


@pytest.mark.timeout(600)  # a machine that does much else starts processes slowly
@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_workers_killed_in_the_middle_of_calls_and_an_emptied_redis_lose_no_job_and_no_cent(tmp_path):
    with fleet(ServersOfTheTests(tmp_path), SETUP) as ours:
        limiter.connection().set(limiter.BORN_KEY, "0.000")  # Redis has counted for long: calls begin at once
        ours.simulator.set_latency(0.2, 1.0)
        seen = run(ours, KNOBS, print, patience_seconds=PATIENCE_SECONDS)
    assert table.findings(seen) == [], table.table(seen)
    assert sorted(str(happened.event) for happened in seen.trail) == ["flush", "kill calls", "kill calls"]
    assert seen.books.billed_calls > 0
