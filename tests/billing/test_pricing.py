from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.pricing import PriceTerms, Tokens, bound_usd, cost

O1_PREVIEW = PriceTerms(Decimal(15), Decimal(15), Decimal(60))
O1_MINI = PriceTerms(Decimal(3), Decimal(3), Decimal(12))


@pytest.mark.parametrize(
    ("price", "prompt", "completion", "reasoning", "total"),
    [
        (O1_PREVIEW, 43, 1279, 1024, "0.077385"),
        (O1_PREVIEW, 43, 300, 300, "0.018645"),  # the empty answer, paid for
        (O1_MINI, 43, 1511, 256, "0.018261"),
        (O1_MINI, 55, 487, 320, "0.006009"),
    ],
)
def test_the_golden_calls_cost_what_the_provider_billed(price, prompt, completion, reasoning, total):
    assert cost(Tokens(prompt, 0, completion, reasoning), price).total_usd == Decimal(total)


def test_reasoning_is_part_of_the_output_and_priced_once():
    parts = cost(Tokens(43, 0, 1279, 1024), O1_PREVIEW)
    assert parts.reasoning_usd == Decimal("0.06144")
    assert parts.output_usd == Decimal("0.0153")
    assert parts.reasoning_usd + parts.output_usd == Decimal(1279) * 60 / 1_000_000


def test_cached_input_is_part_of_the_input_and_has_its_own_price():
    parts = cost(Tokens(1566, 1408, 0, 0), PriceTerms(Decimal(15), Decimal("7.5"), Decimal(60)))
    assert parts.input_usd == Decimal("0.00237")
    assert parts.cached_input_usd == Decimal("0.01056")


def test_what_is_written_to_the_cache_is_part_of_the_input_and_has_its_own_price():
    # gpt-5.6-luna in July 2026: of 18,014 tokens 18,011 were written, then read.
    terms = PriceTerms(Decimal(1), Decimal("0.1"), Decimal(6), Decimal("1.25"))
    assert cost(Tokens(18_014, 0, 5, 0, 18_011), terms).input_usd == Decimal("0.02251675")
    assert cost(Tokens(18_014, 18_011, 5, 0), terms).total_usd == Decimal("0.0018341")
    # Where writing has no price of its own, it costs what input costs.
    assert cost(Tokens(100, 0, 0, 0, 100), O1_MINI).total_usd == cost(Tokens(100, 0, 0, 0), O1_MINI).total_usd
    assert bound_usd(input_tokens=100, output_tokens=0, price=terms) == Decimal("0.000125")


@pytest.mark.parametrize(
    "bill",
    [
        (10, 11, 0, 0),
        (10, 5, 0, 0, 6),
        (10, 0, 0, 0, -1),
        (10, 0, 5, 6),
        (-1, 0, 0, 0),
        (10, -1, 0, 0),
        (0, 0, -1, 0),
        (0, 0, 1, -1),
    ],
)
def test_a_bill_whose_parts_exceed_their_whole_is_not_believed(bill):
    with pytest.raises(ValueError, match="do not lie within"):
        Tokens(*bill)


def test_one_cached_token_at_the_cheapest_batch_price_is_exact():
    price = PriceTerms(Decimal("0.05"), Decimal("0.0025"), Decimal("0.2"))
    assert cost(Tokens(1, 1, 0, 0), price).total_usd == Decimal("0.0000000025")


prices = st.decimals(min_value=0, max_value=10_000, places=6)
counts = st.integers(0, 10**9)


@given(prices, prices, prices, st.none() | prices, counts, counts, counts, counts, st.integers(0, 10))
def test_no_cost_exceeds_the_bound_of_its_tokens(p_in, p_cached, p_out, p_write, a, b, c, d, tenths):
    terms = PriceTerms(p_in, p_cached, p_out, p_write)
    tokens = Tokens(max(a, b), min(a, b), max(c, d), min(c, d), abs(a - b) * tenths // 10)
    bound = bound_usd(input_tokens=tokens.input, output_tokens=tokens.output, price=terms)
    parts = cost(tokens, terms)
    assert parts.total_usd <= bound
    assert -parts.total_usd.as_tuple().exponent <= 12
