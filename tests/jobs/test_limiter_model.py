"""The limiter's arithmetic against a plain model of the provider, over random schedules, by a clock that is set.

The scripts are the real ones on a real Valkey; only their clock is a key.
"""

import random
from collections.abc import Iterator
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs import limiter
from tests.jobs.limiter_world import (
    KINDS,
    KINDS_WITH_OTHERS,
    MINUTE_MS,
    REQUESTS,
    TOKENS,
    Step,
    World,
    scripts_by_a_clock_to_be_set,
)

SHARE = st.floats(0.0, 1.0)
MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def schedules(kinds: tuple[str, ...]) -> st.SearchStrategy[list[Step]]:
    return st.lists(st.tuples(st.sampled_from(kinds), SHARE, SHARE), max_size=60)


def at_random(seed: int, kinds: tuple[str, ...], length: int = 120) -> list[Step]:
    chance = random.Random(seed)
    return [(chance.choice(kinds), chance.random(), chance.random()) for _ in range(length)]


@pytest.fixture(autouse=True)
def _counting_for_an_hour() -> Iterator[None]:
    limiter.connection().set(limiter.BORN_KEY, "0.000")
    yield
    limiter.connection().set(limiter.BORN_KEY, "0.000")


@MANY
@given(schedules(KINDS))
def test_nothing_is_refused_whoever_comes_late_and_whatever_is_given_back(steps):
    with scripts_by_a_clock_to_be_set():
        assert World().play(steps) == []


@MANY
@given(schedules(KINDS_WITH_OTHERS))
def test_what_others_use_is_respected_from_the_first_answer_that_tells_of_it(steps):
    with scripts_by_a_clock_to_be_set():
        assert World(lateness=False).play(steps) == []


@MANY
@given(st.lists(st.tuples(st.integers(1, TOKENS), st.integers(0, 3_000)), max_size=40))
def test_every_turn_is_the_earliest_that_a_plain_model_allows(asked):
    """No tokens are left unused but the second that calls may be late by."""
    taken: list[tuple[Fraction, int, int]] = []
    with scripts_by_a_clock_to_be_set():
        world = World()
        for tokens, pause in asked:
            world.pass_time(pause)
            admission = world.ask(tokens, horizon=10_000.0)
            start = Fraction(admission.turn.instants_us[1], 1000) - World.EPOCH_MS
            assert abs(start - earliest(taken, tokens, Fraction(world.now))) <= Fraction(1, 100)
            taken.append((start, 1, tokens))


def earliest(taken: list[tuple[Fraction, int, int]], tokens: int, now: Fraction) -> Fraction:
    """By the definition: from each turn given on, what was asked may not exceed the burst and what drains meanwhile."""
    instant = max([now, *(start for start, _, _ in taken)])
    for limit, amount, of in ((REQUESTS, 1, 1), (TOKENS, tokens, 2)):
        rate = Fraction(limit, MINUTE_MS)
        burst = limit - rate * limiter.LATENESS_MS
        asked = Fraction(amount)
        for entry in reversed(taken):
            asked += entry[of]
            instant = max(instant, entry[0] + (asked - burst) / rate)
            if entry is taken[0] or asked <= 0:
                break
    return instant


def test_a_saturated_limit_is_used_to_the_last_turn():
    with scripts_by_a_clock_to_be_set():
        world = World(lateness=False)
        world.pass_time(0)
        for _ in range(6_000):
            while world.ask(1, horizon=10.0):
                pass
            world.pass_time(1_000)
            if world.now >= 10 * MINUTE_MS:
                break
        assert world.refused == []
        # Asked for the last time a second ago: the burst less its second, what drained since, and what lies ahead.
        assert world.given == (REQUESTS - 1) + (10 * REQUESTS - 1) + 10


def test_turns_given_back_at_once_leave_no_trace():
    with scripts_by_a_clock_to_be_set():
        world = World()
        world.pass_time(0)
        for _ in range(30):
            world.ask(TOKENS // 10)
        before = limiter.connection().hgetall(limiter._key(world.account, "o1-mini"))
        first = world.ask(200)
        limiter.give_back(world.coming.pop().turn)
        assert limiter.connection().hgetall(limiter._key(world.account, "o1-mini")).keys() == before.keys()
        assert world.ask(200).wait_seconds == first.wait_seconds


def test_a_turn_that_many_came_after_is_given_back_where_the_limit_is_busy():
    """All that is used now may be what came after it, unless it is more: so much is free again."""
    with scripts_by_a_clock_to_be_set():
        world = World()
        world.pass_time(0)
        for _ in range(57):
            world.ask(1)
        turns = [call.turn for call in world.coming]
        assert world.ask(1, horizon=0.0) is not None
        assert world.ask(1, horizon=0.0) is not None
        assert world.ask(1, horizon=0.0) is None
        for turn in turns[:10]:
            limiter.give_back(turn)
        assert [world.ask(1, horizon=0.0) is not None for _ in range(11)] == [True] * 10 + [False]


# --- Each guard matters -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("guard", "without", "kinds"),
    [
        ("- b.rate * lateness", "", KINDS),
        ("if from > start then", "if from > start and place < 2 then", KINDS),
        ("b.used, b.known, b.taken = b.used + amount", "b.used, b.known, b.taken = b.used", KINDS),
        ("burst_now(b) + amount - capacity", "burst_now(b) - capacity", KINDS),
        ("math.min(level - amount + idle, later)", "level - amount", KINDS),
        ("b.used = math.max(b.used, b.known)", "", KINDS_WITH_OTHERS),
    ],
)
def test_without_a_guard_the_provider_refuses(guard, without, kinds):
    with scripts_by_a_clock_to_be_set({guard: without}):
        for seed in range(150):
            if World(lateness=kinds is KINDS).play(at_random(seed, kinds)):
                return
    pytest.fail("no schedule of 150 notices that it is missing")


def refused_after_a_late_return() -> list[str]:
    """A call is lost, others use as much, an answer tells of it, and only then the lost turn is given back."""
    world = World(lateness=False)
    world.pass_time(0)
    world.ask(2_000)
    lost = world.coming.pop()
    world.use_by_others(2_000)
    world.ask(100)
    world.pass_time(0)
    world.do("answer", 0.0, 0.0)
    limiter.give_back(lost.turn)
    world.ask(4_500)
    world.pass_time(MINUTE_MS)
    return world.refused


def test_a_turn_given_back_late_does_not_hide_what_others_use():
    with scripts_by_a_clock_to_be_set():
        assert refused_after_a_late_return() == []


@pytest.mark.parametrize(
    ("guard", "without"),
    [
        ("math.max(b.known, without(b.used))", "without(b.used)"),
        ("if given + 0.001 >= b.heard then", "if true then"),
    ],
)
def test_without_a_guard_a_late_return_hides_what_others_use(guard, without):
    with scripts_by_a_clock_to_be_set({guard: without}):
        assert refused_after_a_late_return()


@pytest.mark.parametrize("kinds", [KINDS, KINDS_WITH_OTHERS])
def test_with_all_guards_the_same_schedules_are_clean(kinds):
    with scripts_by_a_clock_to_be_set():
        for seed in range(150):
            assert World(lateness=kinds is KINDS).play(at_random(seed, kinds)) == []
