"""The limiter's arithmetic on a real Valkey.

Waits are compared in milliseconds, with room for the time a test itself takes.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from uuid import uuid4

import pytest
import redis

from accounts.models import RateLimit
from jobs import limiter
from jobs.limiter import Go, LimiterAway, Never, NotYet, admit, hold_back, look
from jobs.sent import Sent, used_now

SLACK_SECONDS = 0.6  # what a slow machine may spend between two calls


@pytest.fixture
def account() -> str:
    return uuid4().hex


@pytest.fixture(autouse=True)
def _counting_for_an_hour() -> None:
    """Redis has counted for long, so that buckets nobody used are drained."""
    limiter.connection().set(limiter.BORN_KEY, "0.000")


def limits(requests: int | None = None, tokens: int | None = None) -> RateLimit:
    return RateLimit(requests_per_minute=requests, tokens_per_minute=tokens)


def turn(account: str, limit: RateLimit, tokens: int = 1, horizon: float = 120.0):
    return admit(account, "o1-mini", limit, tokens=tokens, horizon_seconds=horizon)


def test_a_burst_goes_at_once_and_the_next_call_waits_for_the_refill(account):
    admissions = [turn(account, limits(requests=60)) for _ in range(59)]
    assert all(admission == Go(0.0) for admission in admissions)
    wait = turn(account, limits(requests=60)).wait_seconds
    assert 1.0 - SLACK_SECONDS <= wait <= 1.0


def test_turns_follow_each_other_at_the_limits_rate(account):
    waits = [turn(account, limits(requests=60)).wait_seconds for _ in range(75)]
    late = waits[-10:]
    assert all(b > a for a, b in pairwise(late))
    assert late[-1] - late[0] == pytest.approx(9.0, abs=SLACK_SECONDS)


def test_tokens_bind_as_requests_do(account):
    limit = limits(requests=1000, tokens=60_000)
    assert turn(account, limit, tokens=50_000) == Go(0.0)
    wait = turn(account, limit, tokens=20_000).wait_seconds
    # used 50,000 + 20,000 against 60,000 less a second's worth of lateness: 11,000 tokens at 1,000 a second
    assert 11.0 - SLACK_SECONDS <= wait <= 11.0


def test_a_turn_beyond_the_horizon_is_not_taken_and_costs_nothing(account):
    limit = limits(tokens=60_000)
    assert turn(account, limit, tokens=59_000) == Go(0.0)
    for _ in range(5):
        refused = turn(account, limit, tokens=30_000, horizon=5.0)
        assert isinstance(refused, NotYet)
        assert refused.limit == "tokens_per_minute"
        assert 30.0 - SLACK_SECONDS <= refused.wait_seconds <= 30.0


def test_a_call_larger_than_the_limit_never_goes(account):
    assert turn(account, limits(tokens=30_000), tokens=34_307) == Never("tokens_per_minute")


def test_a_call_as_large_as_the_limit_goes_when_nothing_else_is_used(account):
    assert turn(account, limits(tokens=30_000), tokens=30_000) == Go(0.0)


def test_all_limits_bind_or_none_is_charged(account):
    limit = limits(requests=60, tokens=60_000)
    turn(account, limit, tokens=59_000)
    assert isinstance(turn(account, limit, tokens=59_000, horizon=1.0), NotYet)
    # the refusal took no request either: the burst of 59 has one used, and 58 small calls still go at once
    small = [turn(account, limits(requests=60)) for _ in range(58)]
    assert all(admission == Go(0.0) for admission in small)


def test_looking_takes_nothing(account):
    limit = limits(requests=60)
    for _ in range(100):
        assert look(account, "o1-mini", limit, requests=59, tokens=0, horizon_seconds=0.5) == Go(0.0)
    assert isinstance(look(account, "o1-mini", limit, requests=60, tokens=0, horizon_seconds=0.0), NotYet)
    assert turn(account, limit) == Go(0.0)


def test_what_the_provider_asks_to_wait_holds_everybody_back(account):
    hold_back(account, "o1-mini", 20.0)
    assert 20.0 - SLACK_SECONDS <= turn(account, limits(requests=500)).wait_seconds <= 20.0
    assert admit(account, "o1-preview", limits(requests=500), tokens=1, horizon_seconds=1.0) == Go(0.0)


def test_an_emptied_redis_starts_from_used_up_buckets(account):
    redis_ = limiter.connection()
    redis_.delete(limiter.BORN_KEY)
    wait = turn(account, limits(requests=60)).wait_seconds
    # nothing is known of the minute before: a second for the call's own refill, and one that calls may be late by
    assert 2.0 - SLACK_SECONDS <= wait <= 2.0
    second = turn(account, limits(requests=60)).wait_seconds
    assert second - wait == pytest.approx(1.0, abs=SLACK_SECONDS)


def test_no_stated_limit_means_no_waiting(account):
    assert turn(account, limits()) == Go(0.0)


def test_many_processes_share_one_bucket(account):
    limit = limits(requests=600)
    with ThreadPoolExecutor(16) as pool:
        admissions = list(pool.map(lambda _: turn(account, limit, horizon=0.0), range(900)))
    at_once = sum(isinstance(admission, Go) for admission in admissions)
    assert 590 <= at_once <= 590 + 10 * 3  # the burst, and what refills while the test runs


def test_with_redis_away_nothing_may_start(account, monkeypatch):
    away = redis.Redis(port=1, socket_connect_timeout=0.2)
    monkeypatch.setattr(limiter, "_admission_script", lambda: away.register_script(limiter._SCRIPT))
    with pytest.raises(LimiterAway):
        turn(account, limits(requests=60))


def test_a_restarted_redis_is_not_believed_about_its_last_seconds(account):
    limit = limits(requests=60)
    assert turn(account, limit) == Go(0.0)
    redis_ = limiter.connection()
    redis_.set(limiter.RUN_KEY, "another run")
    redis_.script_flush()
    wait = turn(account, limit).wait_seconds
    assert 2.0 - SLACK_SECONDS <= wait <= 2.0


def test_a_script_that_is_new_to_the_same_redis_changes_nothing(account):
    limit = limits(requests=60)
    assert turn(account, limit) == Go(0.0)
    limiter.connection().script_flush()
    assert turn(account, limit) == Go(0.0)


# --- Days -------------------------------------------------------------------------------------------------------------
def day(requests: int) -> RateLimit:
    return RateLimit(requests_per_day=requests)


def test_a_limit_of_a_day_binds(account):
    assert turn(account, day(2)) == Go(0.0)
    # One second's worth of lateness: the second call comes a second late, the third has to wait for half a day.
    assert turn(account, day(2), horizon=3.0).wait_seconds == pytest.approx(1.0, abs=SLACK_SECONDS)
    refused = turn(account, day(2))
    assert isinstance(refused, NotYet)
    assert refused.limit == "requests_per_day"
    assert refused.wait_seconds == pytest.approx(43_202, abs=5)


def test_a_day_that_redis_has_forgotten_is_counted_again_from_what_was_sent(account, monkeypatch):
    limiter.connection().delete(limiter.BORN_KEY)
    asked = []

    def sent_of(family, is_account):
        asked.append(family)
        return [Sent(seconds_ago=0.0, requests=7, tokens=7_000)]

    monkeypatch.setattr(limiter, "sent_of", sent_of)
    granted = [isinstance(turn(account, day(10), horizon=5.0), Go) for _ in range(4)]
    assert granted == [True, True, True, False]
    assert asked == ["o1-mini"]


def test_looking_counts_a_forgotten_day_again_as_well(account, monkeypatch):
    limiter.connection().delete(limiter.BORN_KEY)
    monkeypatch.setattr(limiter, "sent_of", lambda *args: [Sent(0.0, 10, 0)])
    refused = look(account, "o1-mini", day(10), requests=1, tokens=0, horizon_seconds=5.0)
    assert isinstance(refused, NotYet)
    assert 8_000 < refused.wait_seconds < 9_000


@pytest.mark.parametrize(
    ("amounts", "used"),
    [
        ([], 0.0),
        ([(0.0, 60)], 60.0),
        ([(43_200.0, 60)], 10.0),
        ([(86_400.0, 100), (43_200.0, 60)], 60.0 + 50.0 - 50.0),
        ([(600.0, 500)], 100.0),
    ],
)
def test_what_was_sent_drains_as_the_providers_bucket_does(amounts, used):
    assert used_now(amounts, limit=100, window_seconds=86_400.0) == pytest.approx(used)


# --- What the provider says -------------------------------------------------------------------------------------------
def said(limit: int, used: int, unit: str = "requests") -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{unit}": str(limit),
        f"x-ratelimit-remaining-{unit}": str(limit - used),
        f"x-ratelimit-reset-{unit}": f"{used * 60_000 // limit}ms",
    }


def test_others_on_the_account_are_seen_by_one_answer(account):
    limit = limits(requests=60)
    mine = turn(account, limit).turn
    limiter.learn(mine, said(60, 41), sent_us=mine.now_us())
    at_once = sum(isinstance(turn(account, limit, horizon=0.0), Go) for _ in range(60))
    assert 18 <= at_once <= 18 + 2


def test_a_lower_limit_of_the_providers_binds_and_is_told(account, caplog):
    limit = limits(requests=600)
    mine = turn(account, limit).turn
    for _ in range(3):
        limiter.learn(mine, said(60, 1), sent_us=mine.now_us())
    at_once = sum(isinstance(turn(account, limit, horizon=0.0), Go) for _ in range(100))
    assert 58 <= at_once <= 58 + 2
    assert [record.args[:3] for record in caplog.records] == [("requests_per_minute", 60, "o1-mini")]


def test_a_higher_limit_of_the_providers_is_told_and_does_not_bind(account, caplog):
    limit = limits(requests=60)
    mine = turn(account, limit).turn
    limiter.learn(mine, said(600, 1), sent_us=mine.now_us())
    at_once = sum(isinstance(turn(account, limit, horizon=0.0), Go) for _ in range(100))
    assert 58 <= at_once <= 58 + 2
    assert "configured is 60" in caplog.text


def test_a_limit_that_only_the_provider_states_binds(account):
    mine = turn(account, limits()).turn
    limiter.learn(mine, said(60, 59), sent_us=mine.now_us())
    assert turn(account, limits()).wait_seconds == pytest.approx(1.0, abs=SLACK_SECONDS)


def test_a_limit_that_was_raised_again_is_believed(account):
    limit = limits(tokens=60_000)
    mine = turn(account, limit).turn
    limiter.learn(mine, said(10_000, 10, "tokens"), sent_us=mine.now_us())
    assert turn(account, limit, tokens=20_000) == Never("tokens_per_minute")
    limiter.learn(mine, said(60_000, 60, "tokens"), sent_us=mine.now_us())
    assert turn(account, limit, tokens=20_000) == Go(0.0)


def test_a_turn_given_back_can_be_taken_by_another_call(account):
    limit = limits(tokens=60_000)
    taken = turn(account, limit, tokens=59_000)
    assert isinstance(turn(account, limit, tokens=30_000, horizon=1.0), NotYet)
    limiter.give_back(taken.turn)
    assert turn(account, limit, tokens=30_000, horizon=1.0) == Go(0.0)


def test_a_turn_from_before_redis_was_emptied_gives_nothing_back(account):
    limit = limits(tokens=60_000)
    taken = turn(account, limit, tokens=30_000)
    redis_ = limiter.connection()
    redis_.delete(limiter.BORN_KEY, limiter._key(account, "o1-mini"))
    assert turn(account, limit, tokens=1, horizon=5.0).wait_seconds > 0
    limiter.give_back(taken.turn)
    assert isinstance(turn(account, limit, tokens=20_000, horizon=5.0), NotYet)


def test_with_redis_away_neither_learning_nor_giving_back_is_silent(account, monkeypatch):
    mine = turn(account, limits(requests=60)).turn
    away = redis.Redis(port=1, socket_connect_timeout=0.2)
    monkeypatch.setattr(limiter, "connection", lambda: away)
    with pytest.raises(LimiterAway):
        limiter.give_back(mine)
    with pytest.raises(LimiterAway):
        limiter.learn(mine, said(60, 1), sent_us=mine.now_us())
