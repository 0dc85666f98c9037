"""When a limit is reached, with a range, and what its window comes to at its end. Pure; the present is a parameter."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from enum import StrEnum

from billing.outlook.hours import rest_of_day
from billing.outlook.lines import ZERO
from billing.outlook.pace import DIGITS, Pace
from billing.periods import Window

# Four of five draws of Student's distribution lie so many standard deviations about its mean; the second figure is
# for each degree of freedom that there is not.
WIDTH, WIDTH_OF_FEW = Decimal("1.2816"), Decimal("0.847")
DAY, QUARTER = timedelta(days=1), timedelta(hours=6)


class Prospect(StrEnum):
    """What is to be said of a limit."""

    REACHED = "reached"  # it is used up already
    EXPECTED = "expected"  # within the window
    POSSIBLE = "possible"  # within the window in the early part of the range alone
    NOT_IN_WINDOW = "not_in_window"
    TOO_LITTLE_HISTORY = "too_little_history"


class Basis(StrEnum):
    """What the forecast goes by."""

    DAYS_ALIKE = "days_alike"  # the mean of all days: fewer than fourteen are known
    WEEKDAYS = "weekdays"
    HOURS = "hours"  # of a limit of one day


@dataclass(frozen=True, slots=True)
class Point:
    """An instant, what will have been used by then of what is to come, and the variance of that."""

    at: datetime
    expected: Decimal
    variance: Decimal


@dataclass(frozen=True, slots=True)
class Outlook:
    """Instants are None where they are not within the window; amounts where there is too little history.

    `at_end`, `low`, `high`: what the window will have come to. Four of five cases lie from `earliest` to `latest`,
    and from `low` to `high`.
    """

    prospect: Prospect
    expected: datetime | None = None
    earliest: datetime | None = None
    latest: datetime | None = None
    at_end: Decimal | None = None
    low: Decimal | None = None
    high: Decimal | None = None
    basis: Basis | None = None
    history_days: int = 0


def outlook(pace: Pace | None, window: Window, *, limit: Decimal | None, spent: Decimal, now: datetime) -> Outlook:
    """How a limit will stand in its window, of which `spent` is used by now. A limit of None is never reached."""
    is_reached = limit is not None and spent >= limit
    if pace is None:
        return Outlook(Prospect.REACHED if is_reached else Prospect.TOO_LITTLE_HISTORY)
    with localcontext() as context:
        context.prec = DIGITS
        by_hours = pace.shape is not None and window.end - window.start == DAY
        points = list(_by_hours(pace, spent, now) if by_hours else _by_days(pace, now, window.end))
        width = WIDTH + WIDTH_OF_FEW / pace.freedom
        middle = [spent + point.expected for point in points]
        spread = [width * point.variance.sqrt() for point in points]
        low = [max(m - s, spent) for m, s in zip(middle, spread, strict=True)]
        high = [m + s for m, s in zip(middle, spread, strict=True)]
        expected, earliest, latest = (
            _first_at(points, curve, spent, limit, now) if limit is not None and not is_reached else None
            for curve in (middle, high, low)
        )
    prospect = Prospect.EXPECTED if expected else Prospect.POSSIBLE if earliest else Prospect.NOT_IN_WINDOW
    basis = Basis.HOURS if by_hours else Basis.WEEKDAYS if len(pace.means) > 1 else Basis.DAYS_ALIKE
    return Outlook(
        prospect=Prospect.REACHED if is_reached else prospect,
        expected=expected,
        earliest=earliest,
        latest=latest,
        at_end=middle[-1] if middle else spent,
        low=low[-1] if low else spent,
        high=high[-1] if high else spent,
        basis=basis,
        history_days=pace.history_days,
    )


def comes_to(pace: Pace, window: Window, spent: Decimal, now: datetime) -> Decimal:
    """What a window will have come to at its end, without a range: what many limits can be looked through by."""
    if pace.shape is not None and window.end - window.start == DAY:
        return spent + max((point.expected for point in _by_hours(pace, spent, now)), default=ZERO)
    return spent + sum((pace.usual(day) * part for day, part, _ in _steps(now, window.end, DAY)), ZERO)


def _by_days(pace: Pace, now: datetime, end: datetime) -> Iterator[Point]:
    """A day is taken to be used evenly. The variance is of the days to come, of the means, and of the trend."""
    expected = days = ZERO
    of_kind = [ZERO] * len(pace.means)
    leads = ZERO
    for day, part, until in _steps(now, end, QUARTER):
        kind = pace.kind(day)
        expected += pace.usual(day) * part
        days += part * pace.growth(day) ** 2
        of_kind[kind] += part
        leads += pace.lead(day) * part
        means = sum((parts * parts / count for parts, count in zip(of_kind, pace.counts, strict=True)), ZERO)
        yield Point(until, expected, pace.variance * (days + means + leads * leads * pace.trend_doubt))


def _by_hours(pace: Pace, spent: Decimal, now: datetime) -> Iterator[Point]:
    assert pace.shape is not None
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    passed = Decimal((now - midnight) // timedelta(seconds=1)) / 3600
    day = midnight.date()
    for hour, expected, variance in rest_of_day(pace.shape, day, pace.usual(day), spent, passed, pace.freedom):
        yield Point(midnight + int(hour) * timedelta(hours=1), expected, variance * pace.growth(day) ** 2)


def _steps(now: datetime, end: datetime, length: timedelta) -> Iterator[tuple[date, Decimal, datetime]]:
    """The time from now to the end in steps that end with parts of days: the day, which part of it, until when."""
    at = now.astimezone(UTC)
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    until = midnight + ((at - midnight) // length + 1) * length
    while at < end:
        until = min(until, end)
        yield at.date(), Decimal((until - at) // timedelta(seconds=1)) / 86400, until
        at, until = until, until + length


def _first_at(
    points: Sequence[Point], curve: Sequence[Decimal], spent: Decimal, limit: Decimal, now: datetime
) -> datetime | None:
    """When a curve first comes to the limit, going straight from point to point; None where it does not."""
    before, at = spent, now
    for point, after in zip(points, curve, strict=True):
        if after >= limit:
            part = (limit - before) / (after - before)
            return at + timedelta(seconds=int((point.at - at) // timedelta(seconds=1) * part))
        before, at = after, point.at
    return None
