"""The provider's rate limits: token buckets for each organization and model family.

Requests and tokens of a minute have one each; requests of a day where a limit is set. A bucket holds its limit and
refills without steps, limit / 60 s. The arithmetic reproduces nine public 429 texts of
2023 to 2025 to the millisecond: a request is refused when used + requested > limit, and may come back after
(used + requested - limit) * 60 / limit seconds.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from config.simulator import errors
from config.simulator.models import Limits

WINDOW_NS = 60 * 10**9
DAY_NS = 86_400 * 10**9
CHARACTERS_PER_TOKEN = 4

Unit = Literal["requests", "tokens"]


@dataclass(slots=True)
class Bucket:
    """What is used of one limit. `scaled` is the amount used times the window: integers, so that decay is exact."""

    limit: int
    scaled: int = 0
    seen_at: int = 0  # nanoseconds of the limiter's clock
    window_ns: int = WINDOW_NS

    def used(self, now: int) -> int:
        """What is used at this instant, rounded up: the provider prints whole numbers and `remaining` rounded down."""
        elapsed = max(now - self.seen_at, 0)
        self.scaled = max(self.scaled - self.limit * elapsed, 0)
        self.seen_at = now
        return -(-self.scaled // self.window_ns)

    def exceeds(self, amount: int, now: int) -> bool:
        self.used(now)
        return self.scaled + amount * self.window_ns > self.limit * self.window_ns

    def take(self, amount: int, now: int) -> None:
        """Uses up to what is left; a failed request cannot push the bucket below empty."""
        self.used(now)
        self.scaled = min(self.scaled + amount * self.window_ns, self.limit * self.window_ns)

    def wait_ms(self, amount: int, now: int) -> int:
        """Milliseconds until that much fits, from the whole numbers that the refusal prints."""
        return (self.used(now) + amount - self.limit) * self.window_ns // self.limit // 10**6

    def reset_ms(self, now: int) -> int:
        """Milliseconds until nothing is used."""
        self.used(now)
        return self.scaled // self.limit // 10**6


@dataclass(frozen=True, slots=True)
class Standing:
    """Both limits of a model as the six headers tell them."""

    limits: Limits
    remaining: Limits
    reset_requests_ms: int
    reset_tokens_ms: int

    def headers(self) -> dict[str, str]:
        return {
            "x-ratelimit-limit-requests": str(self.limits.requests),
            "x-ratelimit-limit-tokens": str(self.limits.tokens),
            "x-ratelimit-remaining-requests": str(self.remaining.requests),
            "x-ratelimit-remaining-tokens": str(self.remaining.tokens),
            "x-ratelimit-reset-requests": go_duration(self.reset_requests_ms),
            "x-ratelimit-reset-tokens": go_duration(self.reset_tokens_ms),
        }


@dataclass(frozen=True, slots=True)
class Admission:
    """The answer to one request: the limits after it, and the refusal when it was refused."""

    standing: Standing
    refusal: errors.ApiError | None = None


class Limiter:
    """All buckets of one simulator. `clock` gives monotonic nanoseconds; not thread-safe, the event loop owns it.

    `requests_per_day` by model family. Where there is one, the headers of requests speak of the day: they have room for
    one limit, and the recorded ones under a day's limit (tokens, December 2023) told the day's.
    """

    def __init__(
        self,
        *,
        enforced: bool = True,
        clock: Callable[[], int] = time.monotonic_ns,
        requests_per_day: Mapping[str, int] | None = None,
    ) -> None:
        self._enforced = enforced
        self._requests_per_day = dict(requests_per_day or {})
        self._days: dict[tuple[str, str], Bucket] = {}
        self._clock = clock
        self._buckets: dict[tuple[str, str], tuple[Bucket, Bucket]] = {}

    def admit(self, *, model: str, family: str, organization: str, limits: Limits, tokens: int) -> Admission:
        """Takes one request and `tokens` out of the buckets, or nothing but the request when it is refused.

        That a refused request counts is documented ("unsuccessful requests contribute to your per-minute limit"):
        a client that hammers keeps itself out.
        """
        requests, per_minute = self._pair(organization, family, limits)
        day = self._day(organization, family)
        now = self._clock()
        if not self._enforced:
            return Admission(Standing(limits, limits, 0, 0))
        refusal = None
        if tokens > limits.tokens:
            refusal = errors.request_too_large(
                model=model, organization=organization, limit=limits.tokens, requested=tokens
            )
        elif requests.exceeds(1, now):
            refusal = _refusal(requests, 1, now, unit="requests", model=model, organization=organization)
        elif day is not None and day.exceeds(1, now):
            refusal = _refusal(day, 1, now, unit="requests", model=model, organization=organization)
        elif per_minute.exceeds(tokens, now):
            refusal = _refusal(per_minute, tokens, now, unit="tokens", model=model, organization=organization)
        else:
            per_minute.take(tokens, now)
        requests.take(1, now)
        if day is not None:
            day.take(1, now)
        return Admission(_standing(day or requests, per_minute, now), refusal)

    def count_failure(self, *, family: str, organization: str, limits: Limits) -> None:
        """A request that failed validation: it counts as a request and used no tokens."""
        if self._enforced:
            now = self._clock()
            self._pair(organization, family, limits)[0].take(1, now)
            if (day := self._day(organization, family)) is not None:
                day.take(1, now)

    def reset(self) -> None:
        self._buckets.clear()
        self._days.clear()

    def _day(self, organization: str, family: str) -> Bucket | None:
        if family not in self._requests_per_day:
            return None
        return self._days.setdefault((organization, family), Bucket(self._requests_per_day[family], window_ns=DAY_NS))

    def _pair(self, organization: str, family: str, limits: Limits) -> tuple[Bucket, Bucket]:
        key = (organization, family)
        if key not in self._buckets:
            self._buckets[key] = (Bucket(limits.requests), Bucket(limits.tokens))
        return self._buckets[key]


def tokens_at_admission(characters: int, cap: int | None) -> int:
    """What a request counts against tokens per minute: the larger of its cap and an estimate from its characters."""
    return max(cap or 0, math.ceil(characters / CHARACTERS_PER_TOKEN))


def with_overrides(limits: Limits | None, requests: int | None, tokens: int | None) -> Limits:
    """The limits of a tier with those that were set by hand; without a tier's row the other one is without bound."""
    limits = limits or Limits(10**9, 10**9)
    return Limits(requests or limits.requests, tokens or limits.tokens)


