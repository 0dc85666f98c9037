"""What days come to, learnt from the whole days before: a mean for each weekday, a trend, and how far days are off.

Pure. In the unit of a limit: dollars, tokens or jobs. A day is UTC's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal, localcontext

from billing.outlook.hours import Shape, shape_of
from billing.outlook.lines import ZERO, slope

HISTORY_DAYS = 28
# Whole days since the first use: with fewer there is no forecast; from so many on, weekdays are told apart and a trend
# is looked for, because then each weekday is known twice.
LEAST_DAYS, LEAST_FOR_WEEKDAYS = 5, 14
DIGITS = 28


@dataclass(frozen=True, slots=True)
class Pace:
    """How an owner uses a limit, known at the beginning of `day`."""

    day: date
    history_days: int
    means: tuple[Decimal, ...]  # of Monday to Sunday; of all days alike where there is one
    centres: tuple[Decimal, ...]  # how many days before `day` the days of each mean lie in the mean
    counts: tuple[int, ...]
    trend: Decimal  # what a day has more than the one before; zero where chance would make it
    trend_doubt: Decimal  # the square of the trend's standard error, for each unit of `variance`
    variance: Decimal  # of one day about what is usual for it
    freedom: int
    shape: Shape | None = None  # how a day is spread over its hours, where that was asked for

    def kind(self, day: date) -> int:
        """Which of the means a day has."""
        return day.weekday() % len(self.means)

    def lead(self, day: date) -> Decimal:
        """How many days a day lies after the days of its mean."""
        return (day - self.day).days + self.centres[self.kind(day)]

    def usual(self, day: date) -> Decimal:
        """What a day comes to by its mean and the trend; never below nothing."""
        return max(self.means[self.kind(day)] + self.trend * self.lead(day), ZERO)

    def growth(self, day: date) -> Decimal:
        """How many times as much a day comes to as its mean: what grows is off by more."""
        mean = self.means[self.kind(day)]
        return max(self.usual(day) / mean, Decimal(1)) if mean and self.trend else Decimal(1)


def learn(
    by_day: Mapping[date, Decimal],
    since: date | None,
    today: date,
    hours: Mapping[date, Sequence[Decimal]] | None = None,
) -> Pace | None:
    """The pace of the days before `today`; None with too little history.

    `by_day`: days without any use left out. `since`: the day of the first use. `hours`: 24 amounts for a day.
    """
    past = [today - timedelta(days=ago) for ago in range(1, HISTORY_DAYS + 1)]
    history = [day for day in past if since is not None and day >= since]
    if len(history) < LEAST_DAYS:
        return None
    kinds = 7 if len(history) >= LEAST_FOR_WEEKDAYS else 1
    with localcontext() as context:
        context.prec = DIGITS
        means, centres, counts = [], [], []
        for kind in range(kinds):
            days = [day for day in history if day.weekday() % kinds == kind]
            means.append(sum((by_day.get(day, ZERO) for day in days), ZERO) / len(days))
            centres.append(Decimal(sum((today - day).days for day in days)) / len(days))
            counts.append(len(days))
        points = [
            (
                centres[day.weekday() % kinds] - (today - day).days,
                by_day.get(day, ZERO) - means[day.weekday() % kinds],
            )
            for day in history
        ]
        # Of few days, a weekend would be taken for a trend.
        found = slope(points if kinds > 1 else [(ZERO, y) for _, y in points], len(history) - kinds)
        made = Pace(
            day=today,
            history_days=len(history),
            means=tuple(means),
            centres=tuple(centres),
            counts=tuple(counts),
            trend=found.steepness,
            trend_doubt=found.doubt,
            variance=found.variance,
            freedom=found.freedom,
        )
        if hours is None:
            return made
        usual = {day: made.usual(day) for day in history}
        return Pace(**{name: getattr(made, name) for name in _FIELDS}, shape=shape_of(hours, usual, kinds > 1))


_FIELDS = tuple(name for name in Pace.__slots__ if name != "shape")
