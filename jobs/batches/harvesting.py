"""Takes in what came of the jobs of a batch: each once, counted on the batch with its tokens and its cost."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from jobs.batches import refusals
from jobs.batches.noting import Noted, note
from jobs.batches.states import LineStatus
from jobs.errors import MaxCostTooSmall
from jobs.models import Batch, BatchLine, Job
from jobs.responses import tokens_of
from jobs.states import JOB_FINAL, JobStatus

LINES_AT_ONCE = 500
# What the lookups of lost answers get to find one, after the batch should have ended.
DOUBT_GRACE = timedelta(minutes=10)
_COSTS = ("input_usd", "cached_input_usd", "output_usd", "reasoning_usd", "total_usd")


def harvest(batch: Batch) -> bool:
    """Takes in some jobs that have ended; whether there may be more. Runs in the caller's transaction."""
    under_way = batch.lines.filter(status=LineStatus.FED)
    ended = list(under_way.filter(job__status__in=JOB_FINAL).select_related("job")[:LINES_AT_ONCE])
    _take_in(batch, [(line, *_outcome(line.job)) for line in ended if line.job])
    return len(ended) == LINES_AT_ONCE


def give_up_doubts(batch: Batch, since: datetime, now: datetime) -> None:
    """Ends lines whose outcome is still not known long after the batch should have ended; the books go on without."""
    if now < since + DOUBT_GRACE:
        return
    lost = batch.lines.filter(status=LineStatus.FED, job__status=JobStatus.IN_DOUBT).select_related("job")
    _take_in(batch, [(line, LineStatus.FAILED, refusals.IN_DOUBT) for line in lost[:LINES_AT_ONCE]])


def _outcome(job: Job) -> tuple[LineStatus, dict[str, Any] | None]:
    match JobStatus(job.status):
        case JobStatus.SUCCEEDED | JobStatus.INCOMPLETE:
            return LineStatus.COMPLETED, None
        case JobStatus.CANCELLED:
            return LineStatus.CANCELLED, refusals.JOB_CANCELLED
        case _ if (job.error or {}).get("code") == "deadline_exceeded":
            return LineStatus.EXPIRED, refusals.EXPIRED
        case _ if (job.error or {}).get("code") == MaxCostTooSmall.code:
            return LineStatus.FAILED, refusals.COST_LIMIT  # a price has risen since its bound was taken of the ceiling
        case _:
            return LineStatus.FAILED, refusals.failed(job)


def _take_in(batch: Batch, ended: Iterable[tuple[BatchLine, LineStatus, dict[str, Any] | None]]) -> None:
    sums: dict[str, Any] = defaultdict(int)
    found = []
    for line, status, error in ended:
        if status == LineStatus.CANCELLED and batch.cancelling_at:
            error = refusals.CANCELLED
        found.append(Noted(line.pk, status, line.job_id, error))
        if line.job is not None and line.job.total_usd is not None:
            _add(sums, line.job)
    note(batch, found, come_from=LineStatus.FED, sums=sums)


def _add(sums: dict[str, Any], job: Job) -> None:
    counted = tokens_of(job.usage)
    for name, tokens in counted.items():
        sums[f"{name}_tokens"] += tokens
    for name in _COSTS:
        sums[name] += getattr(job, name)
