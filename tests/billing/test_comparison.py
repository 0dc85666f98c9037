"""The comparison finds exactly the differences that were put in, and invents none."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from billing.models.reconciliations import DifferenceKind as Kind
from billing.pricing import PriceTerms
from billing.reconciliation.comparison import Line, compare
from billing.reconciliation.figures import (
    NOTHING,
    ZERO,
    Cell,
    Figures,
    KnownPrice,
    OpenCalls,
    Ours,
    OverMidnight,
    Tiered,
    sum_of,
    worth,
)

DAY = date(2026, 11, 1)
TERMS = {
    "standard": PriceTerms(Decimal(3), Decimal("1.5"), Decimal(12)),
    "batch": PriceTerms(Decimal("1.5"), Decimal("0.75"), Decimal(6)),
}
CALL = Figures(1, 1000, 0, 500)  # 0.009 USD


@dataclass
class Bills:
    """Calls of both sides, one by one; what is compared is their sums."""

    ours: dict[Cell, list[tuple[str, Figures]]] = field(default_factory=dict)
    theirs: dict[Cell, list[tuple[str, Figures, Decimal]]] = field(default_factory=dict)
    doubts: dict[Cell, OpenCalls] = field(default_factory=dict)
    over_midnight: dict[Cell, list[tuple[str, Figures]]] = field(default_factory=dict)
    unsettled: set[date] = field(default_factory=set)

    def book(self, cell: Cell, calls: Iterable[tuple[str, Figures]]) -> None:
        self.ours.setdefault(cell, []).extend(calls)

    def bill(self, cell: Cell, calls: Iterable[tuple[str, Figures]], factor: Decimal = Decimal(1)) -> None:
        self.theirs.setdefault(cell, []).extend(
            (tier, figures, worth(figures, TERMS[tier]) * factor) for tier, figures in calls
        )

    def compare(self) -> list[Line]:
        ours = {
            cell: Ours(
                _tiered((tier, figures, worth(figures, TERMS[tier])) for tier, figures in self.ours.get(cell, [])),
                {tier: TERMS[tier] for tier, _ in self.ours.get(cell, [])},
                tuple(
                    OverMidnight(tier, figures, worth(figures, TERMS[tier]))
                    for tier, figures in self.over_midnight.get(cell, [])
                ),
                self.doubts.get(cell, OpenCalls()),
            )
            for cell in {**self.ours, **self.doubts}
        }
        known = [KnownPrice(f"o1-mini {tier}", tier, terms) for tier, terms in TERMS.items()]
        lines = compare(
            ours,
            {cell: _tiered(calls) for cell, calls in self.theirs.items()},
            is_settled=lambda cell: cell.day not in self.unsettled,
            known_prices=lambda model: known,
        )
        self._assert_nothing_is_left_over(lines)
        return lines

    def _assert_nothing_is_left_over(self, lines: list[Line]) -> None:
        """The lines of a cell are the cell, on either side, to the last digit; none is invented."""
        for cell in {*self.ours, *self.theirs, *(line.cell for line in lines)}:
            mine = [line for line in lines if line.cell == cell]
            booked = self.ours.get(cell, [])
            billed = self.theirs.get(cell, [])
            assert sum_of(line.ours for line in mine) == sum_of(figures for _, figures in booked)
            assert sum_of(line.theirs for line in mine) == sum_of(figures for _, figures, _ in billed)
            worth_of_ours = sum((worth(figures, TERMS[tier]) for tier, figures in booked), ZERO)
            assert sum((line.ours_usd for line in mine), ZERO) == worth_of_ours
            assert sum((line.theirs_usd for line in mine), ZERO) == sum((usd for _, _, usd in billed), ZERO)


def _tiered(calls: Iterable[tuple[str, Figures, Decimal]]) -> Tiered:
    tiers: dict[str, Figures] = {}
    total = ZERO
    for tier, figures, usd in calls:
        tiers[tier] = tiers.get(tier, NOTHING) + figures
        total += usd
    return Tiered(tiers, total)


def differing(lines: list[Line]) -> dict[Cell, dict[str, Decimal]]:
    """What is not matched, as kind and dollars of each cell."""
    found: dict[Cell, dict[str, Decimal]] = {}
    for line in lines:
        if line.kind == Kind.MATCHED:
            assert (line.ours, abs(line.difference_usd) < Decimal("0.000001")) == (line.theirs, True)
        else:
            found.setdefault(line.cell, {})[line.kind] = line.difference_usd
    return found


def cell(model: str = "o1-mini", *, day: date = DAY, project: str = "proj_a") -> Cell:
    return Cell(day, project, model)


@pytest.fixture
def bills() -> Bills:
    """Three calls that both sides have."""
    bills = Bills()
    bills.book(cell(), [("standard", CALL)] * 3)
    bills.bill(cell(), [("standard", CALL)] * 3)
    return bills


def test_equal_bills_match(bills):
    (line,) = bills.compare()
    assert (line.kind, line.ours, line.ours_usd) == (Kind.MATCHED, Figures(3, 3000, 0, 1500), Decimal("0.027"))


def test_what_a_float_leaves_behind_is_kept_and_no_difference(bills):
    tier, figures, usd = bills.theirs[cell()][0]
    bills.theirs[cell()][0] = tier, figures, usd + Decimal("0.000000000001")
    (line,) = bills.compare()
    assert (line.kind, line.difference_usd) == (Kind.MATCHED, Decimal("0.000000000001"))


def test_missing_there(bills):
    bills.book(cell(), [("standard", CALL)])
    assert differing(bills.compare()) == {cell(): {Kind.MISSING_THERE: Decimal("-0.009")}}


def test_late_until_the_day_is_settled(bills):
    bills.book(cell(), [("standard", CALL)])
    bills.unsettled = {DAY}
    assert differing(bills.compare()) == {cell(): {Kind.LATE: Decimal("-0.009")}}


@pytest.mark.parametrize("has_tokens", [True, False])
def test_tokens_and_dollars_may_come_one_after_the_other(bills, has_tokens):
    """Only one of the two APIs has the fourth call yet."""
    bills.book(cell(), [("standard", CALL)])
    late = ("standard", CALL, ZERO) if has_tokens else ("standard", NOTHING, Decimal("0.009"))
    bills.theirs[cell()].append(late)
    bills.unsettled = {DAY}
    expected = {Kind.LATE: Decimal("-0.009") if has_tokens else ZERO}
    assert differing(bills.compare()) == {cell(): expected}


def test_a_call_that_is_late_in_a_bill_that_is_too_high_already_is_late_all_the_same(bills):
    bills.theirs = {}
    bills.bill(cell(), [("standard", CALL)] * 2, Decimal(2))
    bills.unsettled = {DAY}
    found = differing(bills.compare())
    assert found == {cell(): {Kind.LATE: Decimal("-0.009"), Kind.PRICED_DIFFERENTLY: Decimal("0.018")}}


def test_not_through_bursar(bills):
    bills.bill(cell(), [("standard", CALL)])
    bills.bill(cell("gpt-4o"), [("standard", CALL)])
    bills.theirs[cell("web search tool calls")] = [("standard", NOTHING, Decimal("0.5"))]
    assert differing(bills.compare()) == {
        cell(): {Kind.MISSING_HERE: Decimal("0.009")},
        cell("gpt-4o"): {Kind.MISSING_HERE: Decimal("0.009")},
        cell("web search tool calls"): {Kind.MISSING_HERE: Decimal("0.5")},
    }


def test_somebody_elses_call_at_another_price_of_ours_is_no_difference_in_price(bills):
    """Their call was a batch's, which the usage API did not say."""
    bills.theirs[cell()].append(("standard", CALL, Decimal("0.0045")))
    assert differing(bills.compare()) == {cell(): {Kind.MISSING_HERE: Decimal("0.0045")}}