def go_duration(milliseconds: int) -> str:
    """A duration as Go prints it: 0s, 120ms, 1s, 1.146s, 6m0s, 4m12.172s, 23h18m29.144s."""
    if milliseconds == 0:
        return "0s"
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    whole, fraction = divmod(rest, 1000)
    seconds = f"{whole}.{fraction:03}".rstrip("0").rstrip(".") if fraction else str(whole)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{seconds}s"


def _refusal(bucket: Bucket, amount: int, now: int, *, unit: Unit, model: str, organization: str) -> errors.ApiError:
    wait = bucket.wait_ms(amount, now)
    refusal = errors.rate_limited(
        model=model,
        organization=organization,
        unit=unit,
        limit=bucket.limit,
        used=bucket.used(now),
        requested=amount,
        wait=go_duration(wait),
        retry_after=max(math.ceil(wait / 1000), 1),
    )
    if bucket.window_ns == DAY_NS:
        refusal.message = refusal.message.replace("per min (RPM)", "per day (RPD)")
    return refusal


def _standing(requests: Bucket, tokens: Bucket, now: int) -> Standing:
    limits = Limits(requests.limit, tokens.limit)
    remaining = Limits(limits.requests - requests.used(now), limits.tokens - tokens.used(now))
    return Standing(limits, remaining, requests.reset_ms(now), tokens.reset_ms(now))
