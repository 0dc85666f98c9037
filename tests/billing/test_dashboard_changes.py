"""Why a cost changed: the effects sum to the difference to the last digit, and each is about what it says."""

from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from billing.dashboard.changes import EFFECTS, Cell, change, sum_of

USD = st.decimals(min_value=0, max_value=1_000_000, places=12)
TOKENS = st.integers(0, 10**12)
ZERO = Decimal(0)


@st.composite
def cells(draw: st.DrawFn) -> Cell:
    """Any cell that a rollup can have: dollars without tokens too, and calls without either."""
    return Cell(
        draw(st.integers(1, 10**6)),
        draw(st.tuples(TOKENS, TOKENS, TOKENS, TOKENS)),
        draw(st.tuples(USD, USD, USD, USD)),
    )


SIDES = st.dictionaries(st.sampled_from(["a", "b", "c"]), cells())


def cell(calls: int, *, visible: int = 0, reasoning: int = 0, per_million: str = "60", each_input: int = 0) -> Cell:
    """Calls of so many tokens each, at one price for all meters."""
    tokens = (calls * each_input, 0, calls * visible, calls * reasoning)
    usd = tuple(Decimal(count) * Decimal(per_million) / 1_000_000 for count in tokens)
    return Cell(calls, tokens, usd)  # type: ignore[arg-type]


def effects(before: dict[str, Cell], after: dict[str, Cell]) -> dict[str, Decimal]:
    """The effects that are not nothing."""
    return {name: usd for name, usd in change("", None, before, after).effects.items() if usd}


@given(SIDES, SIDES)
def test_effects_sum_to_the_difference_exactly(before, after):
    found = change("one", 1, before, after)
    cost = [sum((c.total_usd for c in side.values()), ZERO) for side in (before, after)]
    assert set(found.effects) == {name for name, _ in EFFECTS}
    assert sum(found.effects.values()) == cost[1] - cost[0] == found.difference_usd
    # Twelve places, as every amount.
    assert all(usd == usd.quantize(Decimal("1E-12")) for usd in found.effects.values())


@given(st.lists(st.tuples(SIDES, SIDES), max_size=4))
def test_projects_sum_to_the_total(pairs):
    found = [change("one", 1, *pair) for pair in pairs]
    total = sum_of(found)
    assert sum(total.effects.values(), ZERO) == total.difference_usd
    assert total.difference_usd == sum((one.difference_usd for one in found), ZERO)


@given(SIDES)
def test_nothing_changed(side):
    side = {name: replace(one, tokens=tuple(count + 1 for count in one.tokens)) for name, one in side.items()}
    assert effects(side, side) == {}


def test_twice_the_calls_is_volume():
    one, two = cell(10, visible=100, reasoning=400), cell(20, visible=100, reasoning=400)
    assert effects({"a": one}, {"a": two}) == {"volume": one.total_usd}
    assert effects({"a": two}, {"a": one}) == {"volume": -one.total_usd}
    assert effects({}, {"a": one}) == {"volume": one.total_usd}
    assert effects({"a": one}, {}) == {"volume": -one.total_usd}


def test_another_model_is_mix():
    dear, cheap = cell(10, visible=100), cell(10, visible=100, per_million="12")
    assert effects({"a": dear}, {"b": cheap}) == {"mix": cheap.total_usd - dear.total_usd}
    both = {"a": cell(5, visible=100), "b": cell(5, visible=100, per_million="12")}
    assert set(effects(both, {"a": cell(1, visible=100), "b": cell(9, visible=100, per_million="12")})) == {"mix"}


def test_longer_answers_are_tokens():
    short, long = cell(10, visible=100, each_input=10), cell(10, visible=200, each_input=30)
    assert effects({"a": short}, {"a": long}) == {"tokens": long.total_usd - short.total_usd}


def test_longer_reasoning_is_reasoning():
    short, long = cell(10, visible=100, reasoning=100), cell(10, visible=100, reasoning=900)
    assert effects({"a": short}, {"a": long}) == {"reasoning": long.total_usd - short.total_usd}
    none = cell(10, visible=100)  # its price is the one of now
    assert effects({"a": none}, {"a": long}) == {"reasoning": long.total_usd - none.total_usd}


def test_another_price_is_price():
    before, after = cell(10, visible=100, reasoning=7), cell(10, visible=100, reasoning=7, per_million="30")
    assert effects({"a": before}, {"a": after}) == {"price": after.total_usd - before.total_usd}


def test_the_example_of_the_documentation():
    before = {"o1-preview": cell(100, visible=200, reasoning=1000)}
    after = {
        "o1-preview": cell(50, visible=200, reasoning=2000, per_million="30"),
        "o1-mini": cell(150, visible=200, reasoning=500, per_million="12"),
    }
    found = change("", None, before, after)
    assert (found.before_usd, found.after_usd) == (Decimal("7.2"), Decimal("4.56"))
    assert found.effects == {
        "volume": Decimal("7.2"),
        "mix": Decimal("-9.54"),
        "tokens": ZERO,
        "reasoning": Decimal("3"),
        "price": Decimal("-3.3"),
    }
