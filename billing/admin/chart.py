"""Geometry of charts of days in an SVG, without a script and without inline styles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from billing.admin.money import dollars, share
from billing.dashboard.daily import Daily, Part
from billing.dashboard.period import Period
from billing.spend import SpendLine

DAY_WIDTH = 24
BAR_WIDTH = 18
HEIGHT = 140
ZERO = Decimal(0)
# Days that have room to be named below their bars.
MOST_NAMED = 46


@dataclass(frozen=True, slots=True)
class Piece:
    """One coloured piece of a bar, in units of the SVG."""

    kind: str
    y: str
    height: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One day."""

    x: int
    middle: int
    day: str
    title: str
    pieces: list[Piece]


@dataclass(frozen=True, slots=True)
class Chart:
    width: int
    height: int
    bar_width: int
    highest: str
    sentence: str
    bars: list[Bar]
    legend: list[tuple[str, str]]


def chart_of(daily: Daily, parts: Sequence[Part]) -> Chart | None:
    """A bar for every day of the period, as high as its part of the dearest day; None where nothing was spent."""
    highest = max((line.total_usd for line in daily.days.values()), default=ZERO)
    if not highest:
        return None
    dearest = max(daily.days, key=lambda day: daily.days[day].total_usd)
    kinds = {f"series-{place}": part for place, part in enumerate(parts, 1)}
    return Chart(
        width=len(daily.period.days) * DAY_WIDTH,
        height=HEIGHT,
        bar_width=BAR_WIDTH,
        highest=f"{dollars(highest)} on {dearest:%-d %B}",
        sentence=(
            f"Cost of each day, {daily.period.label}. {len(daily.days)} days with spend; the dearest is "
            f"{dearest:%-d %B} with {dollars(highest)}. The table below has every figure."
        ),
        bars=[
            _bar(place, day, daily.period, f"{day:%-d %B}: {_told(daily.days.get(day))}", _stacked(kinds, day, highest))
            for place, day in enumerate(daily.period.days)
        ],
        legend=[(kind, f"{part.label}: {dollars(part.usd)}") for kind, part in kinds.items()],
    )


def share_chart_of(daily: Daily) -> Chart | None:
    """The reasoning share of each day's output, from 0 to the whole height; None where there was no output."""
    with_output = {day: line for day, line in daily.days.items() if line.totals["output_tokens"]}
    if not with_output:
        return None
    bars = []
    for place, day in enumerate(daily.period.days):
        line = with_output.get(day)
        part = Decimal(line.totals["reasoning_tokens"]) / line.totals["output_tokens"] if line else ZERO
        told = _share(line) if line else "no output"
        pieces = [Piece("part-reasoning", f"{HEIGHT - HEIGHT * part:.2f}", f"{HEIGHT * part:.2f}")] if part else []
        bars.append(_bar(place, day, daily.period, f"{day:%-d %B}: {told}", pieces))
    return Chart(
        width=len(bars) * DAY_WIDTH,
        height=HEIGHT,
        bar_width=BAR_WIDTH,
        highest="100 %",
        sentence=(
            f"Reasoning as a part of each day's output tokens, {daily.period.label}; "
            f"{_share(daily.total)} in all. The table has every figure."
        ),
        bars=bars,
        legend=[("part-reasoning", f"Reasoning share of the output: {_share(daily.total)} in all")],
    )


def _bar(place: int, day: date, period: Period, title: str, pieces: list[Piece]) -> Bar:
    named = day.day if len(period.days) <= MOST_NAMED else (f"{day:%b}" if day.day == 1 else "")
    return Bar(
        x=place * DAY_WIDTH + (DAY_WIDTH - BAR_WIDTH) // 2,
        middle=place * DAY_WIDTH + DAY_WIDTH // 2,
        day=str(named),
        title=title,
        pieces=pieces,
    )


def _stacked(kinds: Mapping[str, Part], day: date, highest: Decimal) -> list[Piece]:
    pieces = []
    top = Decimal(HEIGHT)
    for kind, part in kinds.items():
        height = part.by_day.get(day, ZERO) * HEIGHT / highest
        top -= height
        if height:
            pieces.append(Piece(kind, y=f"{top:.2f}", height=f"{height:.2f}"))
    return pieces


def _told(line: SpendLine | None) -> str:
    return dollars(line.total_usd if line else ZERO)


def _share(line: SpendLine) -> str:
    return share(line.totals["reasoning_tokens"], line.totals["output_tokens"])
