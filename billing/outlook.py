"""What spend will come to, and whether a day's is unusual: plain methods that people can redo by hand. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from statistics import median

# A forecast needs so much of its window behind it, and at least a sixth: five days of a month, two of a week.
LEAST_BEHIND = timedelta(days=2)
LEAST_PART = 6

# A day is compared with the days before it, of which at least so many must have had any spend.
HISTORY_DAYS, LEAST_DAYS = 28, 14
# Median absolute deviations above the median; about four standard deviations of figures that spread evenly.
DEVIATIONS = 6
# And besides: what is small, or usual but for a little, is no news however even the days before were.
LEAST_TIMES, LEAST_USD = 2, Decimal(1)


def at_end(spent: Decimal, start: datetime, end: datetime, now: datetime) -> Decimal | None:
    """What a window will have come to at its end if it goes on as it began; None where too little of it is over."""
    behind, whole = now - start, end - start
    if behind < LEAST_BEHIND or behind * LEAST_PART < whole or behind > whole:
        return None
    return spent * _seconds(whole) / _seconds(behind)


def unusual_above(before: Sequence[Decimal]) -> Decimal | None:
    """The spend of a day above which it is unusual after these days, in US dollars; None where too few are known.

    Median and median absolute deviation, which a few strange days among them do not move.
    """
    if sum(day > 0 for day in before) < LEAST_DAYS:
        return None
    usual = median(before)
    deviation = median(abs(day - usual) for day in before)
    return max(usual + DEVIATIONS * deviation, LEAST_TIMES * usual, LEAST_USD)


def _seconds(length: timedelta) -> Decimal:
    return Decimal(length // timedelta(seconds=1))
