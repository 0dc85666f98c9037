"""Tokens: the same for the same seed, whole blocks of reasoning, and a text of exactly the tokens that are billed."""

from decimal import Decimal
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import OpenAI

from config.simulator import usage
from config.simulator.answers import SENTENCES, Question, answer
from config.simulator.models import catalogue
from config.simulator.running import RunningSimulator
from config.simulator.usage import Usage, cached_tokens, cost_usd, decimal_text, encode, written_tokens
from tests.simulator.clients import ask, connect


def question(messages: str = "m", *, seed: int = 1, model: str = "o1", effort: str | None = None) -> Question:
    return Question(seed=seed, model=model, messages=messages, reasoning=not model.startswith("gpt-4"), effort=effort)


@settings(deadline=None)  # the first of them loads the tokenizer
@given(messages=st.text(), cap=st.integers(1, 4_000))
def test_text_and_tokens_agree_whatever_the_cap(messages: str, cap: int) -> None:
    whole = answer(question(messages))
    capped = whole.capped(cap)

    assert whole.reasoning_tokens % 64 == 0
    assert whole.visible_tokens == len(encode(whole.text))
    assert capped.visible_tokens == len(encode(capped.text))
    assert whole.text.startswith(capped.text)
    assert capped.completion_tokens == min(cap, whole.completion_tokens)
    assert (capped.finish_reason == "length") == (cap < whole.completion_tokens)
    assert (capped.text == "") == (cap <= whole.reasoning_tokens)


def test_sentences_can_be_cut_after_any_token() -> None:
    encoding = usage.encoding()
    for sentence in SENTENCES:
        tokens = encode(sentence)
        for length in range(len(tokens)):
            assert len(encode(encoding.decode(tokens[:length]))) == length


def test_seed_model_and_messages_decide_the_answer() -> None:
    assert answer(question()) == answer(question())
    others = [answer(question("n")), answer(question(seed=2)), answer(question(model="o3"))]
    assert all(other != answer(question()) for other in others)


def test_effort_scales_reasoning_and_leaves_the_text() -> None:
    low, medium, high = (answer(question(effort=effort)) for effort in ("low", "medium", "high"))

    assert low.text == medium.text == high.text
    assert low.reasoning_tokens * 2 == medium.reasoning_tokens == high.reasoning_tokens // 2
    assert answer(question()) == medium


def test_models_that_do_not_reason_have_no_reasoning_tokens(client: OpenAI) -> None:
    completion = ask(client, "gpt-4o")

    assert completion.usage.completion_tokens_details.reasoning_tokens == 0
    assert completion.usage.completion_tokens == len(encode(completion.choices[0].message.content))


def test_a_restarted_simulator_answers_the_same_and_another_seed_does_not() -> None:
    answers = []
    for seed in (1, 1, 2):
        with RunningSimulator(seed=seed) as simulator, connect(simulator) as client:
            completion = ask(client, "o1", "Which primes are even?")
            answers.append((completion.choices[0].message.content, completion.usage))

    assert answers[0] == answers[1] != answers[2]


@pytest.mark.parametrize(("prompt", "tokens"), [("", 7), ("hello", 8), ("<|endoftext|>", 14)])
def test_prompts_are_counted_with_seven_tokens_of_overhead(client: OpenAI, prompt: str, tokens: int) -> None:
    assert ask(client, "o1-mini", prompt).usage.prompt_tokens == tokens


def test_texts_of_a_million_characters_are_counted_as_one() -> None:
    assert encode(" hello" * 200_000) == encode(" hello") * 200_000
    assert len(encode("x" * 1_200_000)) > 100_000


def test_every_message_costs_four_tokens_more(client: OpenAI) -> None:
    messages = [{"role": "system", "content": "hello"}, {"role": "user", "content": "hello"}]

    completion: Any = client.chat.completions.create(model="o1", messages=cast(Any, messages))

    assert completion.usage.prompt_tokens == 3 + 2 * (4 + 1)


@given(prompt=st.integers(0, 300_000), draw=st.integers(0, 2**64))
def test_cached_tokens_come_in_steps_and_never_below_1024(prompt: int, draw: int) -> None:
    cached = cached_tokens(prompt, draw)

    assert cached == 0 or (cached >= 1024 and (cached - 1024) % 128 == 0 and cached <= prompt)


def test_what_is_written_to_the_cache_costs_more_from_gpt_5_6_on() -> None:
    models = catalogue()

    assert written_tokens(models["gpt-5.6-luna"], 18_014, 0) == 18_011
    assert written_tokens(models["gpt-5.6-luna"], 18_014, 18_011) == 0
    assert written_tokens(models["gpt-5.6-luna"], 1023, 0) == written_tokens(models["gpt-5.5"], 18_014, 0) == 0
    assert cost_usd(models["gpt-5.6-sol"], "default", Usage(2000, 0, 0, 0, 1997)) == Decimal("0.01249625")


def test_cost_is_exact_and_reasoning_is_billed_once() -> None:
    models = catalogue()

    def cost(model: str, tier: str, *tokens: int) -> str:
        return decimal_text(cost_usd(models[model], tier, Usage(*tokens)))

    # prompt, cached, completion, reasoning
    assert cost("o1-preview", "default", 43, 0, 1279, 1024) == "0.077385"
    assert cost("o1-preview", "default", 2000, 1024, 0, 0) == "0.03"  # no cheaper when cached in September 2024
    assert cost("o1", "default", 2000, 1024, 10, 0) == "0.02292"
    assert cost("o4-mini", "flex", 1024, 1024, 0, 0) == "0.000141312"
    assert cost("gpt-5-nano", "flex", 1, 0, 1, 0) == "0.000000225"
    assert cost("gpt-5.5", "default", 272_000, 0, 1, 0) == "1.36003"
    assert cost("gpt-5.5", "default", 272_001, 0, 1, 0) == "2.720055"  # a long prompt costs more


def test_amounts_are_plain_digits() -> None:
    assert decimal_text(Decimal("1E-9")) == "0.000000001"
    assert decimal_text(Decimal("10.00")) == "10"
    assert decimal_text(Decimal("0")) == "0"
    assert decimal_text(Decimal("100")) == "100"


def test_json_is_answered_when_json_is_asked_for(client: OpenAI) -> None:
    schema = {"type": "object", "properties": {"primes": {"type": "array", "items": {"type": "integer"}}}}
    form = {"type": "json_schema", "json_schema": {"name": "primes", "schema": schema}}

    assert ask(client, "gpt-4o", response_format=form).choices[0].message.content == '{"primes": [1]}'
    assert ask(client, "gpt-4o", response_format={"type": "json_object"}).choices[0].message.content[0] == "{"
