"""Calls that run over midnight: we count the day on which they began, the provider perhaps that on which they ended."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from billing.reconciliation.figures import NOTHING, Cell, Figures, Ours, OverMidnight, Tiered, sum_of

# Of so many every choice is tried; of more, only all of them and those that ended last.
MOST_TRIED = 14
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Shift:
    """Calls of `cell` that the provider counts on the day after."""

    cell: Cell
    calls: tuple[OverMidnight, ...]

    @property
    def next_cell(self) -> Cell:
        return replace(self.cell, day=self.cell.day + DAY)

    @property
    def billed(self) -> Tiered:
        return _of_calls(self.calls)


def shifts(ours: Mapping[Cell, Ours], theirs: Mapping[Cell, Tiered]) -> tuple[dict[Cell, Ours], list[Shift]]:
    """Our side with calls moved to the day on which the provider counts them, and which those are.

    Calls are moved where exactly they are what the one day lacks, or what the next has too much.
    """
    moved, found = dict(ours), []
    for cell in sorted(cell for cell, mine in ours.items() if mine.over_midnight):
        day_after = replace(cell, day=cell.day + DAY)
        lacking = moved[cell].billed.total - theirs.get(cell, Tiered()).total
        exceeding = theirs.get(day_after, Tiered()).total - moved.get(day_after, Ours()).billed.total
        calls = _that_are(moved[cell].over_midnight, (lacking, exceeding))
        if calls:
            shift = Shift(cell, calls)
            found.append(shift)
            moved[cell] = _changed(moved[cell], _negative(shift.billed))
            moved[day_after] = _changed(moved.get(day_after, Ours(prices=moved[cell].prices)), shift.billed)
    return moved, found


def _that_are(calls: Sequence[OverMidnight], wanted: Iterable[Figures]) -> tuple[OverMidnight, ...]:
    """Some of the calls whose figures come to the first of the wanted sums that can be made; () where none can."""
    for figures in wanted:
        if figures.is_more and figures <= sum_of(call.figures for call in calls):
            found = _choice(calls, figures)
            if found:
                return found
    return ()


def _choice(calls: Sequence[OverMidnight], wanted: Figures) -> tuple[OverMidnight, ...]:
    """Calls, which come in the order of their ends, that sum up to what is wanted."""
    if len(calls) > MOST_TRIED:
        last = tuple(calls[len(calls) - wanted.requests :]) if wanted.requests <= len(calls) else ()
        return last if sum_of(call.figures for call in last) == wanted else ()
    reached: dict[Figures, tuple[OverMidnight, ...]] = {NOTHING: ()}
    for call in calls:
        further = {figures + call.figures: (*chosen, call) for figures, chosen in reached.items()}
        reached = {**further, **reached}
        if wanted in reached:
            return reached[wanted]
    return ()


def _changed(mine: Ours, by: Tiered) -> Ours:
    tiers = {
        tier: mine.billed.tiers.get(tier, NOTHING) + by.tiers.get(tier, NOTHING)
        for tier in {*mine.billed.tiers, *by.tiers}
    }
    return replace(mine, billed=Tiered(tiers, mine.billed.usd + by.usd))


def _negative(billed: Tiered) -> Tiered:
    return Tiered({tier: -figures for tier, figures in billed.tiers.items()}, -billed.usd)


def _of_calls(calls: Sequence[OverMidnight]) -> Tiered:
    tiers: dict[str, Figures] = {}
    for call in calls:
        tiers[call.service_tier] = tiers.get(call.service_tier, NOTHING) + call.figures
    return Tiered(tiers, sum((call.usd for call in calls), Tiered().usd))
