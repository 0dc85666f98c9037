"""What share of calls needs more than so many tokens, also where some were cut off before they had them. Pure.

The estimator is Kaplan's and Meier's (1958): a call that was cut off counts among those that might have gone on, up to
its cap, and says nothing of what lies beyond. It takes the caps to be chosen without a look at the answer to come.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from decimal import Decimal
from math import ceil, exp, lgamma, log, log1p

from jobs.learning.sketches import Needs, bin_of, end_of, middle_of

ONE = Decimal(1)
_PLACES = Decimal("0.000001")
# A recommended cap keeps what it promises in so many of twenty worlds that could have shown these calls.
DOUBT = 0.05


class Curve:
    """The share of calls left at the end of each bin, and of how many calls that is known.

    `scale`: calls that a weight of one stands for. `ceiling`: tokens that no call can exceed; it is the answer where
    the calls so far do not reach.
    """

    __slots__ = ("_bins", "_ends", "_known", "_left", "_sums", "ceiling")

    def __init__(self, needs: Needs, *, scale: float, ceiling: int):
        self._bins, self._ends = array("l"), array("q")
        self._left, self._known = array("d"), array("d")
        # What the calls up to the end of each bin have of the mean.
        self._sums = array("d")
        self.ceiling = ceiling
        at_risk, left, total = needs.weight, 1.0, 0.0
        for key, met, cut in needs.bins():
            if met:
                # Peto's number: of as many calls, none cut off, the share would be known as well as it is.
                self._known.append(scale * at_risk / left if left > 0 else 0.0)
                before, left = left, max(0.0, left * (1 - met / at_risk)) if at_risk > met else 0.0
                total += (before - left) * middle_of(key)
                self._bins.append(key)
                self._ends.append(end_of(key))
                self._left.append(left)
                self._sums.append(total)
            at_risk -= met + cut

    def at(self, share: Decimal) -> int:
        """Tokens that the next call stays within as probably as that, one call more being reckoned with.

        With n calls that is the smallest of them that (n + 1) x share of n + 1 are not above, as in conformal
        prediction; the ceiling where there is none.
        """
        most = float(ONE - share)
        for place, left in enumerate(self._left):
            if self._expected(place, left) <= most:
                return min(self._ends[place], self.ceiling)
        return self.ceiling

    def known_at(self, share: Decimal) -> int | None:
        """The same, as far as calls say it; None where only the ceiling would be left."""
        return self.at(share) if share <= self.known_share else None

    def over(self, tokens: int) -> Decimal:
        """The share that needs more than these tokens.

        Half a call more is reckoned with, so that few calls never say that it cannot be. Beyond the largest need so far
        that half fades with the square of the distance: more slowly than any tail that has a variance.
        """
        if tokens >= self.ceiling:
            return Decimal(0)
        place = bisect_right(self._bins, bin_of(tokens)) - 1
        if place < 0:
            known, left = (self._known[0], 1.0) if self._known else (0.0, 1.0)
        else:
            known, left = self._known[place], self._left[place]
        is_beyond = place == len(self._left) - 1 and left == 0
        half = 0.5 * min(1.0, self._ends[-1] / max(1, tokens)) ** 2 if is_beyond and self._ends else 0.5
        return _share((known * left + half) / (known + 1))

    def cap(self, risk: Decimal) -> int:
        """The smallest number of tokens that more than this share of calls hardly needs, chance reckoned in.

        Of caps found so, nineteen in twenty keep within the risk. Where the calls are too few for that, the largest
        need so far, if the risk is kept on average; else the ceiling.
        """
        found = None
        for place in reversed(range(len(self._left))):
            known = int(self._known[place] + 1e-9)
            beyond = ceil(self._known[place] * self._left[place] - 1e-9)
            if _at_most(beyond, known, float(risk)) > DOUBT:
                break
            found = place
        if found is not None:
            return min(self._ends[found], self.ceiling)
        if self._left and self._expected(len(self._left) - 1, self._left[-1]) <= float(risk):
            return min(self._ends[-1], self.ceiling)
        return self.ceiling

    def mean(self, cap: int | None = None) -> Decimal:
        """Mean tokens of a call that is cut off at a cap; without one, where the longest known call ended."""
        if not self._ends:
            return Decimal(0)
        end = self._ends[-1] if cap is None else cap
        place = bisect_right(self._ends, end) - 1
        if place < 0:
            return Decimal(end)
        return Decimal(self._sums[place] + self._left[place] * end).quantize(_PLACES)

    @property
    def known_share(self) -> Decimal:
        """The largest share that `at` answers from calls, and not by the ceiling."""
        if not self._left:
            return Decimal(0)
        return _share(max(0.0, 1 - self._expected(len(self._left) - 1, self._left[-1])))

    def shares_between(self, ends: list[int]) -> Iterator[Decimal]:
        """The share of calls that needs more than one end and no more than the next, from zero on."""
        before = 1.0
        for end in ends:
            place = bisect_left(self._ends, end + 1) - 1
            left = self._left[place] if place >= 0 else 1.0
            yield _share(before - left)
            before = left

    def _expected(self, place: int, left: float) -> float:
        known = self._known[place]
        return (known * left + 1) / (known + 1)


def _at_most(count: int, of: int, share: float) -> float:
    """The probability of no more than `count` hits in `of` tries, each with the probability `share`."""
    if count >= of:
        return 1.0
    if not 0 < share < 1:
        return float(share <= 0)
    yes, no = log(share), log1p(-share)
    ways = lgamma(of + 1)
    return sum(
        exp(ways - lgamma(hits + 1) - lgamma(of - hits + 1) + hits * yes + (of - hits) * no)
        for hits in range(count + 1)
    )


def _share(value: float) -> Decimal:
    return min(ONE, max(Decimal(0), Decimal(value).quantize(_PLACES)))
