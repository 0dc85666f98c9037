"""No prompt takes more than its length allows, whatever it is made of: growth is looked at, and no time as such."""

import sys
import time
from collections.abc import Callable

import pytest

from jobs.advice.advice import Situation
from jobs.advice.rules import advise
from tests.advice.labelled import SMALLER

SITUATION = Situation(model="o1-mini", family="o1-mini", is_reasoning=True, cap=5, smaller=SMALLER)
UNIT = 300
HOSTILE = {
    "think": "think ",
    "steps": "step by step think ",
    "show your": "show your reasoning not ",
    "fences": "```\n",
    "fences of all lengths": None,
    "triples": '"""',
    "both triples": "\"\"\"'''",
    "tags that open": "<a>",
    "tags that close": "</a>",
    "tags by turns": "<a></b>",
    "half tags": "<a " + "x" * 10,
    "rules": "---\n",
    "titles": "a:\n",
    "labels by turns": "a: b\nc: d\n",
    "three labels": "a: b\nc: d\ne: f\n",
    "known labels": "input: b\noutput: d\n",
    "arrows": "a -> b\n",
    "open arrows": "a ->\n",
    "examples": "example:\n",
    "greetings": "hi\n",
    "letters": "dear you,\nregards\n",
    "empty lines": "\n",
    "spaces": " ",
    "commas": "a,",
    "semicolons": ";",
    "quotes": '"',
    "apostrophes": " '",
    "low quotes": "„",
    "numbers": "[1] x\n",
    "one word": "a",
    "sentences": "Is it. ",
    "code": "    x = y;\n",
    "wide": "思考",
    "thoughts": "thought: \n",
    "agents": "thought: x\naction: y\n",
    "this text": "this text ",
}


def hostile(name: str, times: int) -> str:
    unit = HOSTILE[name]
    if unit is None:
        return "\n".join("`" * (3 + i) for i in range(times // 8))
    return "Check the following text. " + unit * times + " ->"


def lines_run(work: Callable[[], object]) -> int:
    """How many lines of Python run: what loops in Python shows, and what an expression does in C does not."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def advise_on(text: str) -> object:
    return advise([{"role": "user", "content": text}], SITUATION)


@pytest.mark.parametrize("name", HOSTILE)
def test_four_times_the_text_takes_no_more_than_four_times_the_steps(name):
    advise_on("warm")
    once, four = (lines_run(lambda n=n: advise_on(hostile(name, n))) for n in (UNIT, 4 * UNIT))
    assert four <= 5 * once + 500


def seconds(text: str) -> float:
    """Processor time of this thread, the least of some tries: what disturbs a try only adds to it."""
    taken = []
    for _ in range(4):
        began = time.thread_time()
        advise_on(text)
        taken.append(time.thread_time() - began)
    return min(taken)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_expression_takes_the_square_of_the_text(name):
    """The square would be sixteen times as much, and an expression that tries everything more than that."""
    once, four = (seconds(hostile(name, n * 40 * UNIT // len(HOSTILE[name] or "x" * 40))) for n in (1, 4))
    assert four < 10 * max(once, 0.0005)
