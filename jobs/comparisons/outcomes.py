"""Reads what came of the runs of comparisons: from jobs, calls and the books. Nothing of it is stored twice."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.models import Count, QuerySet, Sum

from billing.models import UsageRecord
from jobs.comparisons.figures import Outcome
from jobs.comparisons.states import RunStatus
from jobs.models import Attempt, Comparison, ComparisonRun, Job
from jobs.responses import tokens_of
from jobs.states import AttemptStatus, JobStatus

ANSWERED = frozenset({JobStatus.SUCCEEDED, JobStatus.INCOMPLETE})


@dataclass(frozen=True, slots=True)
class Progress:
    """How many of a comparison's runs have ended, or are known not to be run, and what the books say it spent."""

    runs: int
    ended: int
    not_run: int
    spent_usd: Decimal


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """A run with its job, and what came of it."""

    run: ComparisonRun
    outcome: Outcome


def progress_of(comparisons: Iterable[Comparison]) -> dict[UUID, Progress]:
    """By comparison, in two queries for all of them."""
    ids = [comparison.pk for comparison in comparisons]
    counts: dict[UUID, dict[str, int]] = {pk: {} for pk in ids}
    rows = ComparisonRun.objects.filter(comparison__in=ids).order_by()
    for pk, status, number in rows.values_list("comparison", "status").annotate(Count("pk")):
        counts[pk][status] = number
    spent = _spent(ids)
    return {
        pk: Progress(
            runs=sum(found.values()),
            ended=found.get(RunStatus.ENDED, 0) + found.get(RunStatus.NOT_RUN, 0),
            not_run=found.get(RunStatus.NOT_RUN, 0),
            spent_usd=spent.get(pk, Decimal(0)),
        )
        for pk, found in counts.items()
    }


def _spent(ids: list[UUID]) -> dict[UUID, Decimal]:
    """What was settled for the jobs of comparisons, lost calls included."""
    attempts = dict(
        Attempt.objects.filter(job__comparison_run__comparison__in=ids).values_list(
            "pk", "job__comparison_run__comparison"
        )
    )
    spent: dict[UUID, Decimal] = {}
    records = UsageRecord.objects.filter(reservation__reference__in=list(attempts)).order_by()
    for attempt, usd in records.values_list("reservation__reference").annotate(Sum("total_usd")):
        spent[attempts[attempt]] = spent.get(attempts[attempt], Decimal(0)) + usd
    return spent


def runs_of(comparison: Comparison) -> "QuerySet[ComparisonRun]":
    """Its runs in their order, each with its job."""
    return comparison.runs.select_related("job").order_by("number")


def outcomes_of(runs: Iterable[ComparisonRun]) -> list[RunOutcome]:
    """What came of runs that were read with their jobs."""
    found = list(runs)
    latencies = latencies_of(run.job_id for run in found if run.job_id)
    return [RunOutcome(run, outcome_of(run, latencies)) for run in found]


def latencies_of(job_ids: Iterable[UUID]) -> dict[UUID, int]:
    """How long the call took that brought the answer, in milliseconds, by job; of answers that were looked up later
    nobody knows.
    """
    rows = Attempt.objects.filter(job__in=list(job_ids), status=AttemptStatus.ANSWERED)
    times = rows.values_list("job", "calling_at", "finished_at")
    return {job: _ms(begun, ended) for job, begun, ended in times if begun and ended}


def _ms(begun: datetime, ended: datetime) -> int:
    return round((ended - begun).total_seconds() * 1000)


def outcome_of(run: ComparisonRun, latencies: Mapping[UUID, int]) -> Outcome:
    """What came of a run."""
    job = run.job
    if job is None:
        return Outcome(run.prompt, run.variant, run.status)
    has_answer = job.status in ANSWERED and job.usage is not None
    return Outcome(
        prompt=run.prompt,
        variant=run.variant,
        status=job.status,
        is_empty=job.is_empty,
        tokens=_tokens(job) if has_answer else None,
        usd=job.total_usd if has_answer else None,
        latency_ms=latencies.get(job.pk) if has_answer else None,
    )


def _tokens(job: Job) -> dict[str, int]:
    counted: dict[str, Any] = tokens_of(job.usage)
    return {**counted, "visible": counted["output"] - counted["reasoning"]}
