"""T4: what came of calls is booked, many in one transaction, each once."""

import json
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import openai
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction

from billing import ledger
from billing.arrays import columns
from billing.clock import database_now
from billing.models import UsageRecord
from jobs import limiter, waking
from jobs.execution.claims import Call
from jobs.execution.turns import Turn, return_turns
from jobs.models import Attempt
from jobs.provider import Answer, Rejected, Uncertain, Unreachable
from jobs.recovery import put_in_doubt
from jobs.retries import RETRY_AFTER_CAP_SECONDS, Decision, Fail, Rejection, Retry, after_rejection, after_unreachable
from jobs.states import AttemptStatus, JobStatus
from jobs.transitions import move_attempt, move_job, require_legal_attempt, require_legal_job

logger = logging.getLogger(__name__)

# An outcome in hand is worth waiting for the database: this long, then the attempt is left to be put in doubt.
BOOKING_PATIENCE_SECONDS = 120.0
# With a 503: the provider wants less for a while, of everybody (OpenAI error codes, 2026).
SLOW_DOWN = "slow_down"

# An answer that comes after its attempt was put in doubt is the truth that was missing, and is booked as well.
_ANSWERED = f"""
    UPDATE jobs_attempt AS attempt
    SET status = CASE attempt.status WHEN '{AttemptStatus.CALLING}' THEN '{AttemptStatus.ANSWERED}'
            ELSE '{AttemptStatus.RESOLVED}' END,
        finished_at = now(), http_status = 200, provider_request_id = new.request_id,
        provider_response_id = new.response_id
    FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::text[]) AS new (id, token, request_id, response_id)
    WHERE attempt.id = new.id AND attempt.fencing_token = new.token
        AND attempt.status IN ('{AttemptStatus.CALLING}', '{AttemptStatus.IN_DOUBT}')
    RETURNING attempt.id
"""  # noqa: S608
_FINISHED = f"""
    UPDATE jobs_job AS job
    SET status = new.status, finished_at = now(), snapshot = new.snapshot, usage = new.usage::jsonb,
        finish_reason = new.finish_reason, is_empty = new.is_empty, input_usd = new.input_usd,
        cached_input_usd = new.cached_input_usd, output_usd = new.output_usd, reasoning_usd = new.reasoning_usd,
        total_usd = new.total_usd, waiting_on = NULL
    FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::boolean[], %s::numeric[],
        %s::numeric[], %s::numeric[], %s::numeric[], %s::numeric[]) AS new (id, status, snapshot, usage, finish_reason,
        is_empty, input_usd, cached_input_usd, output_usd, reasoning_usd, total_usd)
    WHERE job.id = new.id AND job.status IN ('{JobStatus.RUNNING}', '{JobStatus.IN_DOUBT}')
"""  # noqa: S608
_SAID = """
    UPDATE jobs_jobcontent AS content SET message = new.message::jsonb
    FROM unnest(%s::uuid[], %s::text[]) AS new (job_id, message) WHERE content.job_id = new.job_id
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a call that was begun; `sent_us` by Redis's clock."""

    turn: Turn
    sent_us: int
    result: Answer | Rejected | Unreachable | Uncertain

    @property
    def call(self) -> Call:
        return self.turn.call


def book_all(outcomes: Sequence[Outcome]) -> list[None]:
    """Books outcomes, waiting for a database that is away, and then passes on what the provider said of its limits."""
    answers = [(o.call, o.result) for o in outcomes if isinstance(o.result, Answer)]
    if answers:
        _book(lambda: settle_all(answers))
    for outcome in outcomes:
        match outcome.result:
            case Rejected() as refused:
                _on_rejection(outcome.call, refused)
            case Unreachable() as unreachable:
                reason = str(unreachable)
                _book(lambda o=outcome, reason=reason: _reject_unreachable(o.call, reason))  # type: ignore[misc]
                return_turns([outcome.turn])
            case Uncertain() as doubt:
                _book(lambda o=outcome, doubt=doubt: _doubt(o.call, doubt))  # type: ignore[misc]
    # After the money: nothing that a header says may keep a paid answer from being booked.
    _learn(outcomes)
    waking.wake()
    return [None for _ in outcomes]


@transaction.atomic
def settle_all(answers: Sequence[tuple[Call, Answer]]) -> list[UsageRecord]:
    """Books answers: holds, usage records, rollups, attempts, jobs and content change together, each once.

    The usage records of those whose attempt was still this worker's; the others are left as they are.
    """
    require_legal_attempt(AttemptStatus.CALLING, AttemptStatus.ANSWERED)
    require_legal_attempt(AttemptStatus.IN_DOUBT, AttemptStatus.RESOLVED)
    ours = _finish_attempts(answers)
    for call, _ in answers:
        if call.attempt_id not in ours:
            logger.warning("the answer of attempt %s came after it was resolved otherwise", call.attempt_id)
    booked = [(call, answer) for call, answer in answers if call.attempt_id in ours]
    if not booked:
        return []
    records = ledger.settle_all(
        [
            ledger.Usage(call.attempt_id, answer.tokens, answer.snapshot, is_empty=answer.is_empty)
            for call, answer in booked
        ]
    )
    _finish_jobs(booked, records)
    return records


def _finish_attempts(answers: Sequence[tuple[Call, Answer]]) -> set[UUID]:
    """The attempts that were ours and are finished now."""
    rows = [(call.attempt_id, call.token, answer.request_id, answer.response_id) for call, answer in answers]
    with connection.cursor() as cursor:
        cursor.execute(_ANSWERED, columns(rows))
        return {attempt_id for (attempt_id,) in cursor.fetchall()}


