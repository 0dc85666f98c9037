"""How good the advice is, on prompts that were labelled before the rules were written."""

import pytest

from accounts.models import AdviceRule
from tests.advice.labelled import labelled, scores, table

PRECISION, RECALL = 0.9, 0.7
FILES = ("tuned", "held_out", "later")


@pytest.fixture(scope="module")
def prompts():
    return {name: list(labelled(name)) for name in FILES}


def test_the_set_is_large_and_has_each_prompt_once(prompts):
    every = [prompt for found in prompts.values() for prompt in found]
    assert len(every) >= 300
    assert len({prompt.id for prompt in every}) == len(every)
    assert len({(str(prompt.messages), prompt.model, prompt.cap) for prompt in every}) == len(every)
    assert len(prompts["held_out"]) >= len(prompts["tuned"]) * 0.45
    for rule in AdviceRule:
        assert sum(rule in prompt.rules for prompt in every) >= 10, rule
        assert sum(rule in prompt.rules for prompt in prompts["held_out"]) >= 4, rule
    assert sum(not prompt.rules for prompt in every) >= 100  # what nothing is to be said about


def test_each_rule_is_right_when_it_speaks_and_speaks_mostly(prompts, capsys):
    found = {name: scores(of) for name, of in prompts.items()}
    found["all"] = scores([prompt for of in prompts.values() for prompt in of])
    with capsys.disabled():
        print(f"\n{table(found)}")
    poor = {
        rule: (round(score.precision, 2), round(score.recall, 2))
        for rule, score in found["all"].items()
        if score.precision < PRECISION or score.recall < RECALL
    }
    assert poor == {}
