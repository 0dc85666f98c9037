"""A worker process's calls: one event loop on a thread of its own keeps thousands of them in flight.

Celery brings the messages and stops the process; the calls themselves wait here, where one more costs kilobytes.
"""

import asyncio
import logging
import resource
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, connection

from billing.clock import database_now
from jobs import waking, workers
from jobs.crash_points import reach
from jobs.execution.batches import LINGER_SECONDS, Batches
from jobs.execution.calls import Desk, carry_out, is_told_to_stop
from jobs.execution.claims import claim
from jobs.execution.patience import PATIENCE_SECONDS
from jobs.execution.turns import Turn, take_turns
from jobs.provider import Clients

logger = logging.getLogger(__name__)

# How long a message waits for a free slot before it goes back for another worker to have.
TAKING_SECONDS = 0.5
# Names of hosts that are looked up at once: each takes a thread, for seconds where nobody knows it.
NAMES_AT_ONCE = 32
# Descriptors that a process needs besides those of its calls.
OTHER_FILES = 500


class Engine:
    """Carries out calls, up to its number of slots at once."""

    def __init__(self, name: str, slots: int) -> None:
        self.name = name
        self.slots = slots
        self._free = threading.Semaphore(slots)
        self._is_stopping = False
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), name="calls", daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._stopping: asyncio.Event
        self._carried: set[asyncio.Task[Any]] = set()
        self._batches: list[Batches[Any, Any]] = []
        # Of its own: a heartbeat that waited behind the looking up of names would be the worker's death.
        self._heart = ThreadPoolExecutor(1, thread_name_prefix="heartbeat")

    def start(self) -> None:
        """Begins to live: says how many calls it can hold, and takes attempts from now on."""
        _allow_files(self.slots + OTHER_FILES)
        self._thread.start()
        self._ready.wait()

    def take_on(self, attempt_ids: Sequence[UUID]) -> list[UUID]:
        """Takes attempts, as far as there are slots for them; returns those that it has no room for."""
        give_up_at = time.monotonic() + TAKING_SECONDS
        taken = []
        for attempt_id in attempt_ids:
            if self._is_stopping or not self._free.acquire(timeout=max(0.0, give_up_at - time.monotonic())):
                break
            taken.append(attempt_id)
        if taken:
            asyncio.run_coroutine_threadsafe(self._begin_carrying(taken), self._loop)
        return list(attempt_ids[len(taken) :])

    def stop(self) -> None:
        """Takes no more, hands back what has not begun, and returns when every call under way is booked."""
        self._is_stopping = True
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(settings.CALL_DEADLINE_SECONDS + PATIENCE_SECONDS)

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(NAMES_AT_ONCE, thread_name_prefix="names"))
        self._stopping = asyncio.Event()
        self._desk = Desk(self._gather)
        self._openings: Batches[Sequence[UUID], list[Turn]] = self._gather(self._open_all, "open")
        async with Clients() as self._clients:
            # Not before it was heard once: what a process claims that nobody has heard of cannot be missed either.
            while not await self._beat(is_stopping=False):
                await asyncio.sleep(workers.HEARTBEAT_SECONDS)
            self._ready.set()
            while not self._stopping.is_set() or self._carried:
                await self._pause()
                await self._beat(is_stopping=self._stopping.is_set())
        await self._loop.run_in_executor(self._heart, self._forget)
        self._heart.shutdown()
        for batches in self._batches:
            batches.close()

    async def _beat(self, *, is_stopping: bool) -> bool:
        return await self._loop.run_in_executor(self._heart, partial(self._report, is_stopping=is_stopping))

    async def _pause(self) -> None:
        """Until the next heartbeat is due; while stopping, until the last call has ended."""
        if not self._stopping.is_set():
            await is_told_to_stop(self._stopping, workers.HEARTBEAT_SECONDS)
        elif self._carried:
            logger.info("stopping: %d calls are still under way", len(self._carried))
            await asyncio.wait(self._carried, timeout=workers.HEARTBEAT_SECONDS)

    async def _begin_carrying(self, attempt_ids: Sequence[UUID]) -> None:
        """Claims attempts and lets each live on by itself. Slots come free as the calls end."""
        ours = asyncio.current_task()
        assert ours is not None
        self._carried.add(ours)  # a process that is told to stop waits for it
        try:
            turns = await self._openings(attempt_ids)
        except Exception:
            logger.exception("attempts were not claimed; their leases will run out")
            turns = []
        for _ in range(len(attempt_ids) - len(turns)):
            self._free.release()
        for turn in turns:
            carried = asyncio.create_task(self._carry_out(turn))
            self._carried.add(carried)
            carried.add_done_callback(self._put_down)
        self._carried.discard(ours)

    async def _carry_out(self, turn: Turn) -> None:
        try:
            await carry_out(turn, self._desk, self._clients, self._stopping)
        except Exception:
            logger.exception("attempt %s ended in a way that it should not", turn.call.attempt_id)

    def _put_down(self, carried: "asyncio.Task[Any]") -> None:
        self._carried.discard(carried)
        self._free.release()

    def _gather(
        self, work: Callable[[Sequence[Any]], Sequence[Any]], name: str, linger_seconds: float = LINGER_SECONDS
    ) -> Batches[Any, Any]:
        """Batches on a thread of their own, which borrows a database connection for each."""

        def connected(items: Sequence[Any]) -> Sequence[Any]:
            try:
                return work(items)
            finally:
                connection.close()

        self._batches.append(Batches(connected, name, linger_seconds=linger_seconds))
        return self._batches[-1]

    def _open_all(self, messages: Sequence[Sequence[UUID]]) -> list[list[Turn]]:
        calls = claim([attempt_id for message in messages for attempt_id in message], worker=self.name)
        reach("claimed")
        turns = {turn.call.attempt_id: turn for turn in take_turns(calls)}
        if len(turns) < len(calls):
            waking.wake()
        return [[turns.pop(attempt_id) for attempt_id in message if attempt_id in turns] for message in messages]

    def _report(self, *, is_stopping: bool) -> bool:
        try:
            now = database_now()
            workers.report(self.name, slots=self.slots, now=now, is_stopping=is_stopping)
            workers.listen(now)
            return True
        except DatabaseError as error:
            logger.warning("the worker's sign of life waits for the database: %s", error)
            return False
        finally:
            connection.close()

    def _forget(self) -> None:
        try:
            workers.forget(self.name)
        except DatabaseError as error:
            logger.warning("the worker's end was not noted, its silence will tell: %s", error)
        finally:
            connection.close()


_running: Engine | None = None


def running() -> Engine | None:
    """The engine of this process, if it has one."""
    return _running


def start(node: str, slots: int) -> Engine:
    """Starts this process's engine."""
    global _running
    _running = Engine(workers.process_name(node), slots)
    _running.start()
    logger.info("%s carries out up to %d calls at once", _running.name, slots)
    return _running


def _allow_files(wanted: int) -> None:
    """A call in flight is an open connection, and many systems allow a process a thousand unless it asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        if allowed < wanted:
            logger.warning("the system allows %d open files, and %d calls may need more", allowed, wanted)
