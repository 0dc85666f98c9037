"""How a day is spread over its hours: for limits that begin anew each day. Pure.

A day's total comes from its weekday; its hours share it as they did on the days before, workdays and weekends apart.
What today is off by now says what it will be off later, as far as it did on the days before.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from billing.outlook.lines import ZERO, slope

HOURS = 24
EVEN = tuple([Decimal(1) / HOURS] * HOURS)
SATURDAY = 5


@dataclass(frozen=True, slots=True)
class Shape:
    """What part of a day each hour has, of workdays and of weekends, and how far each day's hours were off that."""

    parts: tuple[tuple[Decimal, ...], tuple[Decimal, ...]]
    off: tuple[tuple[Decimal, ...], ...]

    def of(self, day: date) -> tuple[Decimal, ...]:
        return self.parts[day.weekday() >= SATURDAY]


def shape_of(hours: Mapping[date, Sequence[Decimal]], usual: Mapping[date, Decimal], tells_weekends: bool) -> Shape:
    """The shape of days. `usual`: what each would have come to; `tells_weekends`: whether weekends are told apart."""
    nothing = (ZERO,) * HOURS
    if tells_weekends:
        workdays = _parts([hours.get(day, nothing) for day in usual if day.weekday() < SATURDAY])
        weekends = _parts([hours.get(day, nothing) for day in usual if day.weekday() >= SATURDAY])
    else:
        workdays = weekends = _parts([hours.get(day, nothing) for day in usual])
    parts = (workdays, weekends)
    off = tuple(
        tuple(
            amount - whole * part
            for amount, part in zip(hours.get(day, nothing), parts[day.weekday() >= SATURDAY], strict=True)
        )
        for day, whole in usual.items()
    )
    return Shape(parts, off)


def _parts(days: Sequence[Sequence[Decimal]]) -> tuple[Decimal, ...]:
    sums = [sum(amounts, ZERO) for amounts in zip(*days, strict=True)]
    whole = sum(sums, ZERO)
    return tuple(amount / whole for amount in sums) if whole else EVEN


def rest_of_day(
    shape: Shape, day: date, usual: Decimal, used: Decimal, passed: Decimal, freedom: int
) -> Iterator[tuple[Decimal, Decimal, Decimal]]:
    """For the end of each hour that is left of a day: the hour's end, what is expected until then, and its variance.

    `passed`: hours of the day, with their fraction. `used`: what was used in them.
    """
    parts, now = shape.of(day), min(int(passed), HOURS - 1)
    fraction = min(passed - now, Decimal(1))
    before = [sum(off[:now], ZERO) + off[now] * fraction for off in shape.off]
    off_by_now = used - usual * (sum(parts[:now], ZERO) + parts[now] * fraction)
    after = [ZERO] * len(shape.off)
    whole, most = ZERO, ZERO
    for hour in range(now, HOURS):
        of_hour = (1 - fraction) if hour == now else Decimal(1)
        whole += usual * parts[hour] * of_hour
        after = [sum_ + off[hour] * of_hour for sum_, off in zip(after, shape.off, strict=True)]
        found = slope(zip(before, after, strict=True), freedom)
        most = max(most, whole + found.steepness * off_by_now)
        doubt = found.variance * (1 + Decimal(1) / len(shape.off) + found.doubt * off_by_now * off_by_now)
        yield Decimal(hour + 1), most, doubt
