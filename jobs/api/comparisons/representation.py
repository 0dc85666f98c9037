"""A comparison and its runs as they go out. Money and means are decimal texts, whole numbers are numbers."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema_field, extend_schema_serializer, inline_serializer
from rest_framework import serializers

from billing.api.contract import UsdField
from billing.money import usd
from jobs.comparisons.figures import TOKENS, Figures, Range, Saving
from jobs.comparisons.outcomes import Progress, RunOutcome
from jobs.comparisons.requests import CAP, EFFORT
from jobs.comparisons.results import Cell, Results
from jobs.comparisons.states import ComparisonStatus, NotRun, RunStatus
from jobs.models import Comparison, ComparisonRun, Job

_RANGE = {
    "type": "object",
    "properties": {"mean": {"type": "string"}, "min": {"type": "integer"}, "max": {"type": "integer"}},
}
_USD_RANGE = {
    "type": ["object", "null"],
    "properties": {"low_usd": {"type": "string"}, "high_usd": {"type": "string"}},
}
FIGURES_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "runs": {"type": "integer"},
        "counts": {
            "type": "object",
            "description": "Runs by the status of their job, or `waiting` or `not_run`.",
            "additionalProperties": {"type": "integer"},
        },
        "empty": {"type": "integer", "description": "Answered, paid for, and nothing to be seen."},
        "tokens": {
            "type": ["object", "null"],
            "description": "Of answers; null while there are none. Output is reasoning and visible together.",
            "properties": dict.fromkeys(TOKENS, _RANGE),
        },
        "latency_ms": {
            "type": ["object", "null"],
            "description": "Of the call, from its beginning to its answer.",
            "properties": {"median": {"type": "integer"}, "max": {"type": "integer"}},
        },
        "cost": {
            "type": ["object", "null"],
            "properties": {name: {"type": "string"} for name in ("total_usd", "mean_usd", "min_usd", "max_usd")},
        },
    },
}
SAVING_SCHEMA: dict[str, Any] = {
    "type": ["object", "null"],
    "description": "Against the baseline, over the prompts that both have answered. Null for the baseline itself, and "
    "while there is nothing to compare.",
    "properties": {
        "per_thousand_calls_usd": {"type": "string", "description": "Below zero: it costs more."},
        "percent": {"type": ["string", "null"]},
        "prompts": {"type": "integer"},
        "runs": {"type": "integer", "description": "Answers that every prompt has at least, on each of both."},
        "range": {
            **_USD_RANGE,
            "description": "Per thousand calls, between the least and the most favourable answers that were seen. Null "
            "where a prompt has one answer only: that says what happened, and not what will.",
        },
        "confidence_95": {
            **_USD_RANGE,
            "description": "Per thousand calls of these prompts, with 95 % confidence (Welch). Null below five answers "
            "a prompt on each.",
        },
    },
}


class ProgressSerializer(serializers.Serializer):
    runs = serializers.IntegerField()
    ended = serializers.IntegerField(help_text="Those that are not run included.")
    not_run = serializers.IntegerField()


class VariantSerializer(serializers.Serializer):
    number = serializers.IntegerField()
    name = serializers.CharField()
    model = serializers.CharField()
    service_tier = serializers.CharField()
    reasoning_effort = serializers.CharField(allow_null=True)
    max_completion_tokens = serializers.IntegerField(allow_null=True)


class PromptNameSerializer(serializers.Serializer):
    number = serializers.IntegerField()
    name = serializers.CharField()


class ComparisonHeadSerializer(serializers.Serializer):
    """What is told of a comparison wherever it is told of."""

    id = serializers.UUIDField()
    object = serializers.CharField(help_text="`comparison`")
    name = serializers.CharField(allow_null=True)
    status = serializers.ChoiceField(choices=ComparisonStatus.choices)
    max_cost_usd = UsdField()
    spent_usd = UsdField(help_text="What the books say of its jobs, lost calls included.")
    times = serializers.IntegerField()
    baseline = serializers.IntegerField(help_text="The number of the variant that savings are against.")
    progress = ProgressSerializer()
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    content_erased_at = serializers.DateTimeField(allow_null=True)


class ComparisonSummarySerializer(ComparisonHeadSerializer):
    """A comparison without its figures."""

    prompts = PromptNameSerializer(many=True)
    variants = VariantSerializer(many=True)


_ANSWER = inline_serializer(
    "ComparedAnswer",
    {
        "job_id": serializers.UUIDField(),
        "round": serializers.IntegerField(),
        "status": serializers.CharField(help_text="Of its job."),
        "finish_reason": serializers.CharField(allow_null=True),
        "output_text": serializers.CharField(allow_null=True),
    },
    allow_null=True,
)


@extend_schema_field(FIGURES_SCHEMA)
class FiguresField(serializers.JSONField):
    """Counts, tokens, latency and cost of some runs."""


@extend_schema_field(SAVING_SCHEMA)
class SavingField(serializers.JSONField):
    """What a variant saves."""


class ComparedVariantSerializer(VariantSerializer):
    wording = serializers.CharField(allow_null=True, help_text="Null where there is none, or its content is erased.")
    parameters = serializers.DictField(allow_null=True)
    bound_usd = UsdField(help_text="What one call could cost at most, of the longest prompt.")
    figures = FiguresField()
    saving = SavingField(allow_null=True)


class ComparedPromptSerializer(serializers.Serializer):
    number = serializers.IntegerField()
    name = serializers.CharField()
    messages = serializers.ListField(child=serializers.DictField(), allow_null=True)
    variants = inline_serializer(
        "ComparedCell",
        {
            "number": serializers.IntegerField(),
            "figures": FiguresField(),
            "saving": SavingField(allow_null=True),
            "answer": _ANSWER,
        },
        many=True,
    )


@extend_schema_serializer(component_name="Comparison")
class ComparisonSerializer(ComparisonHeadSerializer):
    """A comparison with what it has found: by variant, and by prompt with the answers side by side."""

    prompts = ComparedPromptSerializer(many=True)
    variants = ComparedVariantSerializer(many=True)


class RunSerializer(serializers.Serializer):
    """One prompt on one variant, once."""

    number = serializers.IntegerField()
    prompt = serializers.IntegerField()
    variant = serializers.IntegerField()
    round = serializers.IntegerField()
    status = serializers.CharField(help_text="Of its job; `waiting` while it has none, `not_run` where it got none.")
    reason = serializers.ChoiceField(choices=NotRun.choices, allow_null=True, help_text="Why it was not run.")
    figures = serializers.DictField(
        allow_null=True, help_text="What the reason is by: `max_cost_usd`, `taken_usd`, `required_usd`."
    )
    message = serializers.CharField(allow_null=True)
    job_id = serializers.UUIDField(allow_null=True)
    bound_usd = UsdField()
    tokens = serializers.DictField(child=serializers.IntegerField(), allow_null=True)
    cost_usd = UsdField(allow_null=True)
    latency_ms = serializers.IntegerField(allow_null=True)
    finish_reason = serializers.CharField(allow_null=True)
    is_empty = serializers.BooleanField()
    output_text = serializers.CharField(allow_null=True)


def summary_as_sent(comparison: Comparison, progress: Progress) -> dict[str, Any]:
    """A comparison without its figures."""
    return {
        **_head(comparison, progress),
        "prompts": [{"number": number, "name": name} for number, name in enumerate(comparison.prompt_names, start=1)],
        "variants": [_variant(told, number) for number, told in enumerate(comparison.variants, start=1)],
        **_times(comparison),
    }


def comparison_as_sent(
    comparison: Comparison, results: Results, answers: Mapping[UUID, Mapping[str, Any]]
) -> dict[str, Any]:
    """A comparison with its figures, and with these answers by their jobs."""
    content: dict[str, Any] = comparison.content or {}
    asked = content.get("variants") or [{}] * len(comparison.variants)
    bounds = _bounds(results.runs)
    return {
        **_head(comparison, results.progress),
        "variants": [
            {
                **_variant(told, number),
                "wording": asked[number - 1].get("wording") or None,
                "parameters": asked[number - 1].get("parameters"),
                "bound_usd": usd(bounds.get(number, Decimal(0))),
                **_cell(results.variants[number - 1]),
            }
            for number, told in enumerate(comparison.variants, start=1)
        ],
        "prompts": [
            {
                "number": number,
                "name": name,
                "messages": content["prompts"][number - 1] if content else None,
                "variants": [
                    {
                        "number": cell.variant,
                        **_cell(cell),
                        "answer": _answer(results.answered.get((number, cell.variant)), answers),
                    }
                    for cell in results.prompts[number]
                ],
            }
            for number, name in enumerate(comparison.prompt_names, start=1)
        ],
        **_times(comparison),
    }


def run_as_sent(one: RunOutcome, answers: Mapping[UUID, Mapping[str, Any]]) -> dict[str, Any]:
    """One run, with its answer where it is among these."""
    run, outcome, job = one.run, one.outcome, one.run.job
    return {
        "number": run.number,
        "prompt": run.prompt,
        "variant": run.variant,
        "round": run.round,
        "status": outcome.status,
        "reason": run.reason or None,
        "figures": run.figures,
        "message": said_of(run),
        "job_id": str(run.job_id) if run.job_id else None,
        "bound_usd": usd(run.bound_usd),
        "tokens": dict(outcome.tokens) if outcome.tokens else None,
        "cost_usd": None if outcome.usd is None else usd(outcome.usd),
        "latency_ms": outcome.latency_ms,
        "finish_reason": (job.finish_reason if job else "") or None,
        "is_empty": outcome.is_empty,
        "output_text": answers.get(run.job_id, {}).get("content") if run.job_id else None,
    }


def said_of(run: ComparisonRun) -> str | None:
    """Why a run has no answer, in a sentence; None where it has one, or may get one."""
    match run.reason:
        case NotRun.CEILING:
            told = run.figures or {}
            return (
                f"It could have cost up to {told.get('required_usd')} USD, and {told.get('taken_usd')} USD of the "
                f"{told.get('max_cost_usd')} USD were spent or could still be."
            )
        case NotRun.CANCELLED:
            return "The comparison was cancelled before it had begun."
        case NotRun.KEY_OVER:
            return "The API key that the comparison was made with has expired or was revoked."
        case NotRun.REFUSED:
            return (run.error or {}).get("message") or "It was refused."
    error: dict[str, Any] = (run.job.error if run.job else None) or {}
    return error.get("message") or None


def _head(comparison: Comparison, progress: Progress) -> dict[str, Any]:
    return {
        "id": str(comparison.pk),
        "object": "comparison",
        "name": comparison.name or None,
        "status": comparison.status,
        "max_cost_usd": usd(comparison.max_cost_usd),
        "spent_usd": usd(progress.spent_usd),
        "times": comparison.times,
        "baseline": comparison.baseline,
        "progress": {"runs": progress.runs, "ended": progress.ended, "not_run": progress.not_run},
    }


def _times(comparison: Comparison) -> dict[str, Any]:
    return {
        "created_at": comparison.created_at,
        "finished_at": comparison.finished_at,
        "content_erased_at": comparison.content_erased_at,
    }


def _variant(told: Mapping[str, Any], number: int) -> dict[str, Any]:
    names = ("name", "model", "service_tier", EFFORT, CAP)
    return {"number": number, **{name: told.get(name) for name in names}}


def _bounds(runs: Sequence[RunOutcome]) -> dict[int, Decimal]:
    """What one call of each variant could cost at most."""
    found: dict[int, Decimal] = {}
    for one in runs:
        found[one.run.variant] = max(found.get(one.run.variant, Decimal(0)), one.run.bound_usd)
    return found


def _cell(cell: Cell) -> dict[str, Any]:
    return {"figures": _figures(cell.figures), "saving": _saving(cell.saving)}


def _figures(figures: Figures) -> dict[str, Any]:
    tokens, latency, cost = figures.tokens, figures.latency, figures.cost
    return {
        "runs": figures.runs,
        "counts": {str(status): number for status, number in sorted(figures.counts.items())},
        "empty": figures.empty,
        "tokens": tokens and {name: _range(found) for name, found in tokens.items()},
        "latency_ms": latency and {"median": latency.median, "max": latency.most},
        "cost": cost
        and {
            "total_usd": usd(cost.total),
            "mean_usd": usd(cost.mean),
            "min_usd": usd(cost.least),
            "max_usd": usd(cost.most),
        },
    }


def _range(found: Range) -> dict[str, Any]:
    return {"mean": plain_mean(found.mean), "min": found.least, "max": found.most}


def plain_mean(mean: Decimal) -> str:
    """A mean without a decimal that says nothing: 1279, 1279.5."""
    return f"{mean:f}".removesuffix(".0")


def _saving(saving: Saving | None) -> dict[str, Any] | None:
    if saving is None:
        return None
    return {
        "per_thousand_calls_usd": usd(saving.usd),
        "percent": None if saving.percent is None else f"{saving.percent:f}",
        "prompts": saving.prompts,
        "runs": saving.runs,
        "range": _between(saving.least, saving.most),
        "confidence_95": _between(saving.low, saving.high),
    }


def _between(low: Decimal | None, high: Decimal | None) -> dict[str, str] | None:
    return None if low is None or high is None else {"low_usd": usd(low), "high_usd": usd(high)}


def _answer(run: ComparisonRun | None, answers: Mapping[UUID, Mapping[str, Any]]) -> dict[str, Any] | None:
    job: Job | None = run.job if run else None
    if run is None or job is None or run.status == RunStatus.NOT_RUN:
        return None
    return {
        "job_id": str(job.pk),
        "round": run.round,
        "status": job.status,
        "finish_reason": job.finish_reason or None,
        "output_text": answers.get(job.pk, {}).get("content"),
    }
