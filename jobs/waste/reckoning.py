"""What of a paid call was wasted. Pure: the call, what is usual, and the present are parameters.

Every amount is exact: prices have six decimals, a million is divided by, and twelve decimals hold that.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from billing.models import ServiceTier
from billing.pricing import PriceTerms
from jobs.prefixes import PREFIX_TOKENS
from jobs.waste.categories import Category

ZERO: Final = Decimal(0)
MILLION: Final = Decimal(1_000_000)
# An answer that nobody has fetched so long after it came is not on its way any more.
UNREAD_AFTER = timedelta(days=7)
# So many answers of a kind, before anything is called usual for it.
LEAST_ALIKE = 20
# An answer up to so many times the median is usual, and any of so few tokens.
USUAL_TIMES, USUAL_TOKENS = 3, 100
# The provider keeps a prompt's beginning for five to ten minutes without use (guide on prompt caching, 2024-10): the
# shorter is taken. What is sent within a second of another cannot find it there.
CACHE_LIFETIME, CACHE_READY = timedelta(minutes=5), timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class PaidCall:
    """A usage record with what its job says. US dollars. `is_beside`: it was paid, and is not what answered."""

    job_id: UUID | None
    model: str
    service_tier: str
    prefix: UUID | None
    dispatched_at: datetime
    finished_at: datetime | None
    read_at: datetime | None
    is_beside: bool
    is_empty: bool
    is_refused: bool
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    price: PriceTerms
    total_usd: Decimal

    @property
    def visible_tokens(self) -> int:
        return self.output_tokens - self.reasoning_tokens

    @property
    def kind(self) -> str:
        """What prompts are like it: those that begin alike, or are as long to a power of two."""
        return str(self.prefix) if self.prefix else f"size {self.input_tokens.bit_length()}"


@dataclass(frozen=True, slots=True)
class Cheaper:
    """A model that would do, and what it costs."""

    model: str
    because: str  # 'successor' or 'used alike'
    price: PriceTerms


@dataclass(frozen=True, slots=True)
class Usual:
    """What is usual in the project's month.

    `medians`: visible tokens, by model and prefix, and by model and None; only of enough answers. `cheaper`: by model,
    service tier and kind of prompt.
    """

    medians: Mapping[tuple[str, UUID | None], int] = field(default_factory=dict)
    cheaper: Mapping[tuple[str, str, str], Cheaper] = field(default_factory=dict)

    def visible_tokens(self, call: PaidCall) -> int | None:
        """Up to how many visible tokens are usual; None where nobody knows."""
        median = self.medians.get((call.model, call.prefix)) if call.prefix else None
        if median is None:
            median = self.medians.get((call.model, None))
        return None if median is None else max(USUAL_TIMES * median, USUAL_TOKENS)

    def instead(self, call: PaidCall) -> Cheaper | None:
        return self.cheaper.get((call.model, call.service_tier, call.kind))


class Sent:
    """The beginnings of prompts that were sent a short while ago; asked in the order in which calls were sent."""

    def __init__(self) -> None:
        self._at: dict[tuple[str, UUID], deque[datetime]] = {}

    def before(self, call: PaidCall) -> bool:
        """Whether the same beginning may have been in the provider's cache; notes that it was sent now."""
        if call.prefix is None:
            return False
        known = self._at.setdefault((call.model, call.prefix), deque())
        while known and known[0] < call.dispatched_at - CACHE_LIFETIME:
            known.popleft()
        found = bool(known) and known[0] <= call.dispatched_at - CACHE_READY
        known.append(call.dispatched_at)
        return found


def wasted(call: PaidCall, usual: Usual, *, was_sent: bool, now: datetime) -> dict[Category, Decimal]:
    """What of a call's cost is waste, by category; never more than the cost. What is not named was useful.

    `was_sent`: whether its beginning may have been in the provider's cache.
    """
    category = _of_all(call, now)
    if category is not None:
        return {category: call.total_usd} if call.total_usd else {}
    allowed = usual.visible_tokens(call)
    surplus = 0 if allowed is None else max(call.visible_tokens - allowed, 0)
    missed = _missed(call) if was_sent else 0
    parts = {
        Category.LONG: surplus * call.price.output / MILLION,
        Category.CACHE_MISS: missed * (call.price.input - call.price.cached_input) / MILLION,
    }
    instead = usual.instead(call)
    if instead is not None:
        left = call.total_usd - sum(parts.values(), ZERO)
        parts[Category.DEAR_MODEL] = max(left - _cost(call, instead.price, surplus=surplus, missed=missed), ZERO)
    return {category: usd for category, usd in parts.items() if usd}


def _of_all(call: PaidCall, now: datetime) -> Category | None:
    """The category that has all of a call, the first that fits."""
    is_old = call.finished_at is not None and call.finished_at <= now - UNREAD_AFTER
    fits = {
        Category.RETRY: call.is_beside,
        Category.EMPTY: call.is_empty,
        Category.REFUSED: call.is_refused,
        Category.UNREAD: is_old and call.read_at is None,
    }
    return next((category for category, is_so in fits.items() if is_so), None)


def _missed(call: PaidCall) -> int:
    """Tokens that could have been billed as cached at least. Batches are not cached."""
    if call.service_tier == ServiceTier.BATCH or call.input_tokens < PREFIX_TOKENS:
        return 0
    return max(PREFIX_TOKENS - call.cached_input_tokens, 0)


def _cost(call: PaidCall, price: PriceTerms, *, surplus: int, missed: int) -> Decimal:
    """What is left of a call costs at another price."""
    cached = call.cached_input_tokens + missed
    return (
        (call.input_tokens - cached) * price.input
        + cached * price.cached_input
        + (call.output_tokens - surplus) * price.output
    ) / MILLION
