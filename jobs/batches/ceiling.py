"""What a batch may cost at most, where whoever made it said so.

Settled and open together never come above it: a line gets a job only while the bound of one call of it fits beside what
the batch has cost and what its jobs under way may still come to. Those are held to their bounds, so that a price that
rises before a call fails the job and not the ceiling.
"""

from django.db import connection

from jobs.batches.states import LineStatus
from jobs.ceilings import Room
from jobs.models import Batch
from jobs.states import DoubtStatus

# A batch is locked while it is fed, so that its lines are in these states and no others. What was settled of a job
# before it is run again is not in the batch's cost, which is that of answers.
_TAKEN = f"""
    SELECT count(job.id), batch.total_usd + COALESCE(sum(job.bound_usd), 0) + COALESCE((
        SELECT sum(record.total_usd) FROM jobs_doubt doubt
        JOIN jobs_attempt attempt ON attempt.id = doubt.attempt_id
        JOIN jobs_batchline own ON own.job_id = attempt.job_id
        JOIN billing_reservation reservation ON reservation.reference = attempt.id
        JOIN billing_usagerecord record ON record.reservation_id = reservation.id
        WHERE doubt.status = '{DoubtStatus.RERUN}' AND own.batch_id = batch.id
    ), 0)
    FROM jobs_batch batch
    LEFT JOIN jobs_batchline line ON line.batch_id = batch.id AND line.status = '{LineStatus.FED}'
    LEFT JOIN jobs_job job ON job.id = line.job_id
    WHERE batch.id = %s GROUP BY batch.id
"""  # noqa: S608


def room_of(batch: Batch) -> Room:
    """The room that a batch has left, as it stands in the caller's transaction, which has locked the batch."""
    if batch.max_cost_usd is None:
        return Room(None, may_grow=False)
    with connection.cursor() as cursor:
        cursor.execute(_TAKEN, [batch.pk])
        under_way, taken = cursor.fetchone()
    return Room(batch.max_cost_usd - taken, may_grow=under_way > 0)
