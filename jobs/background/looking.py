"""Looks at calls that are due, and books what has ended. Any process may do it at any time: each end is booked once."""

import asyncio
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from uuid import UUID

import httpx2
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connection, transaction

from billing import ledger
from billing.clock import database_now
from jobs import provider, waking
from jobs.background.beginning import PATH
from jobs.background.due import Due, take_due
from jobs.echoes import echo_of
from jobs.execution.booking import book_all
from jobs.execution.outcomes import Outcome
from jobs.execution.turns import Turn
from jobs.models import Attempt, JobContent
from jobs.provider import Answer, Clients, Rejected, Uncertain, Unreachable
from jobs.recovery import doubts, put_in_doubt
from jobs.responses import Accepted, CancelledUntold, Ending, read
from jobs.states import AttemptStatus, DoubtStatus, JobStatus
from jobs.transitions import move_attempt, move_job

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 100
LOOK_SECONDS = 10.0
# How often a run sees whether more are due while it waits for the provider.
SEE_AGAIN_SECONDS = 1.0
# Ends that come so close together are booked in one transaction.
LINGER_SECONDS = 0.04
# A response may not be there yet for whoever asks at once.
UNKNOWN_UNTIL_SECONDS = 60.0
# What has not ended by then is no call that anybody waits for; ten times what the provider says such work takes.
GIVE_UP_SECONDS = 24 * 3600.0

