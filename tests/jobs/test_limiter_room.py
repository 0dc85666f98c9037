"""What a dispatcher sees of the limits, many turns at once, and what is left to those who have had little.

On a real Valkey, by a clock that is set.
"""

import random
from collections.abc import Iterator
from math import inf
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import ProjectRateLimit, RateLimit
from jobs import limiter
from jobs.limiter import AHEAD_SECONDS, Asking, Bucket, Go, Never, NotYet, asking_for
from jobs.limiter.buckets import MINUTE_MS
from jobs.stated_limits import PROJECT_TOKENS
from tests.jobs.limiter_world import (
    CLOCK,
    FAMILY,
    PROJECT_REQUESTS,
    REQUESTS,
    TOKENS,
    World,
    scripts_by_a_clock_to_be_set,
)
from tests.jobs.test_limiter_model import KINDS_WITH_OTHERS, MANY, SHARE, schedules

LIMITS = RateLimit(requests_per_minute=REQUESTS, tokens_per_minute=TOKENS)
PROJECT = Bucket("project:1:requests_per_minute", PROJECT_REQUESTS, MINUTE_MS, 1)


@pytest.fixture(autouse=True)
def _counting_for_an_hour() -> Iterator[None]:
    limiter.connection().set(limiter.BORN_KEY, "0.000")
    yield
    limiter.connection().set(limiter.BORN_KEY, "0.000")


@pytest.fixture
def clock() -> Iterator:
    with scripts_by_a_clock_to_be_set():
        yield lambda ms: limiter.connection().set(CLOCK, World.EPOCH_MS + ms)


def asking(account: str, **more) -> Asking:
    return Asking(**{"account": account, "family": FAMILY, "limits": LIMITS, "tokens": 1, **more})


# --- Room -------------------------------------------------------------------------------------------------------------
@MANY
@given(
    schedules(KINDS_WITH_OTHERS),
    st.integers(1, TOKENS + 1),
    st.booleans(),
    st.booleans(),
    SHARE,
)
def test_the_room_is_what_an_admission_decides(steps, tokens, is_project, use_headroom, held):
    with scripts_by_a_clock_to_be_set():
        world = World(lateness=False)
        world.play(steps[:30])
        for step in steps[30:]:
            world.do(*step)
        if held > 0.7:
            limiter.hold_back(world.account, FAMILY, held * 10)
        if held > 0.9:
            limiter.slow_down(world.account, FAMILY)
        more = (PROJECT,) if is_project else ()
        seconds, binding = limiter.room(world.account, FAMILY, LIMITS, more=more).earliest(
            requests=1, tokens=tokens, use_headroom=use_headroom
        )
        horizon = limiter.AHEAD_SECONDS if not use_headroom else 1e6
        admission = limiter.admit(
            world.account, FAMILY, LIMITS, tokens=tokens, horizon_seconds=1e6, more=more, use_headroom=use_headroom
        )
        if isinstance(admission, Never):
            assert (seconds, binding) == (inf, admission.limit)
            return
        assert isinstance(admission, Go if seconds <= horizon else NotYet)
        assert 0 <= admission.wait_seconds - seconds < 0.001 + 1e-6
        if isinstance(admission, NotYet):
            assert admission.limit == binding


@pytest.mark.parametrize("calls", [1, 30, 57, 200])
def test_the_room_for_many_is_when_the_last_of_them_starts(clock, calls):
    clock(0)
    account = uuid4().hex
    room = limiter.room(account, FAMILY, LIMITS)
    seconds, _ = room.earliest(requests=calls, tokens=calls * 10)
    admissions = limiter.admit_all([asking(account, tokens=10, use_headroom=True, horizon_seconds=1e6)] * calls)
    assert admissions[-1].wait_seconds == pytest.approx(seconds, abs=0.002)
    assert limiter.room(account, FAMILY, LIMITS).earliest(requests=1, tokens=10)[0] >= seconds


def test_a_rooms_limits_can_be_asked_by_their_owner(clock):
    clock(0)
    account = uuid4().hex
    for _ in range(PROJECT_REQUESTS):
        limiter.admit(account, FAMILY, LIMITS, tokens=1, horizon_seconds=30, more=[PROJECT])
    room = limiter.room(account, FAMILY, LIMITS, more=[PROJECT])
    assert room.earliest(requests=1, tokens=1, owner="") == (0.0, "requests_per_minute")
    seconds, binding = room.earliest(requests=1, tokens=1, owner="project:1")
    assert (round(seconds, 3), binding) == (4.0, PROJECT.name)
    assert room.earliest(requests=1, tokens=1) == (seconds, binding)


def test_with_no_limit_known_there_is_room(clock):
    clock(0)
    assert limiter.room(uuid4().hex, FAMILY, RateLimit()).earliest(requests=10**6, tokens=10**9) == (0.0, "")


