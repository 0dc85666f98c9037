"""The arithmetic of comparisons, apart from storage."""

from decimal import Decimal as D

import pytest

from jobs.comparisons.figures import Outcome, figures_of, saving
from jobs.comparisons.requests import worded
from jobs.comparisons.spread import student_t

TOKENS = {"input": 10, "cached": 0, "reasoning": 5, "visible": 5, "output": 10}


def runs(*amounts: str, prompt: int = 1) -> list[Outcome]:
    return [Outcome(prompt, 1, "succeeded", False, TOKENS, D(amount), 100) for amount in amounts]


def test_figures_have_mean_least_and_most():
    one, two = ({**TOKENS, "reasoning": count, "output": count + 5} for count in (5, 8))
    found = figures_of(
        [
            Outcome(1, 1, "succeeded", False, one, D("0.1"), 100),
            Outcome(1, 1, "incomplete", True, two, D("0.2"), 301),
            Outcome(1, 1, "not_run"),
            Outcome(1, 1, "failed"),
        ]
    )
    assert (found.runs, found.empty) == (4, 1)
    assert found.counts == {"succeeded": 1, "incomplete": 1, "not_run": 1, "failed": 1}
    reasoning = found.tokens["reasoning"]
    assert (reasoning.mean, reasoning.least, reasoning.most) == (D("6.5"), 5, 8)
    assert (found.cost.total, found.cost.mean, found.cost.least, found.cost.most) == (
        D("0.3"),
        D("0.15"),
        D("0.1"),
        D("0.2"),
    )
    assert (found.latency.median, found.latency.most) == (200, 301)


def test_what_was_not_answered_has_no_figures():
    found = figures_of([Outcome(1, 1, "not_run")])
    assert (found.tokens, found.cost, found.latency) == (None, None, None)


def test_one_run_each_says_a_saving_and_no_spread():
    found = saving(runs("0.077385"), runs("0.018261"))
    assert (found.usd, found.percent, found.runs) == (D("59.124"), D("76.4"), 1)
    assert (found.least, found.most, found.low, found.high) == (None,) * 4


def test_several_runs_say_between_what_was_seen():
    found = saving(runs("0.10", "0.14"), runs("0.05", "0.03"))
    assert (found.usd, found.least, found.most, found.low) == (D(80), D(50), D(110), None)


def test_from_five_runs_on_there_is_an_interval():
    # Welch by hand: variances 0.00025 each, of means 0.00005 each; 8 degrees of freedom, t = 2.306.
    found = saving(runs("0.10", "0.11", "0.12", "0.13", "0.14"), runs("0.05", "0.06", "0.07", "0.08", "0.09"))
    assert found.usd == D(50)
    assert found.high - found.usd == found.usd - found.low
    assert (found.high - found.usd).quantize(D("0.001")) == D("23.060")


def test_what_costs_more_saves_less_than_nothing():
    found = saving(runs("0.01"), runs("0.02"))
    assert (found.usd, found.percent) == (D(-10), D("-100.0"))


def test_only_prompts_that_both_have_answered_count_and_each_alike():
    baseline = [*runs("0.10", "0.20"), *runs("1.00", prompt=2), *runs("9.00", prompt=3)]
    found = saving(baseline, [*runs("0.05"), *runs("0.50", prompt=2)])
    # Of the first 0.10 less, of the second 0.50.
    assert (found.prompts, found.usd, found.runs) == (2, D(300), 1)


def test_nothing_in_common_is_nothing_to_compare():
    assert saving(runs("1"), runs("1", prompt=2)) is None
    assert saving([], runs("1")) is None


def test_a_baseline_that_costs_nothing_has_no_per_cent():
    assert saving(runs("0"), runs("1")).percent is None


@pytest.mark.parametrize(("freedom", "factor"), [(1, "12.706"), (30, "2.042"), (31, "2.042"), (10_000, "2.042")])
def test_the_factor_is_never_too_narrow(freedom, factor):
    assert student_t(freedom) == D(factor)


PARTS = [{"type": "text", "text": "Look."}, {"type": "image_url", "image_url": {"url": "https://x.example/"}}]


@pytest.mark.parametrize(
    ("content", "wording", "longer"),
    [
        ("One?", "Be short.", "One? Be short."),
        ("One?", " Be short.", "One? Be short."),
        ("One?\n", "Be short.", "One?\nBe short."),
        (PARTS, "Be short.", [{"type": "text", "text": "Look. Be short."}, PARTS[1]]),
        (PARTS[1:], "Be short.", [PARTS[1], {"type": "text", "text": "Be short."}]),
    ],
)
def test_a_wording_is_added_with_a_blank(content, wording, longer):
    messages = [{"role": "system", "content": "x"}, {"role": "user", "content": content}]
    assert worded(messages, wording) == [messages[0], {"role": "user", "content": longer}]
    assert messages[1]["content"] == content
