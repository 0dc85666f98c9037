"""A simulator on a real socket for all tests of it, as it was at the start before each of them."""

from collections.abc import Iterator

import pytest
from openai import OpenAI

from config.simulator.running import RunningSimulator
from tests.simulator.clients import connect


@pytest.fixture(scope="session")
def _simulator() -> Iterator[RunningSimulator]:
    with RunningSimulator() as simulator:
        yield simulator


@pytest.fixture
def simulator(_simulator: RunningSimulator) -> RunningSimulator:
    _simulator.reset()
    _simulator.clear_faults()
    _simulator.set_latency(0)
    return _simulator


@pytest.fixture
def client(simulator: RunningSimulator) -> Iterator[OpenAI]:
    with connect(simulator) as client:
        yield client
