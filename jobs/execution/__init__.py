"""T3 and T4: attempts are claimed, wait their turn, are called once each, and their outcomes are booked.

`claims` and `turns` open a call, `calls` is its life on the event loop, `booking` its end. `engine` keeps thousands of
them in flight in a worker process, and `batches` gathers what they write.
"""

import asyncio
import logging
from uuid import UUID

from asgiref.sync import async_to_sync, sync_to_async

from jobs.crash_points import reach
from jobs.execution.batches import alone
from jobs.execution.calls import Desk, carry_out
from jobs.execution.claims import claim
from jobs.execution.turns import Turn, take_turns
from jobs.provider import Clients

logger = logging.getLogger(__name__)


def execute(attempt_id: UUID, *, worker: str) -> None:
    """Runs one attempt to its outcome, on this thread.

    A second message for the same attempt changes nothing: the row decides who has it.
    """
    async_to_sync(_execute)(attempt_id, worker)


async def _execute(attempt_id: UUID, worker: str) -> None:
    def opened() -> list[Turn]:
        calls = claim([attempt_id], worker=worker)
        if not calls:
            logger.info("attempt %s is not to be claimed", attempt_id)
        reach("claimed")
        return take_turns(calls)

    async with Clients() as clients:
        for turn in await sync_to_async(opened)():
            await carry_out(turn, Desk(lambda work, *_: alone(work)), clients, asyncio.Event())
