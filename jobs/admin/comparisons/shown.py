"""A comparison as its page writes it: amounts in words, bars in per cent of the largest."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from billing.admin.figures import Fill
from billing.admin.money import dollars
from jobs.comparisons.figures import Figures, Saving
from jobs.comparisons.requests import CAP, EFFORT
from jobs.comparisons.results import Cell, Results, answers_of
from jobs.comparisons.states import NotRun
from jobs.models import Comparison

STATUS_WORDS = {"not_run": "not run", "in_doubt": "in doubt", "waiting": "not begun"}
REASONS = {
    NotRun.CEILING: "did not fit below the ceiling",
    NotRun.CANCELLED: "were cancelled before they had begun",
    NotRun.KEY_OVER: "had no valid API key any more",
    NotRun.REFUSED: "were refused",
}
ZERO = Decimal(0)


def shown(comparison: Comparison, results: Results) -> dict[str, Any]:
    """What the figures' part of the page needs."""
    progress = results.progress
    largest = max((_output(cell.figures) for cell in results.variants), default=ZERO)
    dearest = max((cell.figures.cost.mean for cell in results.variants if cell.figures.cost), default=ZERO)
    under_way = sum((one.run.bound_usd for one in results.runs if one.run.status == "fed"), ZERO)
    return {
        "comparison": comparison,
        "progress": progress,
        "progress_width": f"{100 * progress.ended / max(progress.runs, 1):.2f}",
        "fill": Fill(comparison.max_cost_usd, progress.spent_usd, under_way),
        "variants": [_row(comparison, cell, largest, dearest) for cell in results.variants],
        "best": _best(comparison, results.variants),
        "prompt_rows": _prompt_rows(comparison, results) if len(comparison.prompt_names) > 1 else [],
        "not_run": _not_run(results),
    }


def _row(comparison: Comparison, cell: Cell, largest: Decimal, dearest: Decimal) -> dict[str, Any]:
    told, figures = comparison.variants[cell.variant - 1], cell.figures
    tokens, cost, latency = figures.tokens, figures.cost, figures.latency
    return {
        "number": cell.variant,
        "name": told["name"],
        "settings": settings_of(told),
        "is_baseline": cell.variant == comparison.baseline,
        "counts": counts_in_words(figures),
        "empty": figures.empty,
        "input": _mean(figures, "input"),
        "reasoning": _mean(figures, "reasoning"),
        "visible": _mean(figures, "visible"),
        "spread": _spread(figures),
        "reasoning_width": _width(tokens["reasoning"].mean if tokens else ZERO, largest),
        "visible_width": _width(tokens["visible"].mean if tokens else ZERO, largest),
        "tokens_sentence": _tokens_sentence(told["name"], figures),
        "cost": dollars(cost.mean) if cost else "–",
        "cost_spread": f"{dollars(cost.least)} to {dollars(cost.most)}" if cost and cost.least != cost.most else "",
        "cost_width": _width(cost.mean if cost else ZERO, dearest),
        "total": dollars(cost.total) if cost else "–",
        "latency": _seconds(latency.median) if latency else "–",
        "slowest": _seconds(latency.most) if latency and latency.most != latency.median else "",
        **_saving(cell.saving),
    }


def settings_of(told: Mapping[str, Any]) -> str:
    """What a variant is besides its name."""
    parts = [told["model"]]
    if told.get("service_tier") not in (None, "standard"):
        parts.append(told["service_tier"])
    if told.get(EFFORT):
        parts.append(f"effort {told[EFFORT]}")
    if told.get(CAP):
        parts.append(f"at most {told[CAP]:,} tokens")
    return ", ".join(parts)


def counts_in_words(figures: Figures) -> str:
    """How the runs of a variant ended."""
    parts = [f"{number} {STATUS_WORDS.get(status, status)}" for status, number in sorted(figures.counts.items())]
    return ", ".join(parts) or "–"


def _saving(saving: Saving | None) -> dict[str, Any]:
    if saving is None:
        return {"saving": "", "percent": "", "certainty": ""}
    more = saving.usd < 0
    told = f"{dollars(abs(saving.usd))} {'more' if more else 'less'}" if saving.usd else "the same"
    percent = "" if saving.percent is None else f"{abs(saving.percent)} % {'more' if more else 'less'}"
    return {"saving": told, "percent": percent if saving.usd else "", "certainty": certainty_of(saving)}