def _finish_jobs(booked: Sequence[tuple[Call, Answer]], records: Sequence[UsageRecord]) -> None:
    rows = []
    for (call, answer), record in zip(booked, records, strict=True):
        is_complete = answer.finish_reason not in {"length", "content_filter"}
        status = JobStatus.SUCCEEDED if is_complete else JobStatus.INCOMPLETE
        for before in (JobStatus.RUNNING, JobStatus.IN_DOUBT):
            require_legal_job(before, status)
        rows.append(
            (
                *(call.job_id, status.value, answer.snapshot, json.dumps(answer.usage), answer.finish_reason),
                *(answer.is_empty, record.input_usd, record.cached_input_usd, record.output_usd),
                *(record.reasoning_usd, record.total_usd),
            )
        )
    with connection.cursor() as cursor:
        cursor.execute(_FINISHED, columns(rows))
        assert cursor.rowcount == len(rows), "a job has one open attempt, and this was it"
        cursor.execute(_SAID, columns([(call.job_id, json.dumps(answer.message)) for call, answer in booked]))


def _on_rejection(call: Call, error: Rejected) -> None:
    rejection = error.rejection
    decision = after_rejection(
        rejection,
        attempts=_tries(call),
        max_attempts=settings.MAX_ATTEMPTS,
        jitter=random.random(),  # noqa: S311
    )
    if rejection.status == 429 and isinstance(decision, Retry):
        # The pause of this job alone grows with its tries; the others need only wait for what the provider asks.
        asked = rejection.retry_after if rejection.retry_after is not None else decision.after_seconds
        _tell(lambda: limiter.hold_back(_account_of(call), call.family, min(asked, RETRY_AFTER_CAP_SECONDS)))
    elif rejection.code == SLOW_DOWN:
        _tell(lambda: limiter.slow_down(_account_of(call), call.family))
    _book(lambda: _reject(call, rejection, decision, error.request_id))


def _tries(call: Call) -> int:
    """How often the job has reached for the provider, this time included. Waiting for a turn is no try."""
    return Attempt.objects.filter(job_id=call.job_id, status=AttemptStatus.REJECTED).count() + 1


def _account_of(call: Call) -> str:
    """The account on which a call counts."""
    return limiter.account_of(call.access)


def _tell(word: Callable[[], None]) -> None:
    """The provider has something to say to everybody on this account, not to this call alone."""
    try:
        word()
    except limiter.LimiterAway as away:
        logger.warning("a refusal was not passed on to the limiter: %s", away)


def _reject_unreachable(call: Call, reason: str) -> None:
    decision = after_unreachable(
        attempts=_tries(call),
        max_attempts=settings.MAX_ATTEMPTS,
        jitter=random.random(),  # noqa: S311
    )
    rejection = Rejection(status=0, code="connection_failed", type="connection_error", message=reason)
    _reject(call, rejection, decision, request_id="")


@transaction.atomic
def _reject(call: Call, rejection: Rejection, decision: Decision, request_id: str) -> None:
    """Books a refusal: the hold is given back, and the job goes back to the queue or has failed."""
    now = database_now()
    ours = move_attempt(
        call.attempt_id,
        to=AttemptStatus.REJECTED,
        come_from=AttemptStatus.CALLING,
        token=call.token,
        finished_at=now,
        http_status=rejection.status or None,
        error_code=rejection.code[:100],
        error_message=rejection.message[:1000],
        provider_request_id=request_id,
    )
    if not ours:
        return
    ledger.release(call.attempt_id, reason=f"refused: {rejection.status or ''} {rejection.code}"[:500].strip())
    error = {
        "status": rejection.status or None,
        "code": rejection.code or None,
        "type": rejection.type or None,
        "param": rejection.param,
        "message": rejection.message,
    }
    match decision:
        case Retry(after_seconds):
            move_job(
                call.job_id,
                to=JobStatus.QUEUED,
                come_from=[JobStatus.RUNNING],
                run_after=now + timedelta(seconds=after_seconds),
                waiting_on={"reason": "retry", "error": error, "attempts": call.number},
            )
        case Fail():
            move_job(call.job_id, to=JobStatus.FAILED, come_from=[JobStatus.RUNNING], finished_at=now, error=error)


def _doubt(call: Call, doubt: Uncertain) -> None:
    put_in_doubt(call, code=doubt.code, reason=str(doubt), token=call.token, http_status=doubt.status)


def _learn(outcomes: Sequence[Outcome]) -> None:
    """Passes on what the provider said of its limits."""
    try:
        limiter.learn_all([(o.turn.taken, _headers_of(o.result), o.sent_us) for o in outcomes if o.turn.taken])
    except limiter.LimiterAway as away:
        logger.warning("the provider's limits were not passed on to the limiter: %s", away)
    except Exception:
        logger.exception("what the provider said of its limits was not understood")


def _headers_of(result: Answer | Exception) -> Mapping[str, str]:
    """What the provider said beside an outcome; nothing where it did not answer."""
    if isinstance(result, Answer):
        return result.headers
    return result.__cause__.response.headers if isinstance(result.__cause__, openai.APIStatusError) else {}


def _book(write: Callable[[], object]) -> None:
    """Writes an outcome, waiting for a database that is away: what is in hand is not thrown away for a restart."""
    give_up_at = time.monotonic() + BOOKING_PATIENCE_SECONDS
    pause = 0.1
    while True:
        try:
            write()
            return
        except (OperationalError, InterfaceError) as error:
            if time.monotonic() > give_up_at:
                raise
            logger.warning("the outcome waits for the database: %s", error)
            _free_connection()
            time.sleep(pause)
            pause = min(pause * 2, 5.0)


def _free_connection() -> None:
    """Drops this thread's database connection, which may be dead; the next statement gets another one."""
    if not connection.in_atomic_block:
        connection.close()