_running = threading.Lock()


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look found: an end, a doubt, or None for nothing new."""

    due: Due
    found: Ending | Uncertain | None


def look() -> int:
    """Looks at all that is due, and returns how many looks that were. One run at a time in a process."""
    if not _running.acquire(blocking=False):
        return 0  # the run that is there sees what is due as well
    try:
        return async_to_sync(_look)()
    finally:
        _running.release()


async def _look() -> int:
    due = await sync_to_async(_take)(MOST_AT_ONCE, [])
    looks = 0
    under_way: dict[asyncio.Task[Seen], Due] = {}
    async with Clients() as clients:
        while due or under_way:
            looks += len(due)
            under_way |= {asyncio.create_task(_look_at(clients, each)): each for each in due}
            if (await asyncio.wait(under_way, timeout=SEE_AGAIN_SECONDS, return_when=asyncio.FIRST_COMPLETED))[0]:
                await asyncio.sleep(LINGER_SECONDS)
            done = [task for task in under_way if task.done()]
            for task in done:
                under_way.pop(task)
            if done:
                await sync_to_async(book)([task.result() for task in done])
            due = await sync_to_async(_take)(MOST_AT_ONCE - len(under_way), [d.call.pk for d in under_way.values()])
    return looks


def _take(most: int, besides: Sequence[UUID]) -> list[Due]:
    try:
        return take_due(most, besides=besides) if most else []
    finally:
        _lend()


async def _look_at(clients: Clients, due: Due) -> Seen:
    """Asks once. What went wrong on the way is no news: the provider is asked again."""
    try:
        found = await _ask(clients, due)
    except Uncertain as doubt:
        return Seen(due, doubt)
    if found is None and due.age_seconds > GIVE_UP_SECONDS:
        return Seen(due, Uncertain("never_ended", "The provider has not ended the response within a day."))
    return Seen(due, found)


async def _ask(clients: Clients, due: Due) -> Ending | None:
    """How the response has ended; None if it has not, or cannot be seen now. Raises Uncertain where it never will."""
    try:
        response = await _response_of(clients, due)
        said = response.json()
    except Rejected as error:
        if error.rejection.status == 404 and due.age_seconds > UNKNOWN_UNTIL_SECONDS:
            raise Uncertain("response_unknown", "The provider does not know the response.", status=404) from error
        # Not in its words, which may repeat what was asked.
        failure = f"{error.rejection.status} {error.rejection.code}"
    except (Unreachable, Uncertain, ValueError, RecursionError) as error:
        failure = type(error).__name__
    else:
        if isinstance(said, dict) and said.get("id") == due.response_id:
            found = read(said, response.headers.get("x-request-id", ""), response.headers)
            return None if isinstance(found, Accepted) else found
        failure = "something else was answered"
    logger.warning("attempt %s could not be looked at: %s", due.call.attempt_id, failure)
    return None


async def _response_of(clients: Clients, due: Due) -> httpx2.Response:
    if due.is_to_stop:
        try:
            return await _sent(clients, due, "POST", f"{PATH}/{due.response_id}/cancel")
        except Rejected:
            logger.info("attempt %s cannot be cancelled; how it ends is asked as of any other", due.call.attempt_id)
    return await _sent(clients, due, "GET", f"{PATH}/{due.response_id}")


async def _sent(clients: Clients, due: Due, method: Literal["GET", "POST"], path: str) -> httpx2.Response:
    attempt_id = str(due.call.attempt_id)
    return await provider.send(
        clients, due.call.access, method, path, attempt_id=attempt_id, deadline_seconds=LOOK_SECONDS
    )


# --- Ends -------------------------------------------------------------------------------------------------------------
def book(seen: Sequence[Seen]) -> None:
    """Books what has ended, each once: whoever else found the same end, or a person decided, was first or is second."""
    ended = []
    for each in _without_echoes(seen):
        match each.found:
            case Rejected() as refused if each.due.is_to_stop:
                _withdraw(each.due, str(refused))
            case Answer() | Rejected():
                ended.append(Outcome(Turn(each.due.call, 0.0), 0, each.found))
            case CancelledUntold():
                reason = "The provider cancelled the response, and does not say what it had used by then."
                _doubt(each.due, Uncertain("cancelled", reason, status=200))
            case Uncertain() as doubt:
                _doubt(each.due, doubt)
    try:
        _book_all(ended)
    finally:
        _lend()


def _without_echoes(seen: Sequence[Seen]) -> list[Seen]:
    """What was found, and of failures only what the provider says itself: what it was asked is read for them alone."""
    failed = {each.due.call.job_id for each in seen if _has_failed(each.found)}
    requests = {content.pk: content.request for content in JobContent.objects.filter(pk__in=failed).only("request")}
    return [_without_echo(each, requests.get(each.due.call.job_id)) for each in seen]


def _has_failed(found: object) -> bool:
    """Whether the provider says in words why it did not succeed."""
    return isinstance(found, Rejected) or (isinstance(found, Answer) and found.error is not None)


def _without_echo(seen: Seen, request: dict[str, Any] | None) -> Seen:
    if not isinstance(seen.found, Rejected | Answer) or not _has_failed(seen.found):
        return seen
    return replace(seen, found=seen.found.without(echo_of(seen.due.call.access.api_key, request)))


def _book_all(ended: Sequence[Outcome]) -> None:
    """Together, or each by itself where one cannot be written: the others are not kept from it, and it is due again."""
    if not ended:
        return
    try:
        book_all(ended)
    except Exception:
        logger.exception("%d ends in one go could not be booked", len(ended))
        if len(ended) > 1:
            for outcome in ended:
                _book_all([outcome])


@transaction.atomic
def _withdraw(due: Due, reason: str) -> None:
    """A response that failed, unbilled, while its owner wanted it stopped: nothing is tried again."""
    now = database_now()
    steps = (
        (AttemptStatus.ACCEPTED, AttemptStatus.REJECTED),
        (AttemptStatus.IN_DOUBT, AttemptStatus.RESOLVED),
    )
    if any(
        move_attempt(due.call.pk, to=to, come_from=source, finished_at=now, look_at=None, error_message=reason[:1000])
        for source, to in steps
    ):
        ledger.release(due.call.pk, reason=f"cancelled: {reason}"[:500])
        doubts.close([due.call.pk], DoubtStatus.REFUSED, now, reason=reason[:500])
        move_job(
            due.call.job_id,
            to=JobStatus.CANCELLED,
            come_from=[JobStatus.RUNNING, JobStatus.IN_DOUBT],
            finished_at=now,
            waiting_on=None,
        )
        transaction.on_commit(waking.wake)


@transaction.atomic
def _doubt(due: Due, doubt: Uncertain) -> None:
    """The hold stays, and nobody looks any more: what can be learnt from the provider this way has been."""
    put_in_doubt(
        due.call, code=doubt.code, reason=str(doubt), http_status=doubt.status, come_from=AttemptStatus.ACCEPTED
    )
    Attempt.objects.filter(pk=due.call.pk, status=AttemptStatus.IN_DOUBT).update(look_at=None)


def _lend() -> None:
    """Gives this thread's database connection to others while nobody here needs it."""
    if not connection.in_atomic_block:
        connection.close()
