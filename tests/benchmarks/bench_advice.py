"""What advice takes: of a short prompt, which every submission pays, and of long ones, beside counting their tokens."""

from functools import partial
from pathlib import Path

import pytest

from jobs.advice.advice import Situation
from jobs.advice.rules import advise
from jobs.estimates import count_tokens
from tests.advice.labelled import SMALLER, labelled
from tests.flows.conftest import PROMPT

pytestmark = pytest.mark.benchmark

SITUATION = Situation(model="o1-mini", family="o1-mini", is_reasoning=True, cap=5000, smaller=SMALLER)
TOKENS = 10_000
CHECKOUT = Path(__file__).resolve().parents[2]


def _filled(unit: str) -> str:
    """So much of a text that it has 10,000 tokens."""
    return (unit * (TOKENS // max(count_tokens(unit), 1) + 1))[: len(unit) * TOKENS // max(count_tokens(unit), 1)]


def long_prompts() -> dict[str, str]:
    documents = "\n\n".join(path.read_text() for path in sorted((CHECKOUT / "tests/advice/material").glob("*.txt")))
    code = (CHECKOUT / "jobs/submission.py").read_text()
    request = "Which of these lets a job in?\n\n"
    return {
        "prose": request + _filled(documents),
        "documents in tags": request + _filled(f"<doc>{documents}</doc>\n"),
        "code in a fence": f"{request}```python\n{_filled(code)}\n```",
        "code without one": request + _filled(code),
        "one line": request + _filled("All of it stands in one line, step by step. "),
        "another script": request + _filled("これは長い文書です。段階的に考えてください。"),
    }


@pytest.mark.parametrize("name", long_prompts())
def test_a_prompt_of_ten_thousand_tokens(per_second, report, name):
    text = long_prompts()[name]
    messages = [{"role": "user", "content": text}]
    ours = per_second(lambda: [advise(messages, SITUATION) for _ in range(20)], 20)
    counted = per_second(lambda: [count_tokens(text) for _ in range(20)], 20)
    report(f"advice, {name}", 1e6 / ours, 1e6 / counted, "counting its tokens", unit="us each")


def test_short_prompts(per_second, report):
    messages = [{"role": "user", "content": PROMPT}]
    ours = per_second(lambda: [advise(messages, SITUATION) for _ in range(2000)], 2000)
    counted = per_second(lambda: [count_tokens(PROMPT) for _ in range(2000)], 2000)
    report("advice, a prompt of the tutorial", 1e6 / ours, 1e6 / counted, "counting its tokens", unit="us each")


def test_the_labelled_prompts(per_second, report):
    prompts = [prompt for name in ("tuned", "held_out", "later") for prompt in labelled(name)]
    whole = [partial(advise, prompt.messages, prompt.situation) for prompt in prompts]
    ours = per_second(lambda: [give() for give in whole], len(whole))
    report("advice, the labelled prompts", 1e6 / ours, unit="us each")
