"""What time alone does to queued jobs: pauses end, and deadlines pass. Both are found by index, however many wait."""

from django.db import connection, transaction

from billing.clock import database_now
from jobs.dispatch.starting import why_not_started
from jobs.models import Job
from jobs.states import JobStatus
from jobs.transitions import move_jobs

# Jobs of either kind that one dispatch takes care of; the next one does the rest.
AT_ONCE = 500
_RESUME = """
    UPDATE jobs_job SET run_after = NULL, waiting_on = NULL WHERE id IN (
        SELECT id FROM jobs_job WHERE status = 'queued' AND run_after <= now()
        ORDER BY run_after LIMIT %s FOR UPDATE SKIP LOCKED
    )
"""


def resume() -> int:
    """Puts jobs whose pause is over back in line; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(_RESUME, [AT_ONCE])
        resumed: int = cursor.rowcount
    return resumed


@transaction.atomic
def expire() -> int:
    """Ends queued jobs whose deadline has passed, wherever they stand in line; returns how many."""
    now = database_now()
    late = Job.objects.filter(status=JobStatus.QUEUED, deadline__lte=now).order_by("deadline")[:AT_ONCE]
    ids = list(late.select_for_update(skip_locked=True).values_list("pk", flat=True))
    if not ids:
        return 0
    error = why_not_started("deadline_exceeded", "The deadline passed while the job was waiting to start.")
    return move_jobs(
        ids,
        to=JobStatus.FAILED,
        come_from=JobStatus.QUEUED,
        finished_at=now,
        error=error,
        waiting_on=None,
        run_after=None,
    )