# --- Many at once -----------------------------------------------------------------------------------------------------
def test_turns_taken_together_are_those_taken_one_by_one(clock):
    chance = random.Random(5)
    one_by_one, together = uuid4().hex, uuid4().hex
    for at in range(0, 30_000, 500):
        clock(at)
        sizes = [chance.randint(1, 800) for _ in range(chance.randint(1, 12))]
        headroom = [chance.random() < 0.2 for _ in sizes]
        more = [(PROJECT,) if chance.random() < 0.3 else () for _ in sizes]

        def asked(account, sizes=sizes, headroom=headroom, more=more):
            rows = zip(sizes, more, headroom, strict=True)
            return [asking(account, tokens=size, more=m, use_headroom=h) for size, m, h in rows]

        got = limiter.admit_all(asked(together))
        assert got == [limiter.admit_all([one])[0] for one in asked(one_by_one)]
    hashes = [limiter.connection().hgetall(limiter._key(account, FAMILY)) for account in (one_by_one, together)]
    assert hashes[0] == hashes[1]


def test_askings_of_several_families_are_answered_in_their_order(clock):
    clock(0)
    account = uuid4().hex
    small = RateLimit(requests_per_minute=2)
    admissions = limiter.admit_all(
        [
            asking(account, family="a", limits=small, tokens=1),
            asking(account, family="b", tokens=TOKENS + 1),
            asking(account, family="a", limits=small, tokens=1, horizon_seconds=0.0),
            asking(account, family="c", limits=RateLimit()),
        ]
    )
    assert [type(admission) for admission in admissions] == [Go, Never, NotYet, Go]
    assert limiter.admit_all([]) == []


def test_many_turns_go_back_together(clock):
    clock(0)
    account = uuid4().hex
    turns = [a.turn for a in limiter.admit_all([asking(account, use_headroom=True)] * 59) if isinstance(a, Go)]
    limiter.give_back_all(turns)
    again = limiter.admit_all([asking(account, use_headroom=True, horizon_seconds=0.0)] * 59)
    assert [type(admission) for admission in again] == [Go] * 59


def test_many_scripts_that_redis_has_forgotten_are_loaded_again(clock):
    clock(0)
    account = uuid4().hex
    limiter.connection().script_flush()
    admissions = limiter.admit_all([asking(account, family=family) for family in "abc"])
    assert [type(admission) for admission in admissions] == [Go] * 3


def test_of_many_answers_the_newest_word_counts(clock):
    clock(0)
    account = uuid4().hex
    turns = [a.turn for a in limiter.admit_all([asking(account)] * 3)]

    def said(used: int) -> dict[str, str]:
        return {
            "x-ratelimit-limit-requests": "60",
            "x-ratelimit-remaining-requests": str(60 - used),
            "x-ratelimit-reset-requests": f"{used}s",
        }

    clock(100)
    sent = [int((World.EPOCH_MS + ms) * 1000) for ms in (10, 30, 20)]
    limiter.learn_all([(turn, said(used), at) for turn, used, at in zip(turns, (10, 40, 55), sent, strict=True)])
    seconds, _ = limiter.room(account, FAMILY, LIMITS).earliest(requests=20, tokens=0)
    # The third call may have arrived before the second, which tells of it then.
    assert seconds == pytest.approx(40 + 20 - 59 - 0.07, abs=0.001)


# --- Headroom ---------------------------------------------------------------------------------------------------------
def flood_and_quiet(clock, *, quiet_uses_headroom: bool, minutes: int = 5) -> tuple[float, list[float]]:
    """The rate of a flood at three times the limit, as a share of the limit, and the waits of a call every 5 s."""
    account = uuid4().hex
    flood, waits = 0, []
    limits = RateLimit(requests_per_minute=REQUESTS * 10, tokens_per_minute=TOKENS * 10)
    for at in range(0, minutes * MINUTE_MS, 250):
        clock(at)
        got = limiter.admit_all([asking(account, limits=limits, tokens=10)] * 8)
        flood += sum(isinstance(admission, Go) for admission in got) if at >= MINUTE_MS * 2 else 0
        if at % 5_000 == 0 and at >= MINUTE_MS * 2:
            quiet = asking(account, limits=limits, tokens=10, use_headroom=quiet_uses_headroom, horizon_seconds=60.0)
            waits.append(limiter.admit_all([quiet])[0].wait_seconds)
    return (flood + len(waits)) / (REQUESTS * 10 * (minutes - 2)), waits


def test_a_flood_runs_at_the_whole_rate_and_a_quiet_one_does_not_wait_behind_it(clock):
    rate, waits = flood_and_quiet(clock, quiet_uses_headroom=True)
    assert rate >= 0.99
    assert waits == [0.0] * len(waits)


def test_without_headroom_the_quiet_one_waits(clock):
    _, waits = flood_and_quiet(clock, quiet_uses_headroom=False)
    assert min(waits) >= 0.5


