"""Work of many callers done in one go: whatever came while the last of it was being done.

A database commits fifty rows about as fast as one. So calls do not write each by itself: what they have to write is
gathered, and the busier it gets, the more is written at once.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from asgiref.sync import sync_to_async

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")
# A result for each item, in their order.
Work = Callable[[Sequence[Item]], Sequence[Result]]

MOST_AT_ONCE = 100
# A batch waits this long for company where the last one was no longer ago than that: at a few calls a second nobody
# waits, nor at twenty, and at a hundred a statement is shared.
LINGER_SECONDS = 0.01
BUSY_SECONDS = 0.02


# A way of having items done, each when its time comes.
Gathering = Callable[[Item], Awaitable[Result]]


def alone(work: Work[Item, Result]) -> Gathering[Item, Result]:
    """Does each item by itself, on the thread from which the event loop was entered."""

    async def do(item: Item) -> Result:
        (result,) = await sync_to_async(work)([item])
        return result

    return do


class Batches(Generic[Item, Result]):
    """Does what came meanwhile in one go, on a thread of its own. Belongs to the event loop that it is called from."""

    def __init__(self, work: Work[Item, Result], name: str, *, linger_seconds: float = LINGER_SECONDS) -> None:
        self._work = work
        self._linger_seconds = linger_seconds
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._running: asyncio.Task[None] | None = None
        self._ended_at = -BUSY_SECONDS

    async def __call__(self, item: Item) -> Result:
        """The item's result, or whatever the work raised for it."""
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await done

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                if len(self._waiting) < MOST_AT_ONCE and loop.time() < self._ended_at + BUSY_SECONDS:
                    await asyncio.sleep(self._linger_seconds)
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_AT_ONCE))]
                results = await loop.run_in_executor(self._thread, self._do, [item for item, _ in batch])
                for (_, done), result in zip(batch, results, strict=True):
                    if done.cancelled():
                        continue
                    if isinstance(result, BaseException):
                        done.set_exception(result)
                    else:
                        done.set_result(result)
                self._ended_at = loop.time()
        finally:
            self._running = None

    def _do(self, items: list[Item]) -> Sequence[Result | BaseException]:
        try:
            return self._work(items)
        except Exception as error:
            if len(items) == 1:
                return [error]
            logger.exception("%d in one go failed, now each by itself", len(items))
            return [result for item in items for result in self._do([item])]

    def close(self) -> None:
        """Ends the thread, once nothing is waiting any more."""
        self._thread.shutdown()
