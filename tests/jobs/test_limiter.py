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
    assert isinstance(look(account, "o1-mini", limit, requests=60, tokens=0, horizon_seconds=0.0), Go)
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
