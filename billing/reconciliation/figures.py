"""What is compared: requests and tokens, by day, project of the provider and model. Pure and exact."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from operator import add, sub

from billing.pricing import EXACT, MILLION, PriceTerms

ZERO = Decimal(0)
TWELVE_PLACES = Decimal("1E-12")
# Two amounts no further apart are the same: the provider may print a rounded one. What is between them is kept.
TOLERANCE_USD = Decimal("0.000001")


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """What one line of the comparison is about. A UTC day; the provider's project, '' where it stands for several."""

    day: date
    provider_project: str
    model: str


@dataclass(frozen=True, slots=True)
class Figures:
    """Requests and tokens, or a difference of such; cached input is part of the input, reasoning part of the output."""

    requests: int = 0
    input: int = 0
    cached: int = 0
    output: int = 0

    @property
    def parts(self) -> tuple[int, int, int, int]:
        return self.requests, self.input, self.cached, self.output

    def __add__(self, other: "Figures") -> "Figures":
        return Figures(*map(add, self.parts, other.parts))

    def __sub__(self, other: "Figures") -> "Figures":
        return Figures(*map(sub, self.parts, other.parts))

    def __neg__(self) -> "Figures":
        return NOTHING - self

    def __le__(self, other: "Figures") -> bool:
        """Whether no part exceeds the other's; neither of two may be the smaller one."""
        return all(mine <= theirs for mine, theirs in zip(self.parts, other.parts, strict=True))

    @property
    def is_more(self) -> bool:
        """Whether these are requests with their tokens, none of them negative."""
        return self.requests > 0 and NOTHING <= self  # noqa: SIM300 (an order of parts, no comparison with a constant)

    @property
    def positive(self) -> "Figures":
        """These, with nothing where there is less than that."""
        return Figures(*(max(part, 0) for part in self.parts))


NOTHING = Figures()


@dataclass(frozen=True, slots=True)
class Tiered:
    """Figures by service tier, and what they cost."""

    tiers: Mapping[str, Figures] = field(default_factory=dict)
    usd: Decimal = ZERO

    @property
    def total(self) -> Figures:
        return sum_of(self.tiers.values())

    @property
    def is_nothing(self) -> bool:
        return self.total == NOTHING and not self.usd


@dataclass(frozen=True, slots=True)
class OverMidnight:
    """One of our calls that began on the day before the one on which it was booked; the provider may count either."""

    service_tier: str
    figures: Figures
    usd: Decimal


@dataclass(frozen=True, slots=True)
class OpenCalls:
    """Calls whose outcome is not known: how many, and the most that they can come to together."""

    count: int = 0
    input: int = 0
    output: int = 0
    usd: Decimal = ZERO

    def could_be(self, figures: Figures, usd: Decimal) -> bool:
        """Whether some of them can have come to these figures and this amount."""
        return (
            figures.requests <= self.count
            and figures.input <= self.input
            and figures.output <= self.output
            and usd <= self.usd
        )


@dataclass(frozen=True, slots=True)
class Ours:
    """What our usage records say of a cell, at which prices, and which calls of it may be counted elsewhere or yet."""

    billed: Tiered = field(default_factory=Tiered)
    prices: Mapping[str, PriceTerms] = field(default_factory=dict)
    over_midnight: tuple[OverMidnight, ...] = ()
    open_calls: OpenCalls = field(default_factory=OpenCalls)


@dataclass(frozen=True, slots=True)
class KnownPrice:
    """A row of our price list, for a model under any of its names."""

    label: str
    service_tier: str
    terms: PriceTerms


def sum_of(figures: Iterable[Figures]) -> Figures:
    """The sum of any number of figures."""
    return sum(figures, NOTHING)


def worth(figures: Figures, terms: PriceTerms) -> Decimal:
    """What the tokens cost at a price, in US dollars; negative where there are fewer than none."""
    with localcontext(EXACT):
        return (
            (figures.input - figures.cached) * terms.input
            + figures.cached * terms.cached_input
            + figures.output * terms.output
        ) / MILLION


def is_same(one: Decimal, other: Decimal) -> bool:
    """Whether two amounts are equal but for what rounding leaves."""
    return abs(one - other) <= TOLERANCE_USD


def to_twelve_places(amount: Decimal) -> Decimal:
    """The amount as our columns hold it; digits beyond the twelfth are what a float left behind."""
    with localcontext() as context:
        context.prec = 60
        return amount.quantize(TWELVE_PLACES, ROUND_HALF_EVEN)
