"""The runs of a comparison as a table: for files, with exact amounts."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from uuid import UUID

from jobs.comparisons.figures import TOKENS
from jobs.comparisons.outcomes import RunOutcome
from jobs.comparisons.requests import CAP, EFFORT
from jobs.models import Comparison

COLUMNS = (
    *("run", "round", "prompt", "prompt_name", "variant", "variant_name", "model", "service_tier", EFFORT, CAP),
    *("status", "reason", "job_id", *(f"{name}_tokens" for name in TOKENS), "cost_usd", "bound_usd", "latency_ms"),
    *("finish_reason", "is_empty", "answer"),
)


def rows_of(
    comparison: Comparison, runs: Iterable[RunOutcome], answers: Mapping[UUID, Mapping[str, Any]]
) -> Iterator[list[Any]]:
    """A row for each run, in the order of COLUMNS; None where there is nothing to say."""
    for one in runs:
        run, outcome, job = one.run, one.outcome, one.run.job
        variant, tokens = comparison.variants[run.variant - 1], outcome.tokens or {}
        yield [
            *(run.number, run.round, run.prompt, comparison.prompt_names[run.prompt - 1]),
            *(run.variant, *(variant.get(name) for name in ("name", "model", "service_tier", EFFORT, CAP))),
            *(outcome.status, run.reason or None, str(job.pk) if job else None),
            *(tokens.get(name) for name in TOKENS),
            *(outcome.usd, run.bound_usd, outcome.latency_ms, job.finish_reason if job else None),
            "true" if outcome.is_empty else "false",
            answers.get(job.pk, {}).get("content") if job else None,
        ]
