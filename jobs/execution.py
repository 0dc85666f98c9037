"""T3 and T4: an attempt is claimed, waits its turn, is called once, and its outcome is booked in one transaction."""

import logging
import random
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from uuid import UUID, uuid4

import openai
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models.functions import Now

from accounts.tiers import rate_limit, standing
from billing import ledger
from billing.clock import database_now
from billing.models import UsageRecord
from jobs import catalogue, dispatch, limiter, provider
from jobs.crash_points import reach
from jobs.credentials import access_of
from jobs.models import Attempt, Job, JobContent
from jobs.provider import Answer, Rejected, Uncertain, Unreachable
from jobs.recovery import give_back, put_in_doubt
from jobs.retries import RETRY_AFTER_CAP_SECONDS, Decision, Fail, Rejection, Retry, after_rejection, after_unreachable
from jobs.states import AttemptStatus, JobStatus
from jobs.transitions import move_attempt, move_job

logger = logging.getLogger(__name__)

# An outcome in hand is worth waiting for the database: this long, then the attempt is left to be put in doubt.
BOOKING_PATIENCE_SECONDS = 120.0


def execute(attempt_id: UUID, *, worker: str) -> None:
    """Runs one attempt to its outcome.

    A second message for the same attempt changes nothing: the row decides who has it.
    """
    token = uuid4()
    attempt = _claim(attempt_id, token, worker)
    if attempt is None:
        logger.info("attempt %s is not to be claimed", attempt_id)
        return
    reach("claimed")
    job = attempt.job
    access = access_of(job.project)
    admission = _take_turn(attempt, token, limiter.account_of(access))
    if admission is None:
        return
    begun = False
    try:
        _await_turn(attempt, token, admission.wait_seconds)
        body = _body(job, attempt)
        reach("admitted")
        begun = _begin(attempt, token)
    finally:
        if not begun:  # given back by the rescue, or this worker is being stopped: somebody else can use the turn
            _give_back_turn(admission.turn)
    if not begun:
        return
    reach("calling")
    _free_connection()
    sent_us = admission.turn.now_us() if admission.turn else 0
    try:
        answer = provider.call(
            access, body, attempt_id=str(attempt.pk), deadline_seconds=settings.CALL_DEADLINE_SECONDS
        )
    except Rejected as error:
        _on_rejection(attempt, token, error)
        _learn(admission.turn, _headers_of(error), sent_us)
    except Unreachable as error:
        reason = str(error)
        _book(lambda: _reject_unreachable(attempt, token, reason))
        _give_back_turn(admission.turn)
    except Uncertain as error:
        doubt = error
        _book(lambda: put_in_doubt(attempt, code=doubt.code, reason=str(doubt), token=token, http_status=doubt.status))
        _learn(admission.turn, _headers_of(error), sent_us)
    else:
        reach("answered")
        _book(lambda: settle(attempt, token, answer))
        reach("settled")
        # After the money: nothing that a header says may keep a paid answer from being booked.
        _learn(admission.turn, answer.headers, sent_us)
    dispatch.wake()


@transaction.atomic
def settle(attempt: Attempt, token: UUID, answer: Answer) -> UsageRecord | None:
    """Books an answer: hold, usage record, rollup, attempt, job and content change together, once.

    An answer that comes after its attempt was put in doubt is the truth that was missing, and is booked as well. None
    when the attempt is no longer this worker's.
    """
    finished = {
        "finished_at": database_now(),
        "http_status": 200,
        "provider_request_id": answer.request_id,
        "provider_response_id": answer.response_id,
    }
    ours = move_attempt(
        attempt.pk, to=AttemptStatus.ANSWERED, come_from=AttemptStatus.CALLING, token=token, **finished
    ) or move_attempt(attempt.pk, to=AttemptStatus.RESOLVED, come_from=AttemptStatus.IN_DOUBT, token=token, **finished)
    if not ours:
        logger.warning("the answer of attempt %s came after it was resolved otherwise", attempt.pk)
        return None
    record = ledger.settle(attempt.pk, answer.tokens, snapshot=answer.snapshot, is_empty=answer.is_empty)
    is_complete = answer.finish_reason not in {"length", "content_filter"}
    moved = move_job(
        attempt.job_id,
        to=JobStatus.SUCCEEDED if is_complete else JobStatus.INCOMPLETE,
        come_from=[JobStatus.RUNNING, JobStatus.IN_DOUBT],
        finished_at=finished["finished_at"],
        snapshot=answer.snapshot,
        usage=answer.usage,
        finish_reason=answer.finish_reason,
        is_empty=answer.is_empty,
        input_usd=record.input_usd,
        cached_input_usd=record.cached_input_usd,
        output_usd=record.output_usd,
        reasoning_usd=record.reasoning_usd,
        total_usd=record.total_usd,
        waiting_on=None,
    )
    assert moved, "a job has one open attempt, and this was it"
    JobContent.objects.filter(job_id=attempt.job_id).update(message=answer.message)
    return record


