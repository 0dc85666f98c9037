"""Whether a day's spend is unusual after the days before it: a plain method that people can redo by hand. Pure."""

from collections.abc import Sequence
from decimal import Decimal
from statistics import median

# A day is compared with the days before it, of which at least so many must have had any spend.
HISTORY_DAYS, LEAST_DAYS = 28, 14
# Median absolute deviations above the median; about four standard deviations of figures that spread evenly.
DEVIATIONS = 6
# And besides: what is small, or usual but for a little, is no news however even the days before were.
LEAST_TIMES, LEAST_USD = 2, Decimal(1)


def unusual_above(before: Sequence[Decimal]) -> Decimal | None:
    """The spend of a day above which it is unusual after these days, in US dollars; None where too few are known.

    Median and median absolute deviation, which a few strange days among them do not move.
    """
    if sum(day > 0 for day in before) < LEAST_DAYS:
        return None
    usual = median(before)
    deviation = median(abs(day - usual) for day in before)
    return max(usual + DEVIATIONS * deviation, LEAST_TIMES * usual, LEAST_USD)
