"""A queued job is withdrawn. One that is running is not: its call may already be billed."""

from django.db import transaction

from billing.clock import database_now
from jobs.errors import NotCancellable
from jobs.models import Job
from jobs.states import JobStatus


@transaction.atomic
def cancel(job: Job) -> Job:
    """The cancelled job; cancelling it again changes nothing. Raises NotCancellable once it has left the queue."""
    withdrawn = Job.objects.filter(pk=job.pk, status=JobStatus.QUEUED).update(
        status=JobStatus.CANCELLED, finished_at=database_now(), waiting_on=None
    )
    job.refresh_from_db()
    # Losing the race against the dispatcher is normal: then the job's own status says what happened.
    if not withdrawn and job.status != JobStatus.CANCELLED:
        raise NotCancellable(
            f"The job is {job.status}; only a queued job can be cancelled, because a call that has begun may already "
            "be billed."
        )
    return job
