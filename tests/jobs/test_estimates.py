from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.pricing import PriceTerms
from jobs.estimates import IMAGE_TOKENS, bound_of, count_tokens, prompt_size
from jobs.validation import PromptRequest
from tests.flows.conftest import PROMPT

CONCISE = PROMPT + " Limit yourself to the answer and don't add explanations or introductions."
TERMS = PriceTerms(Decimal(15), Decimal("7.5"), Decimal(60))


def request(*contents, **parameters) -> PromptRequest:
    return PromptRequest("o1-mini", [{"role": "user", "content": content} for content in contents], parameters)


@pytest.mark.parametrize(("prompt", "billed"), [(PROMPT, 43), (CONCISE, 55)])
def test_the_count_is_what_the_provider_billed(prompt, billed):
    size = prompt_size(request(prompt))
    assert size.counted_tokens == billed
    assert size.bound_tokens >= billed


def test_the_bound_covers_the_two_message_call_that_the_formula_does_not():
    size = prompt_size(request("one two three four five six", "one two three four five six"))
    assert size.counted_tokens == 23  # a recorded o1-mini call like this billed 30
    assert size.bound_tokens >= 30


def test_the_bound_takes_the_dearer_input_price_and_the_whole_cap():
    asked = request(PROMPT, max_completion_tokens=300)
    size = prompt_size(asked)
    bound = bound_of(asked, size, max_output_tokens=65_536, price=TERMS)
    assert bound.output_tokens == 300
    assert bound.usd == Decimal(size.bound_tokens) * 15 / 1_000_000 + Decimal("0.018")


def test_without_a_cap_the_answer_may_be_as_long_as_the_model_can_make_it():
    asked = request(PROMPT)
    assert bound_of(asked, prompt_size(asked), max_output_tokens=65_536, price=TERMS).output_tokens == 65_536


def test_several_answers_cost_several_times_the_cap():
    asked = request(PROMPT, max_completion_tokens=300, n=4)
    assert bound_of(asked, prompt_size(asked), max_output_tokens=65_536, price=TERMS).output_tokens == 1200


def test_the_rate_limit_counts_the_cap_or_the_prompt_whichever_is_more():
    small, large = request("hi", max_completion_tokens=25_000), request("word " * 50_000, max_completion_tokens=10)
    assert bound_of(small, prompt_size(small), max_output_tokens=9, price=TERMS).admission_tokens == 25_000
    assert bound_of(large, prompt_size(large), max_output_tokens=9, price=TERMS).admission_tokens == 62_500


def test_parts_calls_schemas_and_pictures_are_counted():
    plain = prompt_size(request("a long sentence about cats")).bound_tokens
    parts = [
        {"type": "text", "text": "a long sentence about cats"},
        {"type": "image_url", "image_url": {"url": "data:x"}},
    ]
    assert prompt_size(request(parts)).bound_tokens == plain + IMAGE_TOKENS
    refusal = [{"type": "refusal", "refusal": "a long sentence about cats"}]
    assert prompt_size(request(refusal)).bound_tokens == plain
    calls = PromptRequest(
        "gpt-4o",
        [{"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "x " * 500}}]}],
        {"tools": [{"type": "function", "function": {"name": "f", "description": "word " * 300}}]},
    )
    assert prompt_size(calls).bound_tokens > 800


@pytest.mark.parametrize("text", ["a" * 1_000_000, "\ud800", "<|endoftext|>", "", "\u0000", "word " * 250_000])
def test_any_text_is_counted(text):
    assert 0 <= count_tokens(text) <= max(len(text) * 4, 4)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=2000))
def test_the_bound_is_never_below_the_count(text):
    size = prompt_size(request(text))
    assert size.bound_tokens >= size.counted_tokens + 7
