"""How much the rate limits of one family would admit. Pure: what the script returned goes in, an instant comes out."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from struct import unpack

from jobs.limiter.buckets import Bucket

# How late a call may reach the provider after its turn; that much of the burst is not used, nothing of the steady rate
# is.
LATENESS_MS = 1_000
# The share of a limit that is left to those who have had little: of a minute's, what drains in three seconds. A bucket
# that is a constant too full admits at the same rate, so the steady rate loses nothing.
HEADROOM_SHARE = 0.05
# A call leaves as much as it asks for itself, so that another of its kind finds room, where that is no larger a share.
LARGEST_SHARE_LEFT = 0.2


@dataclass(frozen=True, slots=True)
class Level:
    """One bucket as the script knows it: instants in ms, rates per ms; `used` at the instant `at`, its latest turn."""

    limit: float
    share: float
    rate: float
    forecast: float
    used: float
    at: float

    def ready(self, amount: float, of_one: float, *, first: float, use_headroom: bool) -> float:
        """The instant from which it has room for so much, asked for by calls of `of_one` each: as admission.lua."""
        left = 0.0 if use_headroom else HEADROOM_SHARE
        one = 0.0 if use_headroom else LARGEST_SHARE_LEFT
        if left < one and of_one <= one * self.limit:
            left = max(left, of_one / self.limit)
        capacity = self.share * self.limit * (1 - left) - self.rate * LATENESS_MS
        drain = self.rate - self.forecast
        missing = self.used + amount - capacity
        ready = self.at + missing / (drain if missing > 0 else self.rate)
        if amount > of_one and first > self.at:
            # One by one they find no more room than a bucket has that nothing is used of.
            ready = max(ready, first + (max(0.0, self.used - (first - self.at) * drain) + amount - capacity) / drain)
        return ready

    def used_at(self, now: float) -> float:
        """What is used of it at an instant (ms), others included as far as they are expected: 0 to the limit."""
        return min(max(self.used - (now - self.at) * (self.rate - self.forecast), 0.0), self.limit)


@dataclass(frozen=True, slots=True)
class Room:
    """What the limits of one account and family admitted at an instant; nothing is taken of it."""

    now: float
    first: float  # no call may start before
    levels: tuple[tuple[Bucket, Level], ...]

    def earliest(
        self, *, requests: int, tokens: int, use_headroom: bool = True, owner: str | None = None
    ) -> tuple[float, str]:
        """Seconds from now by which calls of so many requests and tokens in all could have started, and what binds.

        0.0: now. Infinite: one of them is more than a limit admits at all; of several, their mean is looked at. Only
        the limits of `owner` ('' for the organization) are asked where it is given, as `project_owner` names it.
        """
        start, binding = self.first, self.levels[0][0].name if self.levels else ""
        for bucket, level in self.levels:
            if owner is not None and bucket.owner != owner:
                continue
            amount = requests if bucket.counts_requests else tokens
            of_one = amount / max(requests, 1)
            if of_one > level.limit:
                return inf, bucket.name
            ready = level.ready(amount, of_one, first=self.first, use_headroom=use_headroom)
            if ready > start:
                start, binding = ready, bucket.name
        return max(0.0, start - self.now) / 1000, binding


def room_of(buckets: Sequence[Bucket], instants: bytes, states: Sequence[bytes]) -> Room:
    """From what the script of room returned for these buckets."""
    now, first = unpack(">dd", instants)
    levels = [
        (bucket, Level(*unpack(">dddddd", state))) for bucket, state in zip(buckets, states, strict=True) if state
    ]
    return Room(now, first, tuple(levels))
