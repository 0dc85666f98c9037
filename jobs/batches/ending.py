"""How a batch ends: what has not started is withdrawn, what ran is waited for, and the answers are written in order."""

from billing.clock import database_now
from jobs.batches import files, results
from jobs.batches.moving import move_batch
from jobs.batches.noting import delete_some, end_waiting
from jobs.batches.refusals import CANCELLED, EXPIRED
from jobs.batches.states import BatchStatus, FileStatus, LineStatus, Purpose
from jobs.cancellation import withdraw_all
from jobs.models import Batch, BatchLine, File, Job
from jobs.states import JobStatus

JOBS_AT_ONCE = 500
# Lines that are read at a time, and what one step writes at most.
LINES_AT_ONCE = 25
STEP_LINES = 250
STEP_BYTES = 2 * 1024 * 1024


def withdraw(batch: Batch) -> bool:
    """Cancels some of what has not started, with a job or without; whether there may be more."""
    waiting = end_waiting(batch, LineStatus.CANCELLED, CANCELLED)
    queued = Job.objects.filter(batch_line__batch=batch, batch_line__status=LineStatus.FED, status=JobStatus.QUEUED)
    ids = list(queued.values_list("pk", flat=True)[:JOBS_AT_ONCE])
    return bool(waiting or withdraw_all(ids))


def expire(batch: Batch) -> bool:
    """Ends some of the lines that have no job and get none any more; the dispatcher ends jobs that have not started."""
    return bool(end_waiting(batch, LineStatus.EXPIRED, EXPIRED))


def has_ended(batch: Batch) -> bool:
    """Whether no line waits or is under way."""
    return not batch.lines.filter(status__in=(LineStatus.WAITING, LineStatus.FED)).exists()


def drop(batch: Batch) -> bool:
    """Ends a batch that was cancelled before it was validated: nothing of it has run, and there is nothing to write.
    Whether there are more of its lines to be deleted first.
    """
    if delete_some(batch):
        return True
    counts = dict.fromkeys(("total", "completed", "failed", "expired", "cancelled"), 0)
    move_batch(batch.pk, to=BatchStatus.CANCELLED, come_from=[BatchStatus.CANCELLING], **counts)
    return False


def write(batch: Batch) -> bool:
    """Writes the answers of some lines, in the order of the input; whether there are more. At the end of them the
    batch has ended, and its files can be seen.
    """
    written, size = 0, 0
    while written < STEP_LINES and size < STEP_BYTES:
        lines = _after(batch)
        if not lines:
            _finish(batch)
            return False
        size += _write(batch, lines)
        written += len(lines)
        batch.written_lines = lines[-1].number
    batch.save(update_fields=["written_lines", "output_file", "error_file"])
    return True


def _after(batch: Batch) -> list[BatchLine]:
    rows = batch.lines.filter(number__gt=batch.written_lines).order_by("number")
    return list(rows.select_related("job__content").defer("job__content__request")[:LINES_AT_ONCE])


def _write(batch: Batch, lines: list[BatchLine]) -> int:
    """How many bytes were written."""
    answered = [line for line in lines if line.status == LineStatus.COMPLETED]
    attempts = results.answered_attempts(line.job for line in answered if line.job)
    output = b"".join(results.output_line(line, attempts.get(line.job_id)) for line in answered if line.job_id)
    errors = b"".join(results.error_line(line) for line in lines if line.status != LineStatus.COMPLETED)
    if output:
        batch.output_file = _append(batch, batch.output_file, "output", output)
    if errors:
        batch.error_file = _append(batch, batch.error_file, "error", errors)
    return len(output) + len(errors)


def _append(batch: Batch, file: File | None, kind: str, data: bytes) -> File:
    if file is None:
        file = File.objects.create(
            project_id=batch.project_id,
            api_key_id=batch.api_key_id,
            filename=f"{batch.public_id}_{kind}.jsonl",
            purpose=Purpose.BATCH_OUTPUT,
            created_at=database_now(),
        )
    files.append(file, data)
    file.save(update_fields=["bytes"])
    return file


def _finish(batch: Batch) -> None:
    kept = files.lifetime_in(batch.project, batch.output_expires_after)
    for file in filter(None, (batch.output_file, batch.error_file)):
        file.status, file.expires_at = FileStatus.PROCESSED, database_now() + kept
        file.save(update_fields=["status", "expires_at"])
    files_of = {"output_file": batch.output_file, "error_file": batch.error_file, "written_lines": batch.written_lines}
    if batch.status == BatchStatus.CANCELLING:
        move_batch(batch.pk, to=BatchStatus.CANCELLED, come_from=[BatchStatus.CANCELLING], **files_of)
        return
    to = BatchStatus.EXPIRED if batch.expired else BatchStatus.COMPLETED
    move_batch(batch.pk, to=to, come_from=[BatchStatus.FINALIZING], **files_of)