def test_priced_differently_says_by_which_factor_and_price(bills):
    bills.theirs = {}
    bills.bill(cell(), [("standard", CALL)] * 3, Decimal("0.5"))
    (line,) = bills.compare()
    assert (line.kind, line.difference_usd) == (Kind.PRICED_DIFFERENTLY, Decimal("-0.0135"))
    assert "0.5 times as much; as at the price o1-mini batch." in line.detail


def test_a_call_under_another_service_tier_is_priced_differently(bills):
    bills.theirs = {}
    bills.bill(cell(), [("standard", CALL)] * 2 + [("batch", CALL)])
    assert differing(bills.compare()) == {cell(): {Kind.PRICED_DIFFERENTLY: Decimal("-0.0045")}}


def test_tokens_differ(bills):
    bills.theirs = {}
    bills.bill(cell(), [("standard", CALL)] * 2 + [("standard", Figures(1, 1000, 0, 400))])
    assert differing(bills.compare()) == {cell(): {Kind.TOKENS_DIFFER: Decimal("-0.0012")}}


def test_a_missing_and_an_extra_call_in_one_cell_are_told_as_what_they_are_known_to_be(bills):
    bills.book(cell(), [("standard", CALL)])
    bills.bill(cell(), [("standard", Figures(1, 10, 0, 900))])
    (line,) = [line for line in bills.compare() if line.kind != Kind.MATCHED]
    assert (line.kind, line.ours, line.theirs) == (Kind.TOKENS_DIFFER, Figures(0, 990), Figures(0, 0, 0, 400))


