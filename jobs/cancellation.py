"""A queued job is withdrawn. One that the provider works on in the background is stopped there.

What it had used by then is settled, so that it is cancelled a moment later. A call of chat cannot be stopped: it may be
billed already.
"""

from collections.abc import Iterable
from uuid import UUID

from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Coalesce, Now

from billing.clock import database_now
from jobs.errors import NotCancellable
from jobs.models import Attempt, Job
from jobs.states import AttemptStatus, JobStatus
from jobs.transitions import move_jobs


@transaction.atomic
def cancel(job: Job) -> Job:
    """The job, cancelled or about to be (`cancel_asked_at`); cancelling it again changes nothing.

    Raises NotCancellable for one that is being called or has ended otherwise.
    """
    withdrawn = withdraw(job)
    job.refresh_from_db()
    # Losing the race against the dispatcher is normal: then the job's own status says what happened.
    if not withdrawn and job.status != JobStatus.CANCELLED and not _ask_to_stop(job):
        raise NotCancellable(
            f"The job is {job.status}; only a queued job can be cancelled, or one that the provider works on in the "
            "background. Any other call that has begun may already be billed."
        )
    return job


def withdraw(job: Job) -> bool:
    """Whether the job was still queued, and is cancelled now. What has begun goes on."""
    withdrawn = Job.objects.filter(pk=job.pk, status=JobStatus.QUEUED).update(
        status=JobStatus.CANCELLED, finished_at=database_now(), waiting_on=None
    )
    return withdrawn == 1


def withdraw_all(job_ids: Iterable[UUID]) -> int:
    """Cancels those of the jobs that are still queued; how many. The dispatcher may be first: then a job runs, is
    billed, and is waited for.
    """
    return move_jobs(
        job_ids,
        to=JobStatus.CANCELLED,
        come_from=JobStatus.QUEUED,
        finished_at=database_now(),
        waiting_on=None,
        run_after=None,
    )


def _ask_to_stop(job: Job) -> bool:
    """Notes that the provider is to be told, at the next look; False where it does not work on the job."""
    if not _at_the_provider(job).update(look_at=Now()):
        return False
    Job.objects.filter(pk=job.pk).update(cancel_asked_at=Coalesce(F("cancel_asked_at"), Now()))
    job.refresh_from_db()
    return True


def _at_the_provider(job: Job) -> "QuerySet[Attempt]":
    open_ones = (AttemptStatus.ACCEPTED, AttemptStatus.IN_DOUBT)
    return job.attempts.filter(status__in=open_ones, look_at__isnull=False)
