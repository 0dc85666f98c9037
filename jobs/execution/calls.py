"""T3: the life of one call, from its turn to its booked outcome. Thousands of these run on one event loop."""

import asyncio
import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

from django.conf import settings

from accounts import log_context
from jobs import provider
from jobs.background.beginning import begin
from jobs.crash_points import reach
from jobs.execution import traces
from jobs.execution.batches import Gathering
from jobs.execution.booking import book_all
from jobs.execution.claims import Call, begin_patiently
from jobs.execution.outcomes import Outcome
from jobs.execution.turns import Turn, hand_back, return_turns, take_again
from jobs.provider import Answer, Clients, Rejected, Uncertain, Unreachable
from jobs.relay.telling import Telling
from jobs.responses import Accepted

logger = logging.getLogger(__name__)

# A call that missed its turn and got no other asks again after this.
ASK_AGAIN_SECONDS = 0.5
# An answer that took seconds can wait for others to be booked with, longer than a call for its beginning.
BOOKING_LINGER_SECONDS = 0.04
# What went wrong takes a transaction or more of each call, and a provider that fails brings many at once: they are
# booked beside the answers, and so many organizations' at a time.
FAILURE_LANES = 4


class Desk:
    """What calls have written down: in the database and at the limiter. How it is gathered is the caller's choice."""

    def __init__(self, gather: Callable[..., Gathering[Any, Any]]) -> None:
        self.begin: Gathering[Call, bool] = gather(begin_patiently, "begin")
        self._book_answers: Gathering[Outcome, None] = gather(book_all, "book", BOOKING_LINGER_SECONDS)
        self._book_failures: list[Gathering[Outcome, None]] = [
            gather(book_all, f"book-failures-{number}", BOOKING_LINGER_SECONDS) for number in range(FAILURE_LANES)
        ]
        self.hand_back: Gathering[Call, None] = gather(hand_back, "hand-back")
        self.return_turn: Gathering[Turn, None] = gather(return_turns, "return-turn")
        self.take_again: Gathering[Turn, Turn] = gather(take_again, "take-again")

    async def book(self, outcome: Outcome) -> None:
        """Has an outcome booked: an answer with other answers, a failure behind those of its organization alone."""
        if isinstance(outcome.result, Answer | Accepted):
            await self._book_answers(outcome)
        else:
            lane = outcome.call.project.organization_id.int % FAILURE_LANES
            await self._book_failures[lane](outcome)


async def carry_out(turn: Turn, desk: Desk, clients: Clients, stopping: asyncio.Event) -> None:
    """Waits for a call's turn, makes the call once, and has its outcome booked.

    Of a call in the background the outcome is its id: it is let go of when that is stored.
    If the process is told to stop before the call begins, its job is queued again.
    """
    call = turn.call
    with log_context.about(
        organization_id=call.project.organization_id,
        project_id=call.project.pk,
        job_id=call.job_id,
        attempt_id=call.attempt_id,
    ):
        await _carry_out(turn, desk, clients, stopping)


async def _carry_out(turn: Turn, desk: Desk, clients: Clients, stopping: asyncio.Event) -> None:
    call, begun = turn.call, False
    try:
        if await is_told_to_stop(stopping, turn.starts_at - monotonic()):
            await desk.hand_back(call)
            return
        reach("admitted")
        begun = await desk.begin(call)
    finally:
        if not begun:  # given back by the rescue, or by us: somebody else can use the turn
            await desk.return_turn(turn)
    if not begun:
        return
    reach("calling")
    turn = await _in_time(turn, desk)
    sent_us = turn.taken.now_us() if turn.taken else 0
    result: Answer | Accepted | Rejected | Unreachable | Uncertain
    with traces.call_span(call) as span:
        try:
            result = await _made(call, clients)
            reach("answered")
        except (Rejected, Unreachable, Uncertain) as error:
            result = error
        traces.record(span, result)
    await desk.book(Outcome(turn, sent_us, result))
    if isinstance(result, Accepted):
        reach("accepted")
    else:
        reach("settled")


async def _made(call: Call, clients: Clients) -> Answer | Accepted:
    """The answer to a call, or that the provider works on it in the background."""
    attempt_id = str(call.attempt_id)
    if call.is_in_background:
        return await begin(clients, call.access, call.body, attempt_id=attempt_id)
    return await provider.call(
        clients,
        call.access,
        call.body,
        attempt_id=attempt_id,
        deadline_seconds=settings.CALL_DEADLINE_SECONDS,
        tell=Telling(call.job_id, call.number) if call.is_streamed else None,
    )


async def is_told_to_stop(stopping: asyncio.Event, seconds: float) -> bool:
    """Whether the process is told to stop before so many seconds have passed; waits for them otherwise."""
    if seconds <= 0 or stopping.is_set():
        return stopping.is_set()
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return False
    return True


async def _in_time(turn: Turn, desk: Desk) -> Turn:
    """A turn that is now. One that was missed, because the database or this machine was slow, is taken anew.

    Otherwise all that waited for a slow commit would be sent at once, and refused.
    """
    while turn.is_past(monotonic()):
        logger.info("attempt %s missed its turn by %.1f s", turn.call.attempt_id, monotonic() - turn.starts_at)
        turn = await desk.take_again(turn)
        await asyncio.sleep(turn.starts_at - monotonic() if not turn.is_past(monotonic()) else ASK_AGAIN_SECONDS)
    return turn
