"""The money core against a plain model of it, through seeded schedules; a failing seed is printed with its steps.

SIMULATION_SEED=17 pytest tests/simulation/test_simulation.py              one schedule again
SIMULATION_SCHEDULES=2000 SIMULATION_STEPS=60 pytest tests/simulation      many long ones
"""

import os
import time

import pytest

from tests.simulation.running import run
from tests.simulation.schedule import schedule

STEPS = int(os.environ.get("SIMULATION_STEPS", "30"))
ONE = os.environ.get("SIMULATION_SEED")
SEEDS = [int(ONE)] if ONE else range(int(os.environ.get("SIMULATION_SCHEDULES", "16")))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.django_db
def test_the_product_does_what_the_model_says(seed, monkeypatch, record_property):
    began = time.perf_counter()
    run(schedule(seed, STEPS), monkeypatch)
    record_property("seconds", time.perf_counter() - began)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.django_db
def test_the_product_does_what_the_model_says_with_reserves(seed, monkeypatch):
    run(schedule(seed, STEPS, has_reserves=True), monkeypatch)


def test_a_seed_gives_the_same_schedule_each_time():
    assert schedule(7, 60) == schedule(7, 60)
    assert schedule(7, 60, has_reserves=True) == schedule(7, 60, has_reserves=True)
    assert schedule(7).steps != schedule(8).steps
