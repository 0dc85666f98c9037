"""What each piece of advice says: where, what to do, and what it is worth by history."""

from decimal import Decimal

import pytest

from accounts.models import AdviceRule
from billing.pricing import PriceTerms
from jobs.advice.advice import Advice, Situation, Smaller, Text, texts_of
from jobs.advice.layout import Layout
from jobs.advice.rules import advise
from jobs.learning.expectation import Expectation

MATRIX = (
    "Write a Python script that takes a matrix represented as a string with format '[1,2],[3,4],[5,6]' and prints the "
    "transpose in the same format."
)
BRIEF = " Limit yourself to the answer and don't add explanations or introductions."
O1_MINI = PriceTerms(Decimal(3), Decimal("1.5"), Decimal(12))
# The tutorial's call of o1-mini: 256 reasoning tokens and 1,255 visible ones.
HISTORY = Expectation(
    calls=500,
    level="class",
    mean_reasoning_tokens=Decimal(256),
    mean_visible_tokens=Decimal(1255),
    mean_cost_usd=Decimal("0.018261"),
    at=lambda share: int(2000 * share),
    over=lambda tokens: max(Decimal(0), 1 - Decimal(tokens) / 2000),
)


def situation(**more) -> Situation:
    given = {"model": "o1", "family": "o1", "is_reasoning": True, **more}
    return Situation(**given)


def advice_on(prompt: str, **more) -> dict[AdviceRule, Advice]:
    return {one.rule: one for one in advise([{"role": "user", "content": prompt}], situation(**more))}


def test_nothing_is_said_of_a_good_prompt():
    assert advice_on(MATRIX) == {}
    assert advice_on(MATRIX + BRIEF, family="o1-mini") == {}


def test_a_model_that_talks_much_is_kept_to_the_answer():
    (advice,) = advice_on(MATRIX, family="o1-mini", price=O1_MINI, history=HISTORY).values()
    assert (advice.rule, advice.passage.start) == (AdviceRule.VERBOSE_ANSWER, 0)
    assert BRIEF.strip() in advice.do
    assert "1,511 to 487" in advice.why
    # What the tutorial saved: 1,024 completion tokens at 12 USD a million.
    assert advice.saving_usd == Decimal("0.012288")


def test_the_passage_is_where_it_stands_in_the_message_that_has_it():
    messages = [
        {"role": "developer", "content": "You are a mathematician."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "Hard one."}, {"type": "text", "text": "Think step by step."}],
        },
    ]
    (advice,) = advise(messages, situation())
    text = "Hard one.\nThink step by step."
    assert text[advice.passage.start : advice.passage.end] == "Think step by step"
    assert (advice.passage.message, advice.passage.quote) == (1, "Think step by step")


def test_letters_that_grow_when_they_become_small_move_no_passage():
    prompt = "\u0130" * 50 + " Think step by step."
    passage = advice_on(prompt)[AdviceRule.CHAIN_OF_THOUGHT].passage
    assert prompt[passage.start : passage.end] == "Think step by step"


def test_a_long_passage_is_quoted_by_its_beginning():
    passage = Text(0, "user", "word " * 100).passage(0, 500)
    assert len(passage.quote) < 130
    assert passage.quote.endswith(" ...")


@pytest.mark.parametrize(
    "material",
    [
        "```\nThink step by step.\n```",
        '"""Think step by step. Explain your reasoning."""',
        "<mail>\nThink step by step and show your work.\n</mail>",
        "## Context\nLet's think step by step.",
        "---\nThink step by step.\n---",
        "> Think step by step.",
        'The words "think step by step" are old.',
        "He wrote 'explain your reasoning' on the board.",
    ],
)
def test_what_is_material_is_not_taken_for_the_request(material):
    assert advice_on(f"Which school of teaching does this belong to?\n\n{material}") == {}


@pytest.mark.parametrize("tag", ["instructions", "task", "system_prompt", "output-format"])
def test_a_tag_that_names_the_request_hides_nothing(tag):
    assert AdviceRule.CHAIN_OF_THOUGHT in advice_on(f"<{tag}>Think step by step.</{tag}> Is 91 prime?")


def test_models_that_do_not_reason_are_told_nothing_about_reasoning():
    prompt = f"Think step by step and show your reasoning. {MATRIX}"
    assert advice_on(prompt, is_reasoning=False, cap=10, smaller=Smaller("x", Decimal("0.1"))) == {}


def test_answers_of_the_model_are_not_looked_at():
    messages = [
        {"role": "user", "content": "How do I teach long division?"},
        {"role": "assistant", "content": "Think step by step. Show your work."},
        {"role": "user", "content": "And to adults who fear it?"},
    ]
    assert advise(messages, situation()) == ()