@pytest.mark.parametrize(
    ("doubt", "kind"),
    [
        (OpenCalls(1, 1000, 5000, Decimal("0.063")), Kind.IN_DOUBT),
        (OpenCalls(1, 999, 5000, Decimal("0.063")), Kind.MISSING_HERE),
        (OpenCalls(1, 1000, 499, Decimal("0.063")), Kind.MISSING_HERE),
        (OpenCalls(1, 1000, 5000, Decimal("0.008999")), Kind.MISSING_HERE),
        (OpenCalls(0), Kind.MISSING_HERE),
    ],
)
def test_a_call_in_doubt_explains_what_it_can_have_come_to(bills, doubt, kind):
    bills.bill(cell(), [("standard", CALL)])
    bills.doubts[cell()] = doubt
    assert differing(bills.compare()) == {cell(): {kind: Decimal("0.009")}}


def test_a_call_in_doubt_explains_a_model_of_which_nothing_was_booked():
    bills = Bills(doubts={cell(): OpenCalls(2, 5000, 5000, Decimal(1))})
    bills.bill(cell(), [("standard", CALL)])
    assert differing(bills.compare()) == {cell(): {Kind.IN_DOUBT: Decimal("0.009")}}
    assert Bills(doubts=bills.doubts).compare() == []


def test_calls_over_midnight_cancel_out(bills):
    tomorrow = cell(day=DAY + timedelta(days=1))
    first, second = Figures(1, 70, 0, 10), Figures(1, 7, 0, 900)
    bills.book(cell(), [("standard", first), ("batch", second)])
    bills.over_midnight[cell()] = [("standard", first), ("batch", second)]
    bills.bill(cell(), [("standard", first)])
    bills.bill(tomorrow, [("batch", second)])
    usd = worth(second, TERMS["batch"])
    found = differing(bills.compare())
    assert found == {cell(): {Kind.OVER_MIDNIGHT: -usd}, tomorrow: {Kind.OVER_MIDNIGHT: usd}}


def test_many_calls_over_midnight_cancel_out_too(bills):
    tomorrow = cell(day=DAY + timedelta(days=1))
    late = [("standard", Figures(1, n, 0, n * n)) for n in range(1, 60)]
    bills.book(cell(), late)
    bills.over_midnight[cell()] = late
    bills.bill(cell(), late[:20])
    bills.bill(tomorrow, late[20:])
    assert {kind for kinds in differing(bills.compare()).values() for kind in kinds} == {Kind.OVER_MIDNIGHT}


# --- At size ----------------------------------------------------------------------------------------------------------
KINDS = (
    "none",
    "missing",
    "late",
    "extra",
    "priced",
    "missing and priced",
    "extra and priced",
    "tokens",
    "doubt",
    "midnight",
)


