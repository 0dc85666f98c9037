"""What of a paid call was wasted: pure arithmetic, by hand and over all calls."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.pricing import PriceTerms
from jobs.waste.categories import TOLD, Category
from jobs.waste.reckoning import Cheaper, PaidCall, Sent, Usual, wasted

D = Decimal
NOW = datetime(2026, 11, 30, tzinfo=UTC)
JOB, PREFIX, OTHER_PREFIX = UUID(int=1), UUID(int=2), UUID(int=3)
O1_PREVIEW = PriceTerms(D(15), D("7.5"), D(60))
O1_MINI = PriceTerms(D(3), D("1.5"), D(12))


def call(price: PriceTerms = O1_PREVIEW, **fields: Any) -> PaidCall:
    """A call of o1-preview that was answered and read, unless told otherwise."""
    tokens = {"input_tokens": 2000, "cached_input_tokens": 0, "output_tokens": 1000, "reasoning_tokens": 800}
    made: dict[str, Any] = {
        "job_id": JOB,
        "model": "o1-preview",
        "service_tier": "standard",
        "prefix": None,
        "dispatched_at": NOW - timedelta(days=10),
        "finished_at": NOW - timedelta(days=10),
        "read_at": NOW - timedelta(days=9),
        "is_beside": False,
        "is_empty": False,
        "is_refused": False,
        **tokens,
        "price": price,
        **fields,
    }
    total = (
        (made["input_tokens"] - made["cached_input_tokens"]) * price.input
        + made["cached_input_tokens"] * price.cached_input
        + made["output_tokens"] * price.output
    ) / 1_000_000
    return PaidCall(**made, total_usd=total)


def parts(of: PaidCall, usual: Usual | None = None, *, was_sent: bool = False) -> dict[str, Decimal]:
    return {category.value: usd for category, usd in wasted(of, usual or Usual(), was_sent=was_sent, now=NOW).items()}


def test_a_useful_call_wastes_nothing():
    assert parts(call()) == {}


@pytest.mark.parametrize(
    ("fields", "category"),
    [
        ({"is_beside": True}, "retry"),
        ({"is_empty": True}, "empty"),
        ({"is_refused": True}, "refused"),
        ({"read_at": None}, "unread"),
        # The first that fits has it all.
        ({"is_beside": True, "is_empty": True, "is_refused": True, "read_at": None}, "retry"),
        ({"is_empty": True, "is_refused": True, "read_at": None}, "empty"),
        ({"is_refused": True, "read_at": None}, "refused"),
    ],
)
def test_what_has_all_of_a_call(fields: dict[str, Any], category: str):
    assert parts(call(**fields)) == {category: D("0.09")}


@pytest.mark.parametrize(("days", "category"), [(7, {"unread": D("0.09")}), (6, {})])
def test_an_answer_is_unread_after_seven_days(days: int, category: dict[str, Decimal]):
    assert parts(call(read_at=None, finished_at=NOW - timedelta(days=days))) == category
    assert parts(call(read_at=None, finished_at=None)) == {}


def test_an_answer_above_three_times_the_median_is_long():
    """200 visible tokens: 50 more than three times fifty."""
    usual = Usual(medians={("o1-preview", None): 50})
    assert parts(call(), usual) == {"long": D("0.003")}
    assert parts(call(), Usual(medians={("o1-preview", None): 67})) == {}
    # A hundred tokens are never too many.
    assert parts(call(), Usual(medians={("o1-preview", None): 1})) == {"long": D("0.006")}


def test_what_is_usual_for_prompts_that_begin_alike_goes_first():
    usual = Usual(medians={("o1-preview", PREFIX): 500, ("o1-preview", None): 50, ("o1-mini", None): 1})
    assert parts(call(prefix=PREFIX), usual) == {}
    assert parts(call(prefix=OTHER_PREFIX), usual) == {"long": D("0.003")}


def test_a_beginning_that_was_sent_before_and_not_billed_as_cached():
    """1,024 tokens at 7.5 dollars a million less."""
    assert parts(call(prefix=PREFIX), was_sent=True) == {"cache_miss": D("0.00768")}
    assert parts(call(prefix=PREFIX, cached_input_tokens=1024), was_sent=True) == {}
    assert parts(call(prefix=PREFIX, cached_input_tokens=1000), was_sent=True) == {"cache_miss": D("0.00018")}
    assert parts(call(prefix=PREFIX, service_tier="batch"), was_sent=True) == {}
    assert parts(call(replace(O1_PREVIEW, cached_input=D(15)), prefix=PREFIX), was_sent=True) == {}


def test_the_same_tokens_on_a_cheaper_model():
    usual = Usual(cheaper={("o1-preview", "standard", "size 11"): Cheaper("o1-mini", "used alike", O1_MINI)})
    # 0.09 less 2,000 tokens at 3 and 1,000 at 12 dollars a million.
    assert parts(call(), usual) == {"dear_model": D("0.072")}
    assert parts(call(model="o1"), usual) == {}
    dearer = Usual(
        cheaper={("o1-preview", "standard", "size 11"): Cheaper("x", "successor", PriceTerms(D(90), D(90), D(90)))}
    )
    assert parts(call(), dearer) == {}


def test_no_dollar_is_counted_twice():
    """Too long, not cached and too dear: the cheaper model is compared with what is left."""
    usual = Usual(
        medians={("o1-preview", None): 50},
        cheaper={("o1-preview", "standard", str(PREFIX)): Cheaper("o1-mini", "successor", O1_MINI)},
    )
    found = parts(call(prefix=PREFIX), usual, was_sent=True)
    assert found == {
        "long": D("0.003"),
        "cache_miss": D("0.00768"),
        # 976 tokens at 3, 1,024 at 1.5 and 950 at 12 dollars a million.
        "dear_model": D("0.09") - D("0.003") - D("0.00768") - D("0.015864"),
    }


def test_what_was_sent_a_short_while_ago():
    sent, at = Sent(), NOW - timedelta(days=1)

    def before(seconds: float, prefix: UUID | None = PREFIX, model: str = "o1") -> bool:
        return sent.before(call(prefix=prefix, model=model, dispatched_at=at + timedelta(seconds=seconds)))

    assert before(0) is False
    assert before(0.5) is False  # at the same time, it cannot be there yet
    assert before(1) is True
    assert before(2, OTHER_PREFIX) is False
    assert before(2, model="o1-mini") is False
    assert before(301) is True
    assert before(602) is False  # more than five minutes after the last one
    assert before(700, None) is False


TOKENS = st.integers(0, 200_000)
PRICES = st.decimals(0, 1000, places=6)


@given(
    st.lists(TOKENS, min_size=4, max_size=4),
    st.lists(PRICES, min_size=6, max_size=6),
    st.lists(st.booleans(), min_size=5, max_size=5),
    st.integers(0, 10_000),
)
def test_what_is_wasted_is_never_more_than_the_cost_and_has_no_more_than_twelve_decimals(tokens, prices, flags, median):
    a, b, c, d = tokens
    own, other = (PriceTerms(x, min(x, y), z) for x, y, z in (prices[:3], prices[3:]))
    of = call(
        own,
        prefix=PREFIX,
        input_tokens=max(a, b),
        cached_input_tokens=min(a, b),
        output_tokens=max(c, d),
        reasoning_tokens=min(c, d),
        is_beside=flags[0],
        is_empty=flags[1],
        is_refused=flags[2],
        read_at=NOW if flags[3] else None,
    )
    usual = Usual(
        medians={("o1-preview", None): median},
        cheaper={("o1-preview", "standard", str(PREFIX)): Cheaper("other", "successor", other)},
    )
    found = wasted(of, usual, was_sent=flags[4], now=NOW)
    assert all(usd > 0 for usd in found.values())
    assert sum(found.values()) <= of.total_usd
    assert all(usd == usd.quantize(D("1e-12")) for usd in found.values())


def test_every_category_says_how_it_is_reckoned_and_what_to_do():
    assert set(TOLD) == set(Category)
    assert all(told.reckoned.endswith(".") and told.to_do.endswith((".", "”")) for told in TOLD.values())
    assert [category for category, told in TOLD.items() if told.is_estimate] == [Category.DEAR_MODEL]
