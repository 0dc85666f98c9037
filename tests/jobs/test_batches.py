"""Work done in one go: what came meanwhile goes together, and nobody pays for another's mistake."""

import asyncio
import threading
from collections.abc import Sequence

import pytest
from asgiref.sync import async_to_sync

from jobs.execution.batches import MOST_AT_ONCE, Batches, alone


class Work:
    """Doubles numbers, remembers its batches, and waits to be let on before the first."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may_go = threading.Event()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.may_go.wait(10)
        self.batches.append(list(items))
        if 13 in items:
            raise ValueError("not thirteen")
        return [2 * item for item in items]


def run(work: Work, items: Sequence[int]) -> list[int | BaseException]:
    """What each item came to; all but the first come while the first is being done."""

    async def together() -> list[int | BaseException]:
        batches: Batches[int, int] = Batches(work, "tests")
        first = asyncio.create_task(batches(items[0]))
        await asyncio.sleep(0.05)
        others = [asyncio.create_task(batches(item)) for item in items[1:]]
        await asyncio.sleep(0.05)
        work.may_go.set()
        try:
            return await asyncio.gather(first, *others, return_exceptions=True)
        finally:
            batches.close()

    return asyncio.run(together())


def test_what_came_while_one_was_being_done_is_done_together_and_each_gets_its_own():
    work = Work()
    assert run(work, [1, 2, 3, 4]) == [2, 4, 6, 8]
    assert work.batches == [[1], [2, 3, 4]]


def test_a_batch_has_an_end():
    work = Work()
    count = 2 * MOST_AT_ONCE + 10
    numbers = range(100, 100 + count)
    assert run(work, numbers) == [2 * number for number in numbers]
    assert [len(batch) for batch in work.batches] == [1, MOST_AT_ONCE, MOST_AT_ONCE, 9]


def test_one_that_cannot_be_done_is_told_so_and_the_others_are_done():
    work = Work()
    one, two, thirteen, four = run(work, [1, 2, 13, 4])
    assert (one, two, four) == (2, 4, 8)
    assert isinstance(thirteen, ValueError)
    assert work.batches == [[1], [2, 13, 4], [2], [13], [4]]


def test_one_whose_caller_has_gone_holds_nobody_up():
    work = Work()

    async def impatient() -> list[int]:
        batches: Batches[int, int] = Batches(work, "tests")
        first = asyncio.create_task(batches(1))
        gone, stays = asyncio.create_task(batches(2)), asyncio.create_task(batches(3))
        await asyncio.sleep(0.05)
        gone.cancel()
        work.may_go.set()
        done = [await first, await stays]
        batches.close()
        return done

    assert asyncio.run(impatient()) == [2, 6]


def test_alone_each_is_a_batch_of_its_own_on_the_thread_of_its_caller():
    threads = []

    def work(items: Sequence[int]) -> list[int]:
        threads.append(threading.current_thread())
        return [2 * item for item in items]

    async def one_after_the_other() -> list[int]:
        do = alone(work)
        return [await do(1), await do(2)]

    assert async_to_sync(one_after_the_other)() == [2, 4]
    assert threads == [threading.main_thread()] * 2


def test_a_mistake_alone_reaches_its_caller():
    work = Work()
    work.may_go.set()
    with pytest.raises(ValueError, match="thirteen"):
        asyncio.run(alone(work)(13))