class World:
    """A random bill of ten days, three projects and four models, with one random thing put into each of its cells."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.bills = Bills(unsettled={DAY + timedelta(days=8)})
        self.expected: dict[Cell, dict[str, Decimal]] = {}
        for project in ("proj_a", "proj_b", ""):
            for model in ("o1-mini", "o1-preview", "gpt-4o", "o3"):
                for number in range(0, 9, 2):  # every other day, so that midnight has a day of its own
                    self._fill(cell(model, day=DAY + timedelta(days=number), project=project))

    def call(self) -> tuple[str, Figures]:
        tokens = self.random.randrange(1, 100_000)
        cached = self.random.choice((0, self.random.randrange(tokens)))
        return self.random.choice(tuple(TERMS)), Figures(1, tokens, cached, self.random.randrange(1, 50_000))

    def calls(self, most: int) -> list[tuple[str, Figures]]:
        return [self.call() for _ in range(self.random.randrange(1, most))]

    def _fill(self, cell: Cell) -> None:
        kind = self.random.choice(KINDS)
        is_unsettled = cell.day in self.bills.unsettled
        if is_unsettled:
            kind = self.random.choice(("none", "late", "extra", "midnight", "doubt"))
        elif kind == "late":
            kind = "none"
        mine = [self.call() for _ in range(self.random.randrange(1, 40))]
        factor = self.random.choice((Decimal("0.5"), Decimal("1.1"), Decimal(2))) if "priced" in kind else Decimal(1)
        self.bills.book(cell, mine)
        self.bills.bill(cell, mine, factor)
        if factor != 1:
            self._expect(cell, Kind.PRICED_DIFFERENTLY, mine, factor - 1)
        match kind.split()[0]:
            case "missing" | "late":
                gone = self.calls(5)
                self.bills.book(cell, gone)
                self._expect(cell, Kind.LATE if is_unsettled else Kind.MISSING_THERE, gone, Decimal(-1))
            case "extra":
                extra = self.calls(5)
                self.bills.bill(cell, extra)
                self._expect(cell, Kind.MISSING_HERE, extra)
            case "tokens":
                self._counted_otherwise(cell)
            case "doubt":
                lost = self.calls(5)
                self.bills.bill(cell, lost)
                worst = sum((worth(figures, TERMS["standard"]) for _, figures in lost), ZERO)
                total = sum_of(figures for _, figures in lost)
                self.bills.doubts[cell] = OpenCalls(len(lost) + 1, total.input, total.output, worst)
                self._expect(cell, Kind.IN_DOUBT, lost)
            case "midnight":
                self._over_midnight(cell)

    def _counted_otherwise(self, cell: Cell) -> None:
        """The provider counted one call's output higher."""
        tier, figures = self.call()
        self.bills.book(cell, [(tier, figures)])
        self.bills.bill(cell, [(tier, figures + Figures(output=7))])
        self._expect(cell, Kind.TOKENS_DIFFER, [(tier, Figures(output=7))])

    def _over_midnight(self, cell: Cell) -> None:
        later, on_time = self.calls(4), self.calls(4)
        self.bills.book(cell, [*later, *on_time])
        self.bills.over_midnight[cell] = [*on_time, *later]
        self.bills.bill(cell, on_time)
        tomorrow = Cell(cell.day + timedelta(days=1), cell.provider_project, cell.model)
        self.bills.bill(tomorrow, later)
        self._expect(cell, Kind.OVER_MIDNIGHT, later, Decimal(-1))
        self._expect(tomorrow, Kind.OVER_MIDNIGHT, later)

    def _expect(self, cell: Cell, kind: Kind, calls: list[tuple[str, Figures]], factor: Decimal = Decimal(1)) -> None:
        usd = sum((worth(figures, TERMS[tier]) for tier, figures in calls), ZERO) * factor
        self.expected.setdefault(cell, {})[kind] = usd


def test_exactly_what_was_put_in_is_found():
    for seed in range(150):
        world = World(seed)
        found = differing(world.bills.compare())
        wrong = {cell for cell in {**found, **world.expected} if found.get(cell) != world.expected.get(cell)}
        assert [(seed, cell, found.get(cell), world.expected.get(cell)) for cell in sorted(wrong)] == []


def test_the_worlds_have_everything():
    seen: set[Any] = set()
    for seed in range(20):
        seen |= {kind for kinds in World(seed).expected.values() for kind in kinds}
    assert seen == set(Kind) - {Kind.MATCHED}
