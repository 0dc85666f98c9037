"""Somebody else takes 40 % of the account behind our back, while a flood of ours uses the rest."""

import random
from collections.abc import Callable, Iterator

import pytest

from jobs import limiter
from tests.jobs.limiter_others import MINUTE_MS, Others, Shared, bursts, steady
from tests.jobs.limiter_world import scripts_by_a_clock_to_be_set

SHARE = 0.4
BEGINS = MINUTE_MS
SETTLED = 2 * MINUTE_MS
DURATIONS: dict[str, Callable[[random.Random], float]] = {
    "0.1 s": lambda chance: 100.0,
    "5 s": lambda chance: 5_000.0,
    "20 s": lambda chance: 20_000.0,
    "1 to 20 s": lambda chance: chance.uniform(1_000, 20_000),
}
OTHERS: dict[str, Callable[[int], Others]] = {
    "steady": lambda ends: steady(SHARE, BEGINS, ends, random.Random(3)),
    "bursts, 10 s": lambda ends: bursts(SHARE, BEGINS, ends, 10_000),
    "bursts, 30 s": lambda ends: bursts(SHARE, BEGINS, ends, 30_000),
}


@pytest.fixture(autouse=True)
def _counting_for_an_hour() -> Iterator[None]:
    limiter.connection().set(limiter.BORN_KEY, "0.000")
    yield
    limiter.connection().set(limiter.BORN_KEY, "0.000")


def played(calls: str, others: str, *, minutes: int, by_tokens: bool = False, changes=None, ends: int = 0) -> Shared:
    with scripts_by_a_clock_to_be_set(changes):
        told = OTHERS[others](ends or minutes * MINUTE_MS)
        return Shared(told, DURATIONS[calls], bound_by_tokens=by_tokens, minutes=minutes).play()


@pytest.mark.parametrize(("calls", "by_tokens"), [("0.1 s", True), ("20 s", False), ("1 to 20 s", True)])
def test_after_the_first_sign_of_somebody_else_nothing_is_refused_and_the_rest_is_used(calls, by_tokens):
    world = played(calls, "steady", minutes=10, by_tokens=by_tokens)
    assert world.refused_after_the_first_sign() == 0
    assert world.used_of_the_rest(SETTLED, 10 * MINUTE_MS) >= 0.95


def test_when_they_stop_the_whole_limit_is_used_again_within_a_minute():
    world = played("20 s", "steady", minutes=6, ends=3 * MINUTE_MS)
    assert world.used_of_the_rest(4 * MINUTE_MS, 6 * MINUTE_MS) >= 0.99
    assert world.refused_after_the_first_sign() == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"MARGIN * b.foreign": "0 * b.foreign"},  # nobody expects that they go on
        {"b.foreign + (amount / ms": "(amount / ms"},
        {"stated_used) + since": "stated_used)"},  # what we took since is not in the word
    ],
)
def test_without_the_forecast_calls_are_refused_again_and_again(changes):
    world = played("20 s", "steady", minutes=5, changes=changes)
    assert world.refused_after_the_first_sign() > 0


def test_a_burst_that_arrives_in_another_order_than_its_turns_is_nobody_elses():
    with scripts_by_a_clock_to_be_set():
        alone = Shared(iter(()), DURATIONS["5 s"], minutes=1).play()
    assert alone.refused == []
    assert alone.used_of_the_rest(10_000, 50_000) >= 0.99


def test_without_its_guard_such_a_burst_stops_everybody():
    with scripts_by_a_clock_to_be_set({"after - room - late": "after - late"}):
        alone = Shared(iter(()), DURATIONS["5 s"], minutes=1).play()
    assert alone.used_of_the_rest(10_000, 50_000) < 0.9