@pytest.mark.parametrize(
    "content", [None, [], [{"type": "image_url", "image_url": {"url": "data:,"}}], [{"type": "text", "text": ""}], ""]
)
def test_a_message_without_text_has_no_advice(content):
    assert advise([{"role": "user", "content": content}], situation(family="o1-mini")) == ()


@pytest.mark.parametrize(("cap", "is_small"), [(None, False), (1, True), (24_999, True), (25_000, False)])
def test_without_history_a_cap_is_small_by_what_the_provider_advises(cap, is_small):
    assert (AdviceRule.SMALL_CAP in advice_on(MATRIX, cap=cap)) is is_small


@pytest.mark.parametrize(("cap", "is_small"), [(1979, True), (1980, False), (5000, False)])
def test_with_history_a_cap_is_small_by_what_calls_needed(cap, is_small):
    found = advice_on(MATRIX, cap=cap, history=HISTORY, price=O1_MINI)
    assert (AdviceRule.SMALL_CAP in found) is is_small
    if is_small:
        advice = found[AdviceRule.SMALL_CAP]
        assert "from 1,979 to 1,980" in advice.do
        # 1.1 calls in a hundred pay for 1,979 tokens at 12 USD a million, and show nothing.
        assert advice.saving_usd == Decimal("0.000261")


def test_what_is_at_stake_by_history():
    given = {"price": O1_MINI, "history": HISTORY, "smaller": Smaller("gpt-4o-mini", Decimal("0.05"))}
    steps = advice_on("Is 91 prime? Think step by step.", **given)[AdviceRule.CHAIN_OF_THOUGHT]
    assert steps.saving_usd == Decimal("0.003072")  # 256 tokens of reasoning at 12 USD a million
    shown = advice_on("Is 91 prime? Show your reasoning.", **given)[AdviceRule.ASKS_FOR_REASONING]
    assert shown.saving_usd == Decimal("0.015060")  # 1,255 visible tokens
    large = advice_on("Translate into French: the meeting is on Thursday.", **given)[AdviceRule.LARGE_MODEL]
    assert large.saving_usd == Decimal("0.017348")  # 95 in 100 of 0.018261
    examples = "Input: a\nOutput: 1\n\nInput: b\nOutput: 2\n\nInput: c\nOutput:"
    few = advice_on(f"Number the letters.\n\n{examples}", **given)[AdviceRule.FEW_SHOT_EXAMPLES]
    length = few.passage.end - few.passage.start
    assert few.saving_usd == (Decimal(length) / 4 * 3 / 1_000_000).quantize(Decimal("0.000001"))


def test_without_history_no_money_is_named():
    given = {"price": O1_MINI, "smaller": Smaller("gpt-4o-mini", Decimal("0.05")), "cap": 10}
    found = advice_on("Translate this mail. Think step by step and show your reasoning.", **given)
    assert len(found) == 4
    assert {one.saving_usd for one in found.values()} == {None}


def test_a_smaller_model_is_named_with_what_it_saves():
    smaller = Smaller("gpt-4o-mini", Decimal("0.05"))
    advice = advice_on("Proofread: He go home.", smaller=smaller, effort="high")[AdviceRule.LARGE_MODEL]
    assert advice.do == "Try gpt-4o-mini for this: its output costs 95 % less, or a lower reasoning_effort."
    assert AdviceRule.LARGE_MODEL not in advice_on("Proofread: He go home.")


def layout(text: str) -> Layout:
    return Layout(texts_of([{"role": "user", "content": text}])[0])


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("no marks at all", []),
        ("a ``` b", []),  # not at the beginning of a line
        ("x\n```\ny", ["```\ny"]),  # never closed
        ("x\n````\n```\n````\ny", ["````\n```\n````"]),
        ("a \"\"\"b\"\"\" c '''d'''", ['"""b"""', "'''d'''"]),
        ('a """b', []),
        ("<a><b>x</b></a> <c>y</c>", ["<a><b>x</b></a>", "<c>y</c>"]),
        ("<a>x</b>", []),
        ("1 < 2 and 3 > 2", []),
        ("<a>x</a", []),
        ("x\n---\ny\n---\nz", ["---\ny\n---"]),
        ("x\n---\ny", []),
        ("Do it.\nText: abc", [" abc"]),
        ("[1] one\n\n[2] two\n\nWhich?", ["[1] one", "[2] two"]),
    ],
)
def test_what_is_set_off_is_found(text, blocks):
    assert [text[block.start : block.end] for block in layout(text).blocks] == blocks
