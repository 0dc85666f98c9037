"""T4: what came of calls is booked, many in one transaction, each once."""

import json
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Protocol
from uuid import UUID

import openai
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q

from accounts.models.encrypted import encrypted
from billing import ledger
from billing.arrays import columns
from billing.clock import database_now
from billing.models import UsageRecord
from jobs import breakers, limiter, waking
from jobs.background.acceptance import accept_all
from jobs.crash_points import reach
from jobs.execution.claims import Call
from jobs.execution.outcomes import Outcome, believed
from jobs.execution.patience import patiently
from jobs.execution.streaming import is_refused
from jobs.execution.turns import return_turns
from jobs.models import Attempt, Job, JobContent
from jobs.provider import Answer, Rejected, Uncertain, Unreachable
from jobs.recovery import doubts, late_truth, put_in_doubt
from jobs.responses import Accepted
from jobs.retries import (
    RETRY_AFTER_CAP_SECONDS,
    SLOW_DOWN,
    Decision,
    Fail,
    Rejection,
    Retry,
    after_rejection,
    after_unreachable,
    stop_of,
)
from jobs.states import AttemptStatus, DoubtStatus, JobStatus
from jobs.transitions import move_attempt, move_job, require_legal_attempt, require_legal_job

logger = logging.getLogger(__name__)

# A refusal that comes after its attempt was put in doubt is the truth that was missing as well.
REFUSALS = (
    (AttemptStatus.CALLING, AttemptStatus.REJECTED),
    (AttemptStatus.ACCEPTED, AttemptStatus.REJECTED),
    (AttemptStatus.BATCHED, AttemptStatus.REJECTED),
    (AttemptStatus.IN_DOUBT, AttemptStatus.RESOLVED),
)
# An answer that comes after its attempt was put in doubt is the truth that was missing, and is booked as well.
_ANSWERED = f"""
    UPDATE jobs_attempt AS attempt
    SET status = CASE attempt.status WHEN '{AttemptStatus.IN_DOUBT}' THEN '{AttemptStatus.RESOLVED}'
            ELSE '{AttemptStatus.ANSWERED}' END,
        finished_at = now(), http_status = 200, look_at = NULL, provider_response_id = new.response_id,
        -- The request that began a call in the background, and not the look that found its end.
        provider_request_id = COALESCE(NULLIF(attempt.provider_request_id, ''), new.request_id)
    FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::text[]) AS new (id, token, request_id, response_id)
    WHERE attempt.id = new.id AND attempt.fencing_token = new.token
        AND attempt.status IN ('{AttemptStatus.CALLING}', '{AttemptStatus.ACCEPTED}', '{AttemptStatus.BATCHED}',
            '{AttemptStatus.IN_DOUBT}')
    RETURNING attempt.id, attempt.status = '{AttemptStatus.RESOLVED}'
"""  # noqa: S608
# Each job that ends so is noted for learning: the same statement writes both, and nobody waits for what is learnt.
_FINISHED = f"""
    WITH finished AS (
    UPDATE jobs_job AS job
    SET status = new.status, finished_at = now(), snapshot = new.snapshot, usage = new.usage::jsonb,
        finish_reason = new.finish_reason, is_empty = new.is_empty, is_refused = new.is_refused,
        input_usd = new.input_usd, cached_input_usd = new.cached_input_usd, output_usd = new.output_usd,
        reasoning_usd = new.reasoning_usd,
        total_usd = new.total_usd, error = new.error::jsonb, waiting_on = NULL
    FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::boolean[],
        %s::boolean[], %s::numeric[], %s::numeric[], %s::numeric[], %s::numeric[], %s::numeric[], %s::text[])
        AS new (id, status, snapshot, usage, finish_reason, is_empty, is_refused, input_usd, cached_input_usd,
        output_usd, reasoning_usd, total_usd, error)
    WHERE job.id = new.id AND job.status IN ('{JobStatus.RUNNING}', '{JobStatus.IN_DOUBT}')
    RETURNING job.id
    ), noted AS (INSERT INTO jobs_unlearnt (job_id) SELECT id FROM finished ON CONFLICT DO NOTHING)
    SELECT count(*) FROM finished
"""  # noqa: S608
_SAID = """
    UPDATE jobs_jobcontent AS content SET message = new.message, rest = new.rest
    FROM unnest(%s::uuid[], %s::bytea[], %s::bytea[]) AS new (job_id, message, rest) WHERE content.job_id = new.job_id
"""
_MESSAGE, _REST = encrypted(JobContent, "message"), encrypted(JobContent, "rest")


class Claimed(Protocol):
    """As much of a call as booking its answer needs."""

    @property
    def attempt_id(self) -> UUID: ...
    @property
    def token(self) -> UUID: ...
    @property
    def job_id(self) -> UUID: ...


