"""Our usage records against the provider's bill: which lines agree, which differ, and by what.

Pure: two maps of cells in, lines out. The lines of a cell add up to it on either side, figures and dollars, to the last
digit; so theirs - ours is the sum of the differences, and none is left over.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from billing.models.reconciliations import DifferenceKind as Kind
from billing.money import usd as written
from billing.reconciliation.figures import (
    NOTHING,
    ZERO,
    Cell,
    Figures,
    KnownPrice,
    Ours,
    Tiered,
    is_same,
    to_twelve_places,
    worth,
)
from billing.reconciliation.midnight import Shift, shifts

KnownPrices = Callable[[str], Sequence[KnownPrice]]
LATE = "Not in the provider's bill yet, which may lag behind; looked at again on later runs."
MISSING = "The provider's bill does not have them, and it is complete by now."
EXTRA = "Not through Bursar: the provider billed it, and no usage record has it."
OPPOSITE = "Requests and tokens differ in opposite directions: calls are missing on both sides, or counted otherwise."
OTHER_TOKENS = "As many requests, with other tokens."


@dataclass(frozen=True, slots=True)
class Line:
    """A part of a cell that is of one kind, with what each side says of it."""

    cell: Cell
    kind: Kind
    ours: Figures = NOTHING
    ours_usd: Decimal = ZERO
    theirs: Figures = NOTHING
    theirs_usd: Decimal = ZERO
    detail: str = ""

    @property
    def difference_usd(self) -> Decimal:
        return self.theirs_usd - self.ours_usd


def compare(
    ours: Mapping[Cell, Ours],
    theirs: Mapping[Cell, Tiered],
    *,
    is_settled: Callable[[Cell], bool],
    known_prices: KnownPrices,
) -> list[Line]:
    """The lines of all cells, in order.

    `is_settled` says whether the provider's bill of a day is taken for complete: until then what is missing there is
    late. `known_prices` gives the rows of our price list for a model.
    """
    theirs = {cell: Tiered(billed.tiers, to_twelve_places(billed.usd)) for cell, billed in theirs.items()}
    moved, shifted = shifts(ours, theirs)
    lines = [line for shift in shifted for line in _over_midnight(shift)]
    for cell in {**moved, **theirs}:
        one = _Comparison(
            cell,
            moved.get(cell, Ours()),
            theirs.get(cell, Tiered()),
            is_settled=is_settled(cell),
            known_prices=known_prices(cell.model),
        )
        lines += one.lines()
    return sorted(lines, key=lambda line: (line.cell, line.kind))


def _over_midnight(shift: Shift) -> list[Line]:
    """What is ours of a day, and is compared on the next: the two differences cancel out."""
    billed, count = shift.billed, len(shift.calls)
    told = f"{count} of our calls ran over midnight; the provider counts them on the day after."
    first = Line(shift.cell, Kind.OVER_MIDNIGHT, ours=billed.total, ours_usd=billed.usd, detail=told)
    second = Line(
        shift.next_cell,
        Kind.OVER_MIDNIGHT,
        ours=-billed.total,
        ours_usd=-billed.usd,
        detail=f"{count} of our calls of the day before, which the provider counts on this one.",
    )
    return [first, second]


@dataclass(frozen=True, slots=True)
class _Comparison:
    """One cell, with calls over midnight moved to where the provider counts them."""

    cell: Cell
    ours: Ours
    theirs: Tiered
    is_settled: bool
    known_prices: Sequence[KnownPrice]

    def lines(self) -> list[Line]:
        """At most one of what is there on both sides, and one of what is not."""
        if self.ours.billed.is_nothing:
            return self._extra(self.theirs.total) if not self.theirs.is_nothing else []
        change = self.theirs.total - self.ours.billed.total
        if not self.is_settled and self._is_behind(change):
            return self._late(change)
        if change == NOTHING:
            return self._both(ZERO, ZERO)
        if change.is_more:
            return self._extra(change)
        volume = self._volume()
        if (-change).is_more:
            kind, told = (Kind.MISSING_THERE, MISSING) if self.is_settled else (Kind.LATE, LATE)
            return [*self._both(-volume, ZERO), Line(self.cell, kind, -change, -volume, detail=told)]
        return self._tokens_differ(change, volume)

    def _is_behind(self, change: Figures) -> bool:
        """Whether the provider has less than we have, in figures or dollars, and more of nothing."""
        short = self.ours.billed.usd - self.theirs.usd
        lacks_dollars = short > 0 and not is_same(short, ZERO)
        return change <= NOTHING and (change != NOTHING or lacks_dollars) and (lacks_dollars or is_same(short, ZERO))

    def _late(self, change: Figures) -> list[Line]:
        """Requests and dollars may come at different times, so all that is not there yet is one line."""
        rest = self.ours.billed.usd - self.theirs.usd
        return [*self._both(rest, ZERO), Line(self.cell, Kind.LATE, -change, rest, detail=LATE)]

    def _extra(self, change: Figures) -> list[Line]:
        """What the provider has and we have not: a call whose outcome is open, or somebody else's."""
        rest = self.theirs.usd - self.ours.billed.usd
        amount = rest if self._is_all_of_the_change(change, rest) else self._volume()
        kind, told = Kind.MISSING_HERE, EXTRA
        waiting = self.ours.open_calls
        if change.is_more and waiting.could_be(change, amount):
            kind, most = Kind.IN_DOUBT, written(waiting.usd)
            told = f"Explained by {waiting.count} calls whose outcome is open: together {most} USD at most."
        elif waiting.count:
            told += f" The {waiting.count} calls whose outcome is open can not explain all of it."
        return [*self._both(ZERO, amount), Line(self.cell, kind, theirs=change, theirs_usd=amount, detail=told)]

    def _tokens_differ(self, change: Figures, volume: Decimal) -> list[Line]:
        """Fewer of one thing and more of another, or other tokens of as many requests."""
        less, more = (-volume, ZERO) if volume < 0 else (ZERO, volume)
        told = OPPOSITE if change.requests else OTHER_TOKENS
        line = Line(self.cell, Kind.TOKENS_DIFFER, (-change).positive, less, change.positive, more, told)
        return [*self._both(less, more), line]

    def _both(self, ours_apart: Decimal, theirs_apart: Decimal) -> list[Line]:
        """What both sides have, where so many dollars of either belong to another line: equal, or priced otherwise."""
        mine, billed = self.ours.billed.total, self.theirs.total
        common = Figures(*map(min, mine.parts, billed.parts))
        ours_usd, theirs_usd = self.ours.billed.usd - ours_apart, self.theirs.usd - theirs_apart
        if common == NOTHING and not ours_usd and not theirs_usd:
            return []
        if is_same(ours_usd, theirs_usd):
            return [Line(self.cell, Kind.MATCHED, common, ours_usd, common, theirs_usd)]
        if theirs_usd < ours_usd and not self.is_settled:
            there = Line(self.cell, Kind.MATCHED, common, theirs_usd, common, theirs_usd)
            return [there, Line(self.cell, Kind.LATE, ours_usd=ours_usd - theirs_usd, detail=LATE)]
        told = self._priced(common, ours_usd, theirs_usd)
        return [Line(self.cell, Kind.PRICED_DIFFERENTLY, common, ours_usd, common, theirs_usd, told)]

    def _priced(self, common: Figures, ours_usd: Decimal, theirs_usd: Decimal) -> str:
        """By which factor, and whether another price of our list would explain it."""
        told = f"The same tokens for {written(theirs_usd)} USD instead of {written(ours_usd)} USD"
        if ours_usd:
            told += f", {(theirs_usd / ours_usd).quantize(Decimal('0.0001')).normalize():f} times as much"
        fits = [price.label for price in self.known_prices if is_same(worth(common, price.terms), theirs_usd)]
        return f"{told}; as at the price {fits[0]}." if fits else f"{told}; no price of our list comes to that."

    def _is_all_of_the_change(self, change: Figures, rest: Decimal) -> bool:
        """Whether all dollars of a difference can be those of the calls that we do not have."""
        if self.ours.billed.is_nothing:
            return True
        return any(is_same(worth(change, price.terms), rest) for price in self.known_prices)

    def _volume(self) -> Decimal:
        """What the difference in tokens comes to at the prices of our calls, by service tier."""
        mine, billed = self.ours.billed.tiers, self.theirs.tiers
        found = ZERO
        for tier in {*mine, *billed}:
            terms = self.ours.prices.get(tier) or next(
                (price.terms for price in self.known_prices if price.service_tier == tier),
                next(iter(self.ours.prices.values())),
            )
            found += worth(billed.get(tier, NOTHING) - mine.get(tier, NOTHING), terms)
        return found
