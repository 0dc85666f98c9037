"""Drives comparisons: one step is one transaction, which takes in what has ended and feeds what fits.

Whoever is killed in the middle of a step leaves everything as it was before it. Two that come at once do not meet: the
comparison is locked, and the second goes on to another one.
"""

from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from jobs.cancellation import withdraw_all
from jobs.comparisons.errors import ComparisonNotCancellable
from jobs.comparisons.feeding import end_waiting, feed_on
from jobs.comparisons.states import COMPARISON_ACTIVE, COMPARISON_TRANSITIONS, ComparisonStatus, NotRun, RunStatus
from jobs.crash_points import reach
from jobs.models import Comparison, Job
from jobs.states import JOB_FINAL, DoubtStatus, JobStatus
from jobs.stepping import WORK_SECONDS, work_in_turn
from jobs.transitions import IllegalTransition

# What the lookups of lost answers get to find one before a comparison goes on without it. Its bound stays taken.
DOUBT_GRACE = timedelta(minutes=10)


def work(seconds: float = WORK_SECONDS) -> int:
    """Takes all comparisons further in turn, for so long at most; how many steps were made."""
    return work_in_turn(active(), step, seconds, of="comparison")


def active() -> list[UUID]:
    """The comparisons that have not ended; first those that were worked on longest ago."""
    rows = Comparison.objects.filter(status__in=sorted(COMPARISON_ACTIVE))
    return list(rows.order_by(F("stepped_at").asc(nulls_first=True), "id").values_list("pk", flat=True))


@transaction.atomic
def step(comparison_id: UUID) -> bool:
    """Takes one comparison a little further; whether there is more to do at once."""
    rows = Comparison.objects.select_for_update(skip_locked=True, of=("self",))
    rows = rows.filter(status__in=sorted(COMPARISON_ACTIVE)).select_related("api_key", "project__organization")
    comparison = rows.filter(pk=comparison_id).first()
    if comparison is None:
        return False  # somebody else works on it, or it has ended
    _harvest(comparison)
    more = False
    if comparison.status == ComparisonStatus.CANCELLING:
        _withdraw(comparison)
        _harvest(comparison)
    else:
        more = feed_on(comparison)
    Comparison.objects.filter(pk=comparison.pk).update(stepped_at=Now())
    if not comparison.runs.filter(status__in=(RunStatus.WAITING, RunStatus.FED)).exists():
        more = False
        is_cancelled = comparison.status == ComparisonStatus.CANCELLING
        to = ComparisonStatus.CANCELLED if is_cancelled else ComparisonStatus.COMPLETED
        _move(comparison.pk, to=to, come_from=ComparisonStatus(comparison.status), finished_at=Now())
    reach("comparison.stepped")
    return more


@transaction.atomic
def cancel(comparison: Comparison) -> Comparison:
    """The comparison, cancelled or about to be: what has not started is withdrawn, calls under way go on and are
    billed. Cancelling it again changes nothing. Raises ComparisonNotCancellable for one that has ended otherwise.
    """
    if _move(comparison.pk, to=ComparisonStatus.CANCELLING, come_from=ComparisonStatus.RUNNING):
        step(comparison.pk)
    comparison.refresh_from_db()
    if comparison.status == ComparisonStatus.COMPLETED:
        raise ComparisonNotCancellable("The comparison is completed, so there is nothing left of it to be cancelled.")
    return comparison


def _harvest(comparison: Comparison) -> None:
    """Takes note of jobs that have ended, and of those whose outcome will not be known soon."""
    is_lost = Q(
        job__status=JobStatus.IN_DOUBT,
        job__attempts__doubt__status=DoubtStatus.OPEN,
        job__attempts__doubt__opened_at__lte=Now() - DOUBT_GRACE,
    )
    ended = comparison.runs.filter(Q(job__status__in=sorted(JOB_FINAL)) | is_lost, status=RunStatus.FED)
    comparison.runs.filter(pk__in=ended.values("pk"), status=RunStatus.FED).update(status=RunStatus.ENDED)


def _withdraw(comparison: Comparison) -> None:
    """Cancels what has not started, with a job or without."""
    end_waiting(comparison, NotRun.CANCELLED)
    queued = Job.objects.filter(
        comparison_run__comparison=comparison, comparison_run__status=RunStatus.FED, status=JobStatus.QUEUED
    )
    withdraw_all(list(queued.values_list("pk", flat=True)))


def _move(comparison_id: UUID, *, to: ComparisonStatus, come_from: ComparisonStatus, **fields: object) -> bool:
    """Whether it was in that state and has moved; False when somebody else was first."""
    if to not in COMPARISON_TRANSITIONS[come_from]:
        raise IllegalTransition(f"comparison: {come_from} -> {to}")
    moved = Comparison.objects.filter(pk=comparison_id, status=come_from).update(status=to, **fields)
    return bool(moved)