def _claim(attempt_id: UUID, token: UUID, worker: str) -> Attempt | None:
    """The attempt, ours under the token; None when it is somebody else's, or past."""
    lease = Now() + timedelta(seconds=settings.CLAIM_LEASE_SECONDS)
    claimed = Attempt.objects.filter(
        pk=attempt_id, status=AttemptStatus.CREATED, fencing_token__isnull=True, lease_expires_at__gt=Now()
    ).update(fencing_token=token, worker=worker, lease_expires_at=lease)
    if not claimed:
        return None
    return Attempt.objects.select_related("job__project__organization", "job__content").get(pk=attempt_id)


def _take_turn(attempt: Attempt, token: UUID, account: str) -> limiter.Go | None:
    """The call's turn under the rate limits; None when the attempt was given back to the queue instead."""
    job = attempt.job
    now = database_now()
    family = _family_of(job)
    organization = job.project.organization
    tier = standing(organization, now).tier.number
    limits = rate_limit(tier, family, organization.terms_date(now))
    if limits is None:
        give_back(attempt, token=token, waiting_on={"reason": "rate_limit", "limit": "unknown"}, after_seconds=5.0)
        return None
    try:
        admission = limiter.admit(
            account,
            family,
            limits,
            tokens=job.admission_tokens,
            horizon_seconds=settings.ADMISSION_HORIZON_SECONDS,
        )
    except limiter.LimiterAway as error:
        logger.warning("attempt %s goes back to the queue, the limiter is away: %s", attempt.pk, error)
        give_back(attempt, token=token, waiting_on={"reason": "limiter_unavailable"}, after_seconds=1.0)
        return None
    if isinstance(admission, limiter.Go):
        return admission
    wait = admission.wait_seconds if isinstance(admission, limiter.NotYet) else settings.ADMISSION_HORIZON_SECONDS
    waiting_on = {"reason": "rate_limit", "limit": admission.limit, "model": family}
    give_back(attempt, token=token, waiting_on=waiting_on, after_seconds=min(wait, 5.0))
    return None


def _await_turn(attempt: Attempt, token: UUID, seconds: float) -> None:
    """Waits so long, and keeps the claim meanwhile."""
    if seconds > settings.CLAIM_LEASE_SECONDS / 2:
        Attempt.objects.filter(pk=attempt.pk, status=AttemptStatus.CREATED, fencing_token=token).update(
            lease_expires_at=Now() + timedelta(seconds=seconds + settings.CLAIM_LEASE_SECONDS)
        )
    if seconds:
        _free_connection()
        time.sleep(seconds)


def _give_back_turn(turn: limiter.Turn | None) -> None:
    """Lets others use a turn whose call was not sent. With Redis away it is lost, and the limit less used."""
    if turn is None:
        return
    try:
        limiter.give_back(turn)
    except limiter.LimiterAway as away:
        logger.warning("a turn was not given back: %s", away)


def _headers_of(error: Exception) -> Mapping[str, str]:
    """What the provider said beside an error; nothing where it did not answer."""
    return error.__cause__.response.headers if isinstance(error.__cause__, openai.APIStatusError) else {}


def _learn(turn: limiter.Turn | None, headers: Mapping[str, str], sent_us: int) -> None:
    """Passes on what the provider said of its limits."""
    if turn is None:
        return
    try:
        limiter.learn(turn, headers, sent_us=sent_us)
    except limiter.LimiterAway as away:
        logger.warning("the provider's limits were not passed on to the limiter: %s", away)


