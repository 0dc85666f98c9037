"""Geometry of the chart of days: stacked bars in an SVG, without a script and without inline styles."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from billing.admin.money import dollars
from billing.admin.months import Month
from billing.spend import SpendLine

DAY_WIDTH = 24
BAR_WIDTH = 18
HEIGHT = 140
# The kinds of cost from the bottom of a bar to its top: a rollup's column, its CSS class and its name in the legend.
KINDS = (
    ("input_usd", "input", "Input"),
    ("cached_input_usd", "cached", "Cached input"),
    ("output_usd", "visible", "Visible output"),
    ("reasoning_usd", "reasoning", "Reasoning"),
)


@dataclass(frozen=True, slots=True)
class Part:
    """One coloured piece of a bar, in units of the SVG."""

    kind: str
    y: str
    height: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One day."""

    x: int
    middle: int
    day: int
    title: str
    parts: list[Part]


@dataclass(frozen=True, slots=True)
class Chart:
    width: int
    height: int
    bar_width: int
    highest: str
    sentence: str
    bars: list[Bar]
    legend: list[tuple[str, str]]


def chart_of(month: Month, by_day: Sequence[SpendLine]) -> Chart | None:
    """A bar for every day of the month, as high as its part of the dearest day; None where nothing was spent."""
    lines = {line.group["day"]: line for line in by_day}
    highest = max((line.total_usd for line in by_day), default=Decimal(0))
    if not highest:
        return None
    dearest = max(by_day, key=lambda line: line.total_usd)
    bars = []
    for index, day in enumerate(month.days):
        line = lines.get(day)
        spent = line.total_usd if line else Decimal(0)
        bars.append(
            Bar(
                x=index * DAY_WIDTH + (DAY_WIDTH - BAR_WIDTH) // 2,
                middle=index * DAY_WIDTH + DAY_WIDTH // 2,
                day=day.day,
                title=f"{day:%-d %B}: {dollars(spent)}",
                parts=_parts(line, highest) if line else [],
            )
        )
    return Chart(
        width=len(bars) * DAY_WIDTH,
        height=HEIGHT,
        bar_width=BAR_WIDTH,
        highest=dollars(highest),
        sentence=(
            f"Cost of each day of {month.label}. {len(by_day)} days with spend; the dearest is "
            f"{dearest.group['day']:%-d %B} with {dollars(highest)}. The table below has every figure."
        ),
        bars=bars,
        legend=[(kind, name) for _, kind, name in KINDS],
    )


def _parts(line: SpendLine, highest: Decimal) -> list[Part]:
    parts = []
    top = Decimal(HEIGHT)
    for column, kind, _ in KINDS:
        height = line.totals[column] * HEIGHT / highest
        top -= height
        if height:
            parts.append(Part(kind, y=f"{top:.2f}", height=f"{height:.2f}"))
    return parts