def certainty_of(saving: Saving) -> str:
    """How far a saving is to be trusted, in words."""
    if saving.low is not None and saving.high is not None:
        return f"95 %: {_signed(saving.low)} to {_signed(saving.high)}"
    if saving.least is not None and saving.most is not None:
        return f"seen: {_signed(saving.least)} to {_signed(saving.most)}"
    return "one run each: no spread known"


def _signed(saved: Decimal) -> str:
    """A saving as what it costs less or more, to the cent: the ends of a range are no exact amounts."""
    cents = saved.quantize(Decimal("0.01"))
    return f"{dollars(abs(cents))} {'more' if cents < 0 else 'less'}"


def _best(comparison: Comparison, cells: Sequence[Cell]) -> dict[str, str] | None:
    """The variant that saves most, of those whose answers were all to be seen."""
    able = [cell for cell in cells if cell.saving and cell.saving.usd > 0 and not cell.figures.empty]
    if not able:
        return None
    best = max(able, key=lambda cell: cell.saving.usd if cell.saving else ZERO)
    assert best.saving is not None, "it was chosen by it"
    return {"name": comparison.variants[best.variant - 1]["name"], "usd": dollars(best.saving.usd)}


def _prompt_rows(comparison: Comparison, results: Results) -> list[dict[str, Any]]:
    """For each prompt what its answers cost on each variant on average, and their tokens."""
    return [
        {"name": name, "cells": [_brief(cell.figures) for cell in results.prompts[number]]}
        for number, name in enumerate(comparison.prompt_names, start=1)
    ]


def _brief(figures: Figures) -> dict[str, str]:
    if not figures.cost or not figures.tokens:
        return {"cost": "–", "tokens": counts_in_words(figures)}
    return {
        "cost": dollars(figures.cost.mean),
        "tokens": f"{_mean(figures, 'reasoning')} reasoning, {_mean(figures, 'visible')} visible",
    }


def _not_run(results: Results) -> list[str]:
    """Why runs were not run, each reason once, with its figures where they are the same for all."""
    found: dict[str, int] = {}
    for one in results.runs:
        if one.run.reason:
            found[one.run.reason] = found.get(one.run.reason, 0) + 1
    whole = results.progress.runs
    return [f"{number:,} of {whole:,} runs {REASONS[NotRun(reason)]}" for reason, number in sorted(found.items())]


def answers_shown(comparison: Comparison, results: Results) -> list[dict[str, Any]]:
    """Each prompt with the answers of all variants beside each other. Reads content."""
    answers = answers_of(results.answered_jobs)
    content: dict[str, Any] = comparison.content or {}
    return [
        {
            "name": name,
            "messages": content["prompts"][number - 1] if content else [],
            "answers": [
                _answer(comparison, results, number, cell, answers, content) for cell in results.prompts[number]
            ],
        }
        for number, name in enumerate(comparison.prompt_names, start=1)
    ]


def _answer(
    comparison: Comparison,
    results: Results,
    prompt: int,
    cell: Cell,
    answers: Mapping[UUID, Mapping[str, Any]],
    content: Mapping[str, Any],
) -> dict[str, Any]:
    run = results.answered.get((prompt, cell.variant))
    message = answers.get(run.job_id) if run and run.job_id else None
    return {
        "name": comparison.variants[cell.variant - 1]["name"],
        "wording": content["variants"][cell.variant - 1]["wording"] if content else "",
        "brief": _brief(cell.figures),
        "job": run.job if run else None,
        "is_empty": bool(run and run.job and run.job.is_empty),
        "is_erased": run is not None and message is None,
        "text": (message or {}).get("content") or "",
        "counts": counts_in_words(cell.figures),
    }


def _output(figures: Figures) -> Decimal:
    return figures.tokens["output"].mean if figures.tokens else ZERO


def _mean(figures: Figures, name: str) -> str:
    return f"{figures.tokens[name].mean:,}".removesuffix(".0") if figures.tokens else "–"


def _spread(figures: Figures) -> str:
    """From the fewest to the most output tokens, where they differ."""
    output = figures.tokens["output"] if figures.tokens else None
    return f"{output.least:,} to {output.most:,} in all" if output and output.least != output.most else ""


def _tokens_sentence(name: str, figures: Figures) -> str:
    if not figures.tokens:
        return f"{name}: no answer yet"
    return f"{name}: {_mean(figures, 'reasoning')} reasoning and {_mean(figures, 'visible')} visible tokens a call"


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{Decimal(milliseconds) / 1000:,.1f} s"


def _width(amount: Decimal, whole: Decimal) -> str:
    """In per cent of the bar of the largest."""
    return f"{100 * amount / whole:.2f}" if whole else "0"
