"""Decisions of the limiter against a bare PING of the same Redis."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from accounts.models import RateLimit
from jobs import limiter

pytestmark = pytest.mark.benchmark

DECISIONS = 2000
LIMITS = RateLimit(requests_per_minute=10_000_000, tokens_per_minute=10**12)


@pytest.mark.parametrize("threads", [1, 16])
def test_decisions_per_second(per_second, report, threads):
    account = uuid4().hex

    def spread(work) -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda _: [work() for _ in range(DECISIONS // threads)], range(threads)))

    def decide() -> None:
        admission = limiter.admit(account, "o1-mini", LIMITS, tokens=1000, horizon_seconds=10.0)
        assert isinstance(admission, limiter.Go)

    bare = per_second(lambda: spread(limiter.connection().ping), DECISIONS)
    ours = per_second(lambda: spread(decide), DECISIONS)
    report(f"limiter decisions, {threads} threads", ours, bare, "PING")
