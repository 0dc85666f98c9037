"""The paid calls of a project's month, from usage records with their attempts, doubts and jobs."""

from collections.abc import Iterator
from uuid import UUID

from django.db import connection, transaction

from billing.periods import Window
from billing.pricing import PriceTerms
from jobs.states import DoubtStatus, JobStatus
from jobs.waste.reckoning import PaidCall

AT_ONCE = 2000
# Where the three prices begin in a row; the cost is its end.
PRICES = 14
# Settled without an answer: at their bound, or to the little that was learnt later.
_UNANSWERED = f"'{DoubtStatus.PRESUMED_SPENT}', '{DoubtStatus.RERUN}', '{DoubtStatus.RELEASED}'"
_ENDED_BADLY = f"'{JobStatus.FAILED}', '{JobStatus.CANCELLED}'"
_IS_BESIDE = f"(doubt.status IN ({_UNANSWERED}) OR job.status IN ({_ENDED_BADLY}))"
# A file that was handed out has all its answers read.
_TABLES = """
    FROM billing_usagerecord record
    JOIN billing_reservation reservation ON reservation.id = record.reservation_id
    LEFT JOIN jobs_attempt attempt ON attempt.id = reservation.reference
    LEFT JOIN jobs_doubt doubt ON doubt.attempt_id = attempt.id
    LEFT JOIN jobs_job job ON job.id = attempt.job_id
    LEFT JOIN LATERAL (
        SELECT file.read_at FROM jobs_batchline line
        JOIN jobs_batch batch ON batch.id = line.batch_id JOIN jobs_file file ON file.id = batch.output_file_id
        WHERE line.job_id = job.id AND file.read_at IS NOT NULL LIMIT 1
    ) AS output ON job.read_at IS NULL
    WHERE record.project_id = %s AND record.booked_at >= %s AND record.booked_at < %s
"""
_CALLS = f"""
    SELECT job.id, record.model, record.service_tier, job.prompt_prefix, record.dispatched_at, job.finished_at,
        COALESCE(job.read_at, output.read_at), COALESCE({_IS_BESIDE}, false), record.is_empty,
        COALESCE(job.is_refused, false), record.input_tokens, record.cached_input_tokens, record.output_tokens,
        record.reasoning_tokens, record.input_usd_per_million, record.cached_input_usd_per_million,
        record.output_usd_per_million, record.total_usd
    {_TABLES} ORDER BY record.dispatched_at, record.id
"""


def paid_calls(project_id: UUID, month: Window) -> Iterator[PaidCall]:
    """Each, in the order in which they were sent. Belongs into a transaction: the rows come as they are asked for."""
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("Rows that come as they are asked for need a transaction.")
    with connection.chunked_cursor() as cursor:
        cursor.execute(_CALLS, [project_id, month.start, month.end])
        while rows := cursor.fetchmany(AT_ONCE):
            for row in rows:
                yield PaidCall(*(*row[:PRICES], PriceTerms(*row[PRICES:-1]), row[-1]))
