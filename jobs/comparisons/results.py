"""A comparison with its figures, as API and pages show it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from jobs.comparisons import figures
from jobs.comparisons.figures import Figures, Saving
from jobs.comparisons.outcomes import ANSWERED, Progress, RunOutcome, outcomes_of, progress_of, runs_of
from jobs.models import Comparison, ComparisonRun, JobContent


@dataclass(frozen=True, slots=True)
class Cell:
    """What some runs of one variant came to, of all prompts or of one. `saving`: None for the baseline itself, and
    while there is nothing to compare.
    """

    variant: int
    figures: Figures
    saving: Saving | None


@dataclass(frozen=True, slots=True)
class Results:
    """The figures of a comparison: by variant in their order, and by prompt for each variant.

    `answered`: the run that shows what a variant answers to a prompt, which is the first that was answered, by prompt
    and variant.
    """

    progress: Progress
    variants: Sequence[Cell]
    prompts: Mapping[int, Sequence[Cell]]
    runs: Sequence[RunOutcome]
    answered: Mapping[tuple[int, int], ComparisonRun]

    @property
    def answered_jobs(self) -> list[UUID]:
        """The jobs whose answers stand side by side."""
        return [run.job_id for run in self.answered.values() if run.job_id]


def results_of(comparison: Comparison) -> Results:
    """What a comparison has found so far."""
    runs = outcomes_of(runs_of(comparison))
    outcomes = [run.outcome for run in runs]
    by_prompt = figures.grouped(outcomes, lambda outcome: outcome.prompt)
    answered: dict[tuple[int, int], ComparisonRun] = {}
    for one in runs:
        if one.run.job is not None and one.run.job.status in ANSWERED:
            answered.setdefault((one.run.prompt, one.run.variant), one.run)
    return Results(
        progress=progress_of([comparison])[comparison.pk],
        variants=_cells(comparison, outcomes),
        prompts={prompt: _cells(comparison, found) for prompt, found in by_prompt.items()},
        runs=runs,
        answered=answered,
    )


def _cells(comparison: Comparison, outcomes: Sequence[figures.Outcome]) -> list[Cell]:
    by_variant = figures.grouped(outcomes, lambda outcome: outcome.variant)
    baseline = by_variant.get(comparison.baseline, [])
    return [
        Cell(
            variant,
            figures.figures_of(by_variant.get(variant, [])),
            None if variant == comparison.baseline else figures.saving(baseline, by_variant.get(variant, [])),
        )
        for variant in range(1, len(comparison.variants) + 1)
    ]


def answers_of(job_ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
    """The provider's answer messages, by job; without those that are erased."""
    rows = JobContent.objects.filter(pk__in=job_ids, message__isnull=False).only("job_id", "message")
    return {row.job_id: row.message or {} for row in rows}