@pytest.mark.parametrize(("tokens", "free"), [(100, 300), (900, 900), (2_000, 300)])
def test_what_is_left_is_a_share_of_the_limit_or_one_more_such_call_where_that_is_small(clock, tokens, free):
    clock(0)
    account = uuid4().hex
    limits = RateLimit(tokens_per_minute=TOKENS)
    while isinstance(limiter.admit_all([asking(account, limits=limits, tokens=tokens, horizon_seconds=0)])[0], Go):
        pass
    level, _ = limiter.room(account, FAMILY, limits).earliest(requests=1, tokens=free)
    assert level == 0.0


def test_the_flood_is_given_no_turn_further_ahead_than_the_headroom_lasts(clock):
    clock(0)
    account = uuid4().hex
    waits = [a.wait_seconds for a in limiter.admit_all([asking(account)] * 100) if isinstance(a, Go)]
    assert max(waits) <= AHEAD_SECONDS


# --- Projects ---------------------------------------------------------------------------------------------------------
def test_a_projects_own_limit_binds_it_and_nobody_else(clock):
    clock(0)
    account, mine, other = uuid4().hex, uuid4(), uuid4()
    override = ProjectRateLimit(project_id=mine, model=FAMILY, requests_per_minute=10, tokens_per_day=10**6)
    own = asking_for(
        account, FAMILY, LIMITS, override, project_id=mine, tokens=5, use_headroom=True, horizon_seconds=60.0
    )
    admissions = limiter.admit_all([own] * 12)
    assert [a.wait_seconds for a in admissions[:9]] == [0.0] * 9
    assert isinstance(admissions[11], Go)
    assert admissions[11].wait_seconds > 10
    theirs = asking_for(account, FAMILY, LIMITS, None, project_id=other, tokens=5, use_headroom=True)
    assert limiter.admit_all([theirs]) == [Go(0.0)]


def test_what_the_provider_says_of_a_projects_tokens_is_learnt_for_that_project(clock):
    clock(0)
    account, mine, other = uuid4().hex, uuid4(), uuid4()

    def ask(project_id, tokens=500):
        wanted = asking_for(account, FAMILY, LIMITS, None, project_id=project_id, tokens=tokens, use_headroom=True)
        return limiter.admit_all([wanted])[0]

    mine_first = ask(mine)
    headers = {
        "x-ratelimit-limit-project-tokens": "1000",
        "x-ratelimit-remaining-project-tokens": "100",
        "x-ratelimit-reset-project-tokens": "54s",
    }
    assert [said.name for said in limiter.statements(headers)] == [PROJECT_TOKENS]
    clock(10)
    limiter.learn(mine_first.turn, headers, sent_us=mine_first.turn.instants_us[1])
    assert ask(other) == Go(0.0)
    assert ask(mine, 1_001) == Never(f"project:{mine}:tokens_per_minute")
    # 900 of 1,000 are used, 17 drain in a second, and a second's worth is left alone.
    assert ask(mine).wait_seconds == pytest.approx(25.0, abs=0.2)


# --- Slower -----------------------------------------------------------------------------------------------------------
def per_minute(clock, account: str, begins: int) -> int:
    """How many calls a flood is given in a minute, at half-second rounds."""
    given = 0
    for at in range(begins, begins + MINUTE_MS, 500):
        clock(at)
        given += sum(isinstance(a, Go) for a in limiter.admit_all([asking(account, horizon_seconds=0.0)] * 5))
    return given


def test_slow_down_halves_the_rate_for_fifteen_minutes_and_then_gives_it_back(clock):
    account = uuid4().hex
    per_minute(clock, account, 0)
    assert per_minute(clock, account, MINUTE_MS) == pytest.approx(60, abs=1)
    for _ in range(50):  # all calls that are under way say it
        limiter.slow_down(account, FAMILY)
    per_minute(clock, account, 2 * MINUTE_MS)
    per_minute(clock, account, 3 * MINUTE_MS)
    assert per_minute(clock, account, 4 * MINUTE_MS) == pytest.approx(30, abs=1)
    per_minute(clock, account, 15 * MINUTE_MS)
    assert per_minute(clock, account, 16 * MINUTE_MS) == pytest.approx(30, abs=3)
    per_minute(clock, account, 24 * MINUTE_MS)
    assert per_minute(clock, account, 25 * MINUTE_MS) == pytest.approx(50, abs=4)
    per_minute(clock, account, 33 * MINUTE_MS)
    assert per_minute(clock, account, 34 * MINUTE_MS) == pytest.approx(60, abs=2)
    limiter.slow_down(account, FAMILY)
    clock(36 * MINUTE_MS)
    limiter.slow_down(account, FAMILY)
    per_minute(clock, account, 37 * MINUTE_MS)
    assert per_minute(clock, account, 38 * MINUTE_MS) == pytest.approx(15, abs=1)
