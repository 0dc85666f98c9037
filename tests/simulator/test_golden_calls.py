"""The four calls of the founding tutorial, through the official client, to the last token and the last digit."""

import contextlib
import io
import re

import pytest
from openai import OpenAI

from config.simulator.answers import CONCISE, MATRIX_PROMPT
from config.simulator.running import RunningSimulator
from tests.simulator.clients import ask

CALLS = [
    # model, prompt, cap, (prompt, completion, reasoning), dollars
    ("o1-preview", MATRIX_PROMPT, None, (43, 1279, 1024), "0.077385"),
    ("o1-preview", MATRIX_PROMPT, 300, (43, 300, 300), "0.018645"),
    ("o1-mini", MATRIX_PROMPT, None, (43, 1511, 256), "0.018261"),
    ("o1-mini", MATRIX_PROMPT + CONCISE, None, (55, 487, 320), "0.006009"),
]


@pytest.mark.parametrize(("model", "prompt", "cap", "tokens", "dollars"), CALLS)
def test_the_tutorials_calls_cost_what_they_cost_in_september_2024(
    client: OpenAI, simulator: RunningSimulator, model: str, prompt: str, cap: int | None, tokens: object, dollars: str
) -> None:
    options = {} if cap is None else {"max_completion_tokens": cap}
    completion = ask(client, model, prompt, **options)

    usage = completion.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.completion_tokens_details.reasoning_tokens) == tokens
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert completion.model == f"{model}-2024-09-12"
    line = simulator.bill(lines=True)["lines"][-1]
    assert (line["id"], line["cost_usd"]) == (completion.id, dollars)


def test_a_cap_below_the_reasoning_is_billed_and_answers_nothing(client: OpenAI) -> None:
    choice = ask(client, "o1-preview", MATRIX_PROMPT, max_completion_tokens=300).choices[0]

    assert (choice.message.content, choice.finish_reason) == ("", "length")


@pytest.mark.parametrize(("model", "prompt"), [(model, prompt) for model, prompt, cap, *_ in CALLS if cap is None])
def test_the_golden_answers_are_scripts_that_work(client: OpenAI, model: str, prompt: str) -> None:
    text = ask(client, model, prompt).choices[0].message.content
    script = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert script is not None

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(script[1], {})
    assert printed.getvalue() == "[1,3,5],[2,4,6]\n"
