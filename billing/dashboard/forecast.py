"""What a month will come to at its end, from the days before. Pure; docs/dashboard.md says how and why.

Each day that is left counts as the mean of its weekday over the last four weeks. The range is the one that four of
five months of such days would end in, if what a day is off its weekday's mean were chance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal, localcontext

from billing.dashboard.period import month_after

ZERO = Decimal(0)
HISTORY_DAYS = 28
# With fewer whole days since the first spend, a weekday would be known from one day alone.
LEAST_DAYS = 14
# Four of five draws of a normal distribution lie so many standard deviations about its mean.
WIDTH = Decimal("1.2816")
_CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Forecast:
    """US dollars at the end of the month, with a range; whole cents. `reaches_limit_on`: the day, if it is reached."""

    expected: Decimal
    low: Decimal
    high: Decimal
    history_days: int
    reaches_limit_on: date | None


def forecast(
    by_day: Mapping[date, Decimal], *, spent: Decimal, limit: Decimal | None, today: date, since: date | None
) -> Forecast | None:
    """The forecast for the month of `today`; None with too little history.

    `by_day`: dollars of the days before today, those without any left out. `spent`: what the month has come to by now,
    today included. `since`: the first day with any spend.
    """
    past = [today - timedelta(days=n) for n in range(1, HISTORY_DAYS + 1)]
    history = [day for day in past if since is not None and day >= since]
    if len(history) < LEAST_DAYS:
        return None
    with localcontext() as context:
        context.prec = 40
        means = _means(by_day, history)
        coming = _coming(by_day.get(today, ZERO), means, today)
        rest = sum((usd for _, usd in coming), ZERO)
        spread = WIDTH * _deviation(by_day, history, means, len(coming))
        expected = spent + rest
        return Forecast(
            expected=expected.quantize(_CENT),
            low=max(spent, expected - spread).quantize(_CENT),
            high=(expected + spread).quantize(_CENT),
            history_days=len(history),
            reaches_limit_on=_reached(spent, coming, limit),
        )


def _means(by_day: Mapping[date, Decimal], history: Sequence[date]) -> dict[int, Decimal]:
    """The mean of each weekday, Monday being 0."""
    means = {}
    for weekday in range(7):
        amounts = [by_day.get(day, ZERO) for day in history if day.weekday() == weekday]
        means[weekday] = sum(amounts, ZERO) / len(amounts)
    return means


def _coming(of_today: Decimal, means: Mapping[int, Decimal], today: date) -> list[tuple[date, Decimal]]:
    """What is still expected of today, and of each day of the month after it."""
    coming = [(today, max(ZERO, means[today.weekday()] - of_today))]
    end = month_after(today.replace(day=1))
    day = today + timedelta(days=1)
    while day < end:
        coming.append((day, means[day.weekday()]))
        day += timedelta(days=1)
    return coming


def _deviation(
    by_day: Mapping[date, Decimal], history: Sequence[date], means: Mapping[int, Decimal], days: int
) -> Decimal:
    """The standard deviation of the sum of so many days: of the days themselves, and of means from so few of them."""
    off = [by_day.get(day, ZERO) - means[day.weekday()] for day in history]
    of_one = sum((each * each for each in off), ZERO) / (len(history) - 7)
    return (of_one * (days + Decimal(days * days) / len(history))).sqrt()


def _reached(spent: Decimal, coming: Sequence[tuple[date, Decimal]], limit: Decimal | None) -> date | None:
    if limit is None:
        return None
    for day, usd in coming:
        spent += usd
        if spent >= limit:
            return day
    return None
