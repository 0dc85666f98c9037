"""A straight line through points: how steep it is, and whether chance would make it so. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

ZERO = Decimal(0)
# A slope counts where it is so many of its standard errors away from none. With two, slow growth was overlooked and
# ranges were too narrow; with none, every figure was off by more.
BEYOND_CHANCE = 1


@dataclass(frozen=True, slots=True)
class Slope:
    """`steepness`: zero where chance would make it. `left`: what is off it, squared, on `freedom` degrees of freedom.

    `doubt`: the square of the standard error of the steepness for each unit of variance, also where it is taken for
    zero: what cannot be told from chance may still be there.
    """

    steepness: Decimal
    left: Decimal
    freedom: int
    doubt: Decimal

    @property
    def variance(self) -> Decimal:
        return self.left / self.freedom


def slope(points: Iterable[tuple[Decimal, Decimal]], freedom: int) -> Slope:
    """The slope of points about their mean, both coordinates. `freedom`: degrees of freedom without a slope."""
    points = list(points)
    across = sum((x * x for x, _ in points), ZERO)
    together = sum((x * y for x, y in points), ZERO)
    left = sum((y * y for _, y in points), ZERO)
    if not across or freedom < 2:
        return Slope(ZERO, left, freedom, ZERO)
    steepness = together / across
    rest = max(left - steepness * together, ZERO)
    if steepness * steepness * across * (freedom - 1) < BEYOND_CHANCE * BEYOND_CHANCE * rest:
        return Slope(ZERO, left, freedom, 1 / across)
    return Slope(steepness, rest, freedom - 1, 1 / across)
