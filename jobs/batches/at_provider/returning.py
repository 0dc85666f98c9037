"""Lines that the provider did not run wait again: their holds are given back, and their next job is another one."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction
from django.db.models import F

from billing import ledger
from billing.clock import database_now
from jobs import waking
from jobs.batches.noting import Noted, note
from jobs.batches.states import LineStatus
from jobs.models import Attempt, Batch, BatchLine
from jobs.states import AttemptStatus, JobStatus
from jobs.transitions import move_jobs, require_legal_attempt

NOT_RUN = "not_run_at_provider"


@dataclass(frozen=True, slots=True)
class Open:
    """A line at the provider of which nothing is booked yet."""

    line_id: int
    job_id: UUID
    attempt_id: UUID


def give_back(batch: Batch, lines: Sequence[Open], *, code: str, was_sent: bool, is_a_try: bool) -> None:
    """Lets lines wait again, in the caller's transaction, which has the batch locked: nothing of them was billed.

    `was_sent`: they may have been at the provider. `is_a_try`: one of the few that a line has there.
    """
    if not lines:
        return
    now = database_now()
    to = AttemptStatus.REJECTED if was_sent else AttemptStatus.ABANDONED
    require_legal_attempt(AttemptStatus.BATCHED, to)
    ids = [line.attempt_id for line in lines]
    said = {"finished_at": now, "error_code": code[:100], "error_message": "The provider's batch did not run it."}
    given = Attempt.objects.filter(pk__in=ids, status=AttemptStatus.BATCHED).update(status=to, **said)
    assert given == len(ids), "the batch is locked, so nobody else has booked its lines"
    ledger.release_all(dict.fromkeys(ids, f"not run at the provider: {code}"[:500]))
    error = {
        "code": NOT_RUN,
        "type": "not_started",
        "message": f"The provider's batch did not run it ({code}). The line of the batch gets another job.",
        "status": None,
        "param": None,
    }
    jobs = [line.job_id for line in lines]
    move_jobs(jobs, to=JobStatus.FAILED, come_from=JobStatus.RUNNING, finished_at=now, error=error)
    note(batch, [Noted(line.line_id, LineStatus.WAITING) for line in lines], come_from=LineStatus.FED)
    BatchLine.objects.filter(pk__in=[line.line_id for line in lines]).update(
        provider_batch=None, returned=F("returned") + int(is_a_try)
    )
    transaction.on_commit(waking.wake)