def _family_of(job: Job) -> str:
    """The name under which the rate limits of the job's model are kept."""
    entry = catalogue.find(job.model)
    return entry.model.family if entry else job.model


def _body(job: Job, attempt: Attempt) -> dict[str, object]:
    """The request for the provider, findable there by the attempt's id where the model stores completions."""
    body = dict(job.content.request)
    entry = catalogue.find(job.model)
    if settings.STORE_COMPLETIONS and entry and {"store", "metadata"} <= set(entry.model.parameters):
        body.setdefault("store", True)
        body["metadata"] = {**body.get("metadata", {}), "job_id": str(job.pk), "attempt_id": str(attempt.pk)}
    return body


@transaction.atomic
def _begin(attempt: Attempt, token: UUID) -> bool:
    """Commits that the call begins, before its first byte is sent. False when the attempt was given back meanwhile."""
    begun = move_attempt(
        attempt.pk, to=AttemptStatus.CALLING, come_from=AttemptStatus.CREATED, token=token, calling_at=Now()
    )
    if begun:
        Job.objects.filter(pk=attempt.job_id).update(started_at=Now())
    return begun


def _on_rejection(attempt: Attempt, token: UUID, error: Rejected) -> None:
    rejection = error.rejection
    decision = after_rejection(
        rejection,
        attempts=_tries(attempt),
        max_attempts=settings.MAX_ATTEMPTS,
        jitter=random.random(),  # noqa: S311
    )
    if rejection.status == 429 and isinstance(decision, Retry):
        # The pause of this job alone grows with its tries; the others need only wait for what the provider asks.
        asked = rejection.retry_after if rejection.retry_after is not None else decision.after_seconds
        _hold_back(attempt.job, min(asked, RETRY_AFTER_CAP_SECONDS))
    _book(lambda: _reject(attempt, token, rejection, decision, error.request_id))


def _tries(attempt: Attempt) -> int:
    """How often the job has reached for the provider, this time included. Waiting for a turn is no try."""
    return Attempt.objects.filter(job_id=attempt.job_id, status=AttemptStatus.REJECTED).count() + 1


def _hold_back(job: Job, seconds: float) -> None:
    """The provider is full for everybody on this account, not for this call alone."""
    try:
        limiter.hold_back(limiter.account_of(access_of(job.project)), _family_of(job), seconds)
    except limiter.LimiterAway as away:
        logger.warning("a 429 was not passed on to the limiter: %s", away)


def _reject_unreachable(attempt: Attempt, token: UUID, reason: str) -> None:
    decision = after_unreachable(
        attempts=_tries(attempt),
        max_attempts=settings.MAX_ATTEMPTS,
        jitter=random.random(),  # noqa: S311
    )
    rejection = Rejection(status=0, code="connection_failed", type="connection_error", message=reason)
    _reject(attempt, token, rejection, decision, request_id="")


@transaction.atomic
def _reject(attempt: Attempt, token: UUID, rejection: Rejection, decision: Decision, request_id: str) -> None:
    """Books a refusal: the hold is given back, and the job goes back to the queue or has failed."""
    now = database_now()
    ours = move_attempt(
        attempt.pk,
        to=AttemptStatus.REJECTED,
        come_from=AttemptStatus.CALLING,
        token=token,
        finished_at=now,
        http_status=rejection.status or None,
        error_code=rejection.code[:100],
        error_message=rejection.message[:1000],
        provider_request_id=request_id,
    )
    if not ours:
        return
    ledger.release(attempt.pk, reason=f"refused: {rejection.status or ''} {rejection.code}"[:500].strip())
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
                attempt.job_id,
                to=JobStatus.QUEUED,
                come_from=[JobStatus.RUNNING],
                run_after=now + timedelta(seconds=after_seconds),
                waiting_on={"reason": "retry", "error": error, "attempts": attempt.number},
            )
        case Fail():
            move_job(attempt.job_id, to=JobStatus.FAILED, come_from=[JobStatus.RUNNING], finished_at=now, error=error)


def _free_connection() -> None:
    """Gives this thread's database connection back to the pool for the time of a wait.

    A worker has far more threads than connections, and a call may last minutes.
    """
    if not connection.in_atomic_block:
        connection.close()


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
            time.sleep(pause)
            pause = min(pause * 2, 5.0)