def book_all(outcomes: Sequence[Outcome]) -> list[None]:
    """Books outcomes, waiting for a database that is away, and then passes on what the provider said of its limits."""
    outcomes = patiently(lambda: believed(outcomes))
    answers = [(o.call, o.result) for o in outcomes if isinstance(o.result, Answer)]
    if answers:
        patiently(lambda: settle_all(answers))
    accepted = [(o.call.attempt_id, o.call.token, o.result) for o in outcomes if isinstance(o.result, Accepted)]
    if accepted:
        patiently(lambda: accept_all(accepted))
    for outcome in outcomes:
        match outcome.result:
            case Rejected() as refused:
                _on_rejection(outcome.call, refused)
            case Unreachable() as unreachable:
                _on_unreachable(outcome.call, unreachable)
                return_turns([outcome.turn])
            case Uncertain() as doubt:
                patiently(lambda o=outcome, doubt=doubt: doubt_of(o.call, doubt))  # type: ignore[misc]
    # After the money: nothing that a header says may keep a paid answer from being booked.
    _learn(outcomes)
    breakers.learn([(outcome.call, outcome.result) for outcome in outcomes])
    waking.wake()
    return [None for _ in outcomes]


@transaction.atomic
def settle_all(
    answers: Sequence[tuple[Claimed, Answer]], *, doubt: DoubtStatus = DoubtStatus.ANSWERED
) -> list[UsageRecord]:
    """Books answers: holds, usage records, rollups, attempts, doubts, jobs and content change together, each once.

    The usage records of those whose attempt was still theirs; the others are left as they are, and an answer that comes
    after its attempt was decided otherwise corrects the books. `doubt`: what becomes of those that were in doubt.
    """
    for before in (AttemptStatus.CALLING, AttemptStatus.ACCEPTED, AttemptStatus.BATCHED):
        require_legal_attempt(before, AttemptStatus.ANSWERED)
    require_legal_attempt(AttemptStatus.IN_DOUBT, AttemptStatus.RESOLVED)
    reach("t4.begun")
    ours = _finish_attempts(answers)
    booked = [(call, answer) for call, answer in answers if call.attempt_id in ours]
    if booked:
        records = ledger.settle_all(
            [
                ledger.Usage(call.attempt_id, answer.tokens, answer.snapshot, is_empty=answer.is_empty)
                for call, answer in booked
            ]
        )
        doubts.close([attempt_id for attempt_id, was_in_doubt in ours.items() if was_in_doubt], doubt, database_now())
        _finish_jobs(booked, records)
    for call, answer in answers:
        if call.attempt_id not in ours:
            late_truth.correct(call.attempt_id, call.token, answer.tokens)
    reach("t4.written")
    return records if booked else []


def _finish_attempts(answers: Sequence[tuple[Claimed, Answer]]) -> dict[UUID, bool]:
    """The attempts that were theirs and are finished now, and whether each was in doubt."""
    rows = [(call.attempt_id, call.token, answer.request_id, answer.response_id) for call, answer in answers]
    with connection.cursor() as cursor:
        cursor.execute(_ANSWERED, columns(rows))
        return dict(cursor.fetchall())


def _finish_jobs(booked: Sequence[tuple[Claimed, Answer]], records: Sequence[UsageRecord]) -> None:
    rows = []
    for (call, answer), record in zip(booked, records, strict=True):
        is_complete = answer.finish_reason not in {"length", "content_filter"}
        status = answer.ends_as or (JobStatus.SUCCEEDED if is_complete else JobStatus.INCOMPLETE)
        for before in (JobStatus.RUNNING, JobStatus.IN_DOUBT):
            require_legal_job(before, status)
        rows.append(
            (
                *(call.job_id, status.value, answer.snapshot, json.dumps(answer.usage), answer.finish_reason),
                *(answer.is_empty, answer.is_refused, record.input_usd, record.cached_input_usd, record.output_usd),
                *(record.reasoning_usd, record.total_usd, json.dumps(answer.error) if answer.error else None),
            )
        )
    with connection.cursor() as cursor:
        cursor.execute(_FINISHED, columns(rows))
        assert cursor.fetchone() == (len(rows),), "a job has one open attempt, and this was it"
        said = [
            (call.job_id, _MESSAGE.sealed(answer.message), _REST.sealed(answer.rest or None)) for call, answer in booked
        ]
        cursor.execute(_SAID, columns(said))


def _on_rejection(call: Call, error: Rejected) -> None:
    """Books a refusal, after the others on the account were told what it says to them."""
    rejection = error.rejection
    if is_refused(call.body, call.access, rejection):
        # Nothing is wrong with what was asked: it is asked at once, without a stream, and that is answered or refused.
        patiently(lambda: reject(call, rejection, Retry(0.0), error.request_id, wants_stream=False))
        return
    decision = patiently(lambda: _decision(call, rejection))
    if rejection.code == SLOW_DOWN:
        _tell(lambda: limiter.slow_down(_account_of(call), call.family))
    if rejection.status == 429 and isinstance(decision, Retry) and stop_of(rejection) is None:
        # The pause of this job alone grows with its tries; the others need only wait for what the provider asks.
        asked = rejection.retry_after if rejection.retry_after is not None else decision.after_seconds
        _tell(lambda: limiter.hold_back(_account_of(call), call.family, min(asked, RETRY_AFTER_CAP_SECONDS)))
    in_time = _within_budget(call, decision)
    patiently(lambda: reject(call, rejection, in_time, error.request_id))


