"""Decisions of the limiter against a bare PING of the same Redis, and against the `limits` library on it.

The library counts requests in one window; a decision of ours is over four limits, and gives an instant.
"""

import importlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings

from accounts.models import RateLimit
from jobs import limiter
from jobs.limiter import Asking, Go

pytestmark = pytest.mark.benchmark

DECISIONS = 2000
LIMITS = RateLimit(
    requests_per_minute=10_000_000, tokens_per_minute=10**12, requests_per_day=10**10, tokens_per_day=10**15
)
STRATEGIES = ("FixedWindowRateLimiter", "SlidingWindowCounterRateLimiter", "MovingWindowRateLimiter")


def spread(work, threads: int, count: int) -> None:
    """Does `work` so often in all, by so many clients at once."""
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda _: [work() for _ in range(count // threads)], range(threads)))


def decide(account: str) -> None:
    admission = limiter.admit(account, "o1-mini", LIMITS, tokens=1000, horizon_seconds=10.0)
    assert isinstance(admission, Go)


@pytest.mark.parametrize("threads", [1, 16])
def test_decisions_per_second(per_second, report, threads):
    account = uuid4().hex
    bare = per_second(lambda: spread(limiter.connection().ping, threads, DECISIONS), DECISIONS)
    ours = per_second(lambda: spread(lambda: decide(account), threads, DECISIONS), DECISIONS)
    report(f"limiter decisions, {threads} threads", ours, bare, "PING")


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("threads", [1, 16])
def test_decisions_against_the_limits_library(per_second, report, threads, strategy):
    library: Any = pytest.importorskip("limits")
    storage = importlib.import_module("limits.storage").storage_from_string(settings.REDIS_URL)
    theirs = getattr(importlib.import_module("limits.strategies"), strategy)(storage)
    item, account = library.RateLimitItemPerMinute(10_000_000), uuid4().hex
    bare = per_second(lambda: spread(lambda: theirs.hit(item, account), threads, DECISIONS), DECISIONS)
    ours = per_second(lambda: spread(lambda: decide(account), threads, DECISIONS), DECISIONS)
    report(f"limiter decisions, {threads} threads", ours, bare, strategy.removesuffix("RateLimiter"))


@pytest.mark.parametrize("batch", [10, 50])
@pytest.mark.parametrize("threads", [1, 16])
def test_turns_taken_together(per_second, report, threads, batch):
    account = uuid4().hex
    asking = Asking(account, "o1-mini", LIMITS, 1000)

    def together() -> None:
        assert all(isinstance(admission, Go) for admission in limiter.admit_all([asking] * batch))

    singly = per_second(lambda: spread(lambda: decide(account), threads, DECISIONS), DECISIONS)
    rounds = DECISIONS // batch // threads * threads
    ours = per_second(lambda: spread(together, threads, rounds), rounds * batch)
    report(f"turns, {batch} in a round trip, {threads} threads", ours, singly, "one by one")


def test_looks_at_the_room(per_second, report):
    account = uuid4().hex
    decide(account)
    bare = per_second(lambda: spread(limiter.connection().ping, 1, DECISIONS), DECISIONS)
    ours = per_second(lambda: spread(lambda: limiter.room(account, "o1-mini", LIMITS), 1, DECISIONS), DECISIONS)
    report("looks at the room of a family", ours, bare, "PING")
