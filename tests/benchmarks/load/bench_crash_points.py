"""Processes that die at every step of the path, many times each: everything ends, once, and every sum is the same."""

import pytest

from jobs import dispatch, limiter
from jobs.crash_points import STEPS
from tests.benchmarks.load import knobs
from tests.flows.conftest import simulator, simulator_process  # noqa: F401 (fixtures)
from tests.flows.crashes import doomed
from tests.flows.test_crash_points import converge, die_at, prove

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.timeout(7200),
    pytest.mark.django_db(transaction=True, serialized_rollback=True),
]


def test_every_step_many_times(alice, simulator, monkeypatch, tell):  # noqa: F811
    monkeypatch.setattr(dispatch, "send", lambda attempt_ids: None)
    limiter.connection().flushdb()
    limiter.connection().set(limiter.BORN_KEY, "0.000")
    died = 0
    with doomed(simulator) as processes:
        for step in STEPS:
            for _ in range(knobs.CRASHES):
                died += die_at(step, processes, alice.api_key.api_key.pk)
                converge()
            prove(simulator)
    tell(f"{died} processes died at {len(STEPS)} steps, {knobs.CRASHES} times each: no drift")
