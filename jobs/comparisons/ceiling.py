"""What a comparison may still come to: its ceiling, less what was settled for it and what its jobs may still cost.

By the books, and not by the costs of answers: what was presumed spent for a lost call counts as well.
"""

from django.db import connection

from jobs.ceilings import Room
from jobs.comparisons.states import RunStatus
from jobs.models import Comparison
from jobs.states import JOB_FINAL

_FINAL = ", ".join(f"'{status}'" for status in sorted(JOB_FINAL))
# One statement, so that no job is settled between its parts: it would be missing in both.
_TAKEN = f"""
    SELECT
        (SELECT count(*) FROM jobs_comparisonrun run JOIN jobs_job job ON job.id = run.job_id
         WHERE run.comparison_id = %(id)s AND run.status = '{RunStatus.FED}' AND job.status NOT IN ({_FINAL})),
        COALESCE((SELECT sum(job.bound_usd) FROM jobs_comparisonrun run JOIN jobs_job job ON job.id = run.job_id
         WHERE run.comparison_id = %(id)s AND job.status NOT IN ({_FINAL})), 0)
        + COALESCE((SELECT sum(record.total_usd) FROM jobs_comparisonrun run
         JOIN jobs_attempt attempt ON attempt.job_id = run.job_id
         JOIN billing_reservation reservation ON reservation.reference = attempt.id
         JOIN billing_usagerecord record ON record.reservation_id = reservation.id
         WHERE run.comparison_id = %(id)s), 0)
"""  # noqa: S608


def room_of(comparison: Comparison) -> Room:
    """The room that a comparison has left, as it stands in the caller's transaction, which has locked it."""
    with connection.cursor() as cursor:
        cursor.execute(_TAKEN, {"id": comparison.pk})
        under_way, taken = cursor.fetchone()
    return Room(comparison.max_cost_usd - taken, may_grow=under_way > 0)