def _on_unreachable(call: Call, error: Unreachable) -> None:
    """Books a connection that was never made."""
    tries = patiently(lambda: _tries(call))
    decision = after_unreachable(attempts=tries, max_attempts=settings.MAX_ATTEMPTS, jitter=random.random())  # noqa: S311
    in_time = _within_budget(call, decision)
    rejection = Rejection(status=0, code="connection_failed", type="connection_error", message=str(error))
    patiently(lambda: reject(call, rejection, in_time, request_id=""))


def _decision(call: Call, rejection: Rejection) -> Decision:
    return after_rejection(
        rejection,
        attempts=_tries(call),
        max_attempts=settings.MAX_ATTEMPTS,
        jitter=random.random(),  # noqa: S311
    )


def _tries(call: Call) -> int:
    """How often the job has reached for the provider, this time included; at least 1.

    Waiting for a turn is no try, and neither is a call that was sent to see whether the provider works again: an outage
    is not to use up the tries of the jobs that happen to stand first.
    """
    rejected_or_this = Q(status=AttemptStatus.REJECTED) | Q(pk=call.attempt_id)
    return max(1, Attempt.objects.filter(rejected_or_this, job_id=call.job_id, is_probe=False).count())


def _within_budget(call: Call, decision: Decision) -> Decision:
    """The decision, put off until retries are no more than a share of the calls of their organization and family."""
    if isinstance(decision, Fail):
        return decision
    return Retry(max(decision.after_seconds, min(breakers.retry_in(call), RETRY_AFTER_CAP_SECONDS)))


def _account_of(call: Call) -> str:
    """The account on which a call counts."""
    return limiter.account_of(call.access)


def _tell(word: Callable[[], None]) -> None:
    """The provider has something to say to everybody on this account, not to this call alone."""
    try:
        word()
    except limiter.LimiterAway as away:
        logger.warning("a refusal was not passed on to the limiter: %s", away)


@transaction.atomic
def reject(call: Call, rejection: Rejection, decision: Decision, request_id: str, **next_time: bool) -> None:
    """Books a refusal: the hold is given back, and the job goes back to the queue or has failed.

    `next_time`: what is to be otherwise with the job when it is tried again.
    """
    now = database_now()
    said = {
        "finished_at": now,
        "look_at": None,
        "http_status": rejection.status or None,
        "error_code": rejection.code[:100],
        "error_message": rejection.message[:1000],
        "provider_request_id": request_id,
    }
    before = next(
        (
            source
            for source, to in REFUSALS
            if move_attempt(call.attempt_id, to=to, come_from=source, token=call.token, **said)
        ),
        None,
    )
    if before is None:
        late_truth.correct(call.attempt_id, call.token, late_truth.NOTHING)
        return
    if before is AttemptStatus.IN_DOUBT:
        doubts.close([call.attempt_id], DoubtStatus.REFUSED, now, reason=rejection.code[:500])
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
                come_from=[JobStatus.RUNNING, JobStatus.IN_DOUBT],
                run_after=now + timedelta(seconds=after_seconds),
                waiting_on={"reason": "retry", "error": error, "attempts": call.number},
                **next_time,
            )
        case Fail():
            sources = [JobStatus.RUNNING, JobStatus.IN_DOUBT]
            move_job(call.job_id, to=JobStatus.FAILED, come_from=sources, finished_at=now, error=error)


@transaction.atomic
def doubt_of(call: Call, doubt: Uncertain, *, come_from: AttemptStatus = AttemptStatus.CALLING) -> None:
    """Books an outcome that is not known; an answer of which only the bill is not known can be read meanwhile."""
    code, reason, status = doubt.code, str(doubt), doubt.status
    if not put_in_doubt(call, code=code, reason=reason, token=call.token, http_status=status, come_from=come_from):
        return
    response_id = doubt.kept.response_id if doubt.kept else ""
    Attempt.objects.filter(pk=call.attempt_id).update(
        provider_request_id=doubt.request_id, provider_response_id=response_id
    )
    if doubt.kept is not None:
        Job.objects.filter(pk=call.job_id).update(snapshot=doubt.kept.snapshot, finish_reason=doubt.kept.finish_reason)
        kept = {"message": doubt.kept.message, "rest": doubt.kept.rest or None}
        JobContent.objects.filter(job_id=call.job_id).update(**kept)


def _learn(outcomes: Sequence[Outcome]) -> None:
    """Passes on what the provider said of its limits."""
    try:
        limiter.learn_all([(o.turn.taken, _headers_of(o.result), o.sent_us) for o in outcomes if o.turn.taken])
    except limiter.LimiterAway as away:
        logger.warning("the provider's limits were not passed on to the limiter: %s", away)
    except Exception:
        logger.exception("what the provider said of its limits was not understood")


def _headers_of(result: Answer | Accepted | Exception) -> Mapping[str, str]:
    """What the provider said beside an outcome; nothing where it did not answer."""
    if isinstance(result, Answer | Accepted):
        return result.headers
    return result.__cause__.response.headers if isinstance(result.__cause__, openai.APIStatusError) else {}
