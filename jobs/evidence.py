"""What came of a model family's calls lately: whether they fail so often that it is time to stop, and how many retries
may be added to them. Pure: instants (seconds of one clock) and outcomes go in.
"""

from collections import deque
from dataclasses import dataclass, field

# What is looked at: so long, and where less came in it, the last few calls of the last while.
WINDOW_SECONDS = 20.0
LEAST_CALLS = 10
LONGEST_SECONDS = 600.0
# Calls are stopped when this share of them fails, and no fewer than so many.
FAILING_SHARE = 0.5
LEAST_FAILURES = 5
# Retries add no more than this share to the calls of the last while; a few at once and a few a minute are always let.
RETRY_SHARE = 0.1
RETRIES_PER_MINUTE = 6.0
RETRIES_AT_ONCE = 10


@dataclass(slots=True)
class _Slice:
    """Calls of one second."""

    second: int
    calls: int = 0
    failures: int = 0


@dataclass(slots=True)
class Evidence:
    """The calls of one organization for one family of models, as one process sees them."""

    _slices: deque[_Slice] = field(default_factory=deque)
    _calls: int = 0
    _failures: int = 0
    # As in a rate limit: the instant at which the retries given so far are paid for.
    _retries_until: float = 0.0

    def add(self, now: float, *, failed: bool) -> None:
        """Notes what came of a call."""
        if not self._slices or self._slices[-1].second != int(now):
            self._slices.append(_Slice(int(now)))
        self._slices[-1].calls += 1
        self._slices[-1].failures += failed
        self._calls += 1
        self._failures += failed
        self._forget(now)

    def is_failing(self, now: float) -> bool:
        """Whether so many calls failed that the next ones would, too."""
        self._forget(now)
        return self._failures >= LEAST_FAILURES and self._failures >= FAILING_SHARE * self._calls

    def clear(self) -> None:
        """Forgets the calls: what comes next is judged by itself. What retries owe is kept."""
        self._slices.clear()
        self._calls = self._failures = 0

    def retry_in(self, now: float) -> float:
        """Takes a retry, and returns in how many seconds from now it adds no more than its share."""
        lately = sum(each.calls for each in self._slices if each.second > now - WINDOW_SECONDS)
        per_minute = max(RETRIES_PER_MINUTE, RETRY_SHARE * lately * 60 / WINDOW_SECONDS)
        each = 60 / per_minute
        paid_at = max(self._retries_until, now)
        self._retries_until = paid_at + each
        return max(0.0, paid_at - now - (RETRIES_AT_ONCE - 1) * each)

    def is_idle(self, now: float) -> bool:
        """Whether there is nothing left that decides anything."""
        self._forget(now)
        return not self._slices and self._retries_until <= now

    def _forget(self, now: float) -> None:
        while self._slices:
            oldest = self._slices[0]
            is_needed = now - oldest.second < WINDOW_SECONDS or self._calls - oldest.calls < LEAST_CALLS
            if is_needed and now - oldest.second < LONGEST_SECONDS:
                return
            self._slices.popleft()
            self._calls -= oldest.calls
            self._failures -= oldest.failures
