"""Why the cost of calls changed from one period to another: volume, mix, tokens per call, reasoning length, price.

Each project by itself: its calls go through five steps from what they were to what they are, in this order, and each
effect is the cost after its step less the cost before. docs/dashboard.md has the method with an example.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Any

from billing.dashboard.daily import Scope
from billing.dashboard.period import Period
from billing.spend import lines

# The effects in the order of the steps, each with its name for people.
EFFECTS = (
    ("volume", "Volume: more or fewer calls"),
    ("mix", "Model mix: other models or service tiers"),
    ("tokens", "Tokens per call: prompts and visible answers"),
    ("reasoning", "Reasoning length per call"),
    ("price", "Price per token"),
)
ZERO = Decimal(0)
_PLACES = Decimal("1E-12")
# Twelve digits of dollars, twelve places, and what thousands of steps may round off.
_DIGITS = 60
# The four meters of a call: its tokens and its dollars. They never overlap. Reasoning is the last.
METERS = ("input", "cached_input", "visible", "reasoning")


@dataclass(frozen=True, slots=True)
class Cell:
    """The calls of one model in one service tier: how many, tokens and US dollars of each meter."""

    calls: int
    tokens: tuple[int, int, int, int]
    usd: tuple[Decimal, Decimal, Decimal, Decimal]

    @property
    def total_usd(self) -> Decimal:
        return sum(self.usd, ZERO)


Cells = Mapping[Any, Cell]  # by model and service tier


@dataclass(frozen=True, slots=True)
class Change:
    """Cost before and after, and the effects, which sum to the difference to the last digit. US dollars."""

    label: str
    key: Any
    before_usd: Decimal
    after_usd: Decimal
    before_calls: int
    after_calls: int
    effects: Mapping[str, Decimal]

    @property
    def difference_usd(self) -> Decimal:
        return self.after_usd - self.before_usd


def changes(scope: Scope, then: Period, now: Period) -> list[Change]:
    """The change of each project between two periods, the largest first. Two queries of rollups."""
    grouping = ["project", "model", "service_tier"]
    found: dict[Any, tuple[dict[Any, Cell], dict[Any, Cell]]] = {}
    labels: dict[Any, str] = {}
    for place, period in enumerate((then, now)):
        for line in lines(scope.rows(period.first_day, period.end_day, grouping), grouping):
            project = line.group["project"]
            labels[project] = line.labels["project"]
            cells = found.setdefault(project, ({}, {}))[place]
            cells[line.group["model"], line.group["service_tier"]] = cell_of(line.totals)
    all_of_them = [change(labels[key], key, *both) for key, both in found.items()]
    return sorted(all_of_them, key=lambda one: (-abs(one.difference_usd), one.label))


def sum_of(found: Sequence[Change]) -> Change:
    """All projects together: every effect is the sum of theirs."""
    return Change(
        label="Total",
        key=None,
        before_usd=sum((one.before_usd for one in found), ZERO),
        after_usd=sum((one.after_usd for one in found), ZERO),
        before_calls=sum(one.before_calls for one in found),
        after_calls=sum(one.after_calls for one in found),
        effects={name: sum((one.effects[name] for one in found), ZERO) for name, _ in EFFECTS},
    )


def cell_of(totals: Mapping[str, Any]) -> Cell:
    """The cell of a rollup's totals, in which cached input is part of the input and reasoning part of the output."""
    cached, reasoning = totals["cached_input_tokens"], totals["reasoning_tokens"]
    return Cell(
        totals["calls"],
        (totals["input_tokens"] - cached, cached, totals["output_tokens"] - reasoning, reasoning),
        (totals["input_usd"], totals["cached_input_usd"], totals["output_usd"], totals["reasoning_usd"]),
    )


def change(label: str, key: Any, before: Cells, after: Cells) -> Change:
    """What a project's calls cost before and after, and why: to twelve places, of many more that are reckoned with."""
    before_usd = sum((cell.total_usd for cell in before.values()), ZERO)
    after_usd = sum((cell.total_usd for cell in after.values()), ZERO)
    calls = sum(cell.calls for cell in before.values()), sum(cell.calls for cell in after.values())
    with localcontext() as context:
        context.prec = _DIGITS
        costs = [before_usd, *_steps(before, after, *calls)]
        effects = {
            name: (other - one).quantize(_PLACES, ROUND_HALF_EVEN)
            for (name, _), one, other in zip(EFFECTS, costs, costs[1:], strict=False)
        }
    # The last step ends at the cost after; what rounding left of the others is in it.
    effects["price"] = after_usd - before_usd - sum(effects.values(), ZERO)
    return Change(label, key, before_usd, after_usd, *calls, effects)


def _steps(before: Cells, after: Cells, calls_before: int, calls_after: int) -> list[Decimal]:
    """The cost after each step but the last, which is the cost after."""
    cost_after = sum((cell.total_usd for cell in after.values()), ZERO)
    if not calls_before or not calls_after:
        # Nothing of one side can be compared with: it is all a matter of volume.
        return [cost_after] * 4
    cost_before = sum((cell.total_usd for cell in before.values()), ZERO)
    volume = cost_before * calls_after / calls_before
    mix = tokens = reasoning = ZERO
    for key, cell in after.items():
        if not cell.calls:
            continue
        old = before.get(key)
        if old is None or not old.calls:
            old = cell  # a model that was not called before: what it costs more than the others is mix
        prices = [_price(old, cell, meter) for meter in range(len(METERS))]
        lengths_before = [Decimal(count) / old.calls for count in old.tokens]
        lengths_after = [Decimal(count) / cell.calls for count in cell.tokens]
        mix += cell.calls * _cost(lengths_before, prices)
        tokens += cell.calls * _cost([*lengths_after[:3], lengths_before[3]], prices)
        reasoning += cell.calls * _cost(lengths_after, prices)
    return [volume, mix, tokens, reasoning]


def _price(old: Cell, new: Cell, meter: int) -> Decimal:
    """Dollars per token as they were; as they are where none was used then."""
    cell = old if old.tokens[meter] else new
    return cell.usd[meter] / cell.tokens[meter] if cell.tokens[meter] else ZERO


def _cost(lengths: Sequence[Decimal], prices: Sequence[Decimal]) -> Decimal:
    return sum((length * price for length, price in zip(lengths, prices, strict=True)), ZERO)
