"""What is known of one kind of call: how many tokens it needed, and what it read. Touches no clock and no database.

Calls fade as others come after them: what a model needs changes with its snapshots and with what people ask. Half of
the weight is that of the latest `HALF_LIFE` calls, so a class of prompts that changes is followed within some hundred
calls, and one that does not is known as well as from 720 calls that all count alike.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from billing.pricing import MILLION, PriceTerms
from jobs.learning.curves import Curve
from jobs.learning.sketches import Needs

HALF_LIFE = 250
FADES = 0.5 ** (1 / HALF_LIFE)
_TWELVE_PLACES = Decimal("0.000000000001")


@dataclass(frozen=True, slots=True)
class Seen:
    """One call as the books have it. `is_cut`: it was stopped before its end; `is_empty`: nothing of it can be seen."""

    input_tokens: int
    cached_tokens: int
    bound_input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    is_cut: bool
    is_empty: bool


@dataclass(slots=True)
class Kind:
    """The needs of calls of one kind, and faded sums: of weights, of their squares, of what was read."""

    completion: Needs = field(default_factory=Needs)
    reasoning: Needs = field(default_factory=Needs)
    visible: Needs = field(default_factory=Needs)
    weight: float = 0.0
    weight_squared: float = 0.0
    read: float = 0.0
    cached: float = 0.0
    bound: float = 0.0

    def learn(self, calls: Sequence[Seen]) -> None:
        """Takes in calls, the latest last. However many come at a time, what is learnt is the same."""
        self._fade(FADES ** len(calls))
        for place, call in enumerate(calls):
            self._add(call, FADES ** (len(calls) - 1 - place))

    def _add(self, call: Seen, weight: float) -> None:
        # An empty answer that was cut off had not ended its reasoning; one that shows anything had.
        still_reasons = call.is_cut and (call.is_empty or call.reasoning_tokens >= call.output_tokens)
        self.completion.add(call.output_tokens, is_cut=call.is_cut, weight=weight)
        self.reasoning.add(call.reasoning_tokens, is_cut=still_reasons, weight=weight)
        if not still_reasons:
            visible = call.output_tokens - call.reasoning_tokens
            self.visible.add(visible, is_cut=call.is_cut, weight=weight)
        self.weight += weight
        self.weight_squared += weight * weight
        self.read += weight * call.input_tokens
        self.cached += weight * call.cached_tokens
        self.bound += weight * call.bound_input_tokens

    def _fade(self, factor: float) -> None:
        for needs in (self.completion, self.reasoning, self.visible):
            needs.fade(factor)
        self.weight_squared *= factor * factor
        for name in ("weight", "read", "cached", "bound"):
            setattr(self, name, getattr(self, name) * factor)

    @property
    def calls(self) -> float:
        """Of how many calls that all count alike as much would be known (Kish's effective sample size)."""
        return self.weight * self.weight / self.weight_squared if self.weight_squared else 0.0

    def curves(self, ceiling: int) -> tuple[Curve, Curve, Curve]:
        """Of whole completions, of reasoning and of visible tokens."""
        scale = self.calls / self.weight if self.weight else 0.0
        return (
            Curve(self.completion, scale=scale, ceiling=ceiling),
            Curve(self.reasoning, scale=scale, ceiling=ceiling),
            Curve(self.visible, scale=scale, ceiling=ceiling),
        )

    def written(self) -> dict[str, Any]:
        """As JSON keeps it."""
        sums = {name: round(getattr(self, name), 6) for name in _SUMS}
        return {**{name: getattr(self, name).written() for name in _NEEDS}, **sums}

    @classmethod
    def read_back(cls, written: dict[str, Any]) -> "Kind":
        kind = cls()
        for name in _NEEDS:
            setattr(kind, name, Needs.read(written[name]))
        for name in _SUMS:
            setattr(kind, name, float(written[name]))
        return kind


_NEEDS = ("completion", "reasoning", "visible")
_SUMS = ("weight", "weight_squared", "read", "cached", "bound")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a call of a kind reads on average: tokens, the part of them from a cache, and their part of the bound."""

    tokens: Decimal
    cached_share: Decimal
    share_of_bound: Decimal

    @classmethod
    def of(cls, kind: Kind) -> "Reading":
        return cls(_ratio(kind.read, kind.weight), _ratio(kind.cached, kind.read), _ratio(kind.read, kind.bound))

    def cost_usd(self, price: PriceTerms, tokens: Decimal | None = None) -> Decimal:
        """What reading costs: so many tokens, or as many as a call reads on average."""
        tokens = self.tokens if tokens is None else tokens
        cached = tokens * self.cached_share
        return ((tokens - cached) * price.input + cached * price.cached_input) / MILLION


def whole_usd(parts: Iterable[Decimal]) -> Decimal:
    """A guess of money, to the places that money has."""
    return sum(parts, Decimal(0)).quantize(_TWELVE_PLACES)


def _ratio(part: float, whole: float) -> Decimal:
    return Decimal(part / whole).quantize(Decimal("0.000001")) if whole else Decimal(0)
