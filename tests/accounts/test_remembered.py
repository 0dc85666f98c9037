"""Memory: what is read once, for how long, and when it is read all the same."""

from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Barrier

import pytest

from accounts import remembered as memory
from accounts.remembered import reading_anew, remembered


@pytest.fixture
def reading():
    """A function of memory that counts how often it really reads."""
    readings = count(1)

    @remembered(2.0)
    def read(*args: object, **kwargs: object) -> int:
        return next(readings)

    return read


def test_an_answer_is_given_again_until_it_is_too_old(clock, reading):
    assert [reading("a"), reading("a")] == [1, 1]
    clock.now += 1.999
    assert reading("a") == 1
    clock.now += 0.001
    assert [reading("a"), reading("a")] == [2, 2]


def test_an_answer_is_as_old_as_the_beginning_of_its_reading(clock):
    values = iter(["before", "after"])

    @remembered(2.0)
    def slow() -> str:
        clock.now += 1.5  # somebody writes meanwhile
        return next(values)

    assert slow() == "before"
    clock.now += 0.5
    assert slow() == "after"


def test_every_argument_has_an_answer_of_its_own(clock, reading):
    assert [reading("a"), reading("b"), reading(1), reading("a", 1), reading(a=1), reading("a")] == [1, 2, 3, 4, 5, 1]


def test_nothing_is_also_an_answer_and_an_error_is_none(clock):
    answers = iter([None, 1, LookupError("not yet"), 2])

    @remembered()
    def read(name: str) -> int | None:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert [read("a"), read("a"), read("b")] == [None, None, 1]
    with pytest.raises(LookupError):
        read("c")
    assert read("c") == 2


def test_whoever_must_not_err_reads_anew_and_the_others_learn_of_it(clock, reading):
    assert reading("a") == 1
    with reading_anew():
        assert [reading("a"), reading("a")] == [2, 3]
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(reading, "a").result() == 3  # of another thread nothing was said
    assert reading("a") == 3


def test_it_can_be_switched_off_and_forgotten(clock, reading, monkeypatch):
    assert [reading("a"), reading("a")] == [1, 1]
    reading.forget()
    assert reading("a") == 2
    monkeypatch.setattr(memory, "is_on", False)
    assert [reading("a"), reading("a")] == [3, 4]
    monkeypatch.setattr(memory, "is_on", True)
    assert reading("a") == 2  # what is read while it is off leaves no trace


def test_it_does_not_grow_without_end(clock, reading, monkeypatch):
    monkeypatch.setattr(memory, "MOST", 10)
    for number in range(1000):
        reading(number)
        assert len(reading._answers) <= 10


def test_threads_share_what_is_remembered(clock, reading):
    barrier = Barrier(8)

    def one(_: int) -> list[int]:
        barrier.wait(10)
        return [reading(number % 50) for number in range(2000)]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(one, range(8)))
    settled = {number: reading(number) for number in range(50)}
    assert all(run[-50:] == [settled[number % 50] for number in range(1950, 2000)] for run in answers)


def test_where_reading_takes_long_one_reads_and_the_others_go_on_with_the_old_answer(clock):
    during = []
    readings = count(1)

    @remembered(2.0)
    def slow() -> int:
        number = next(readings)
        if number == 2:
            with ThreadPoolExecutor(1) as pool:
                during.append(pool.submit(slow).result(10))
        return number

    assert slow() == 1
    clock.now += 2.0
    assert [slow(), slow()] == [2, 2]
    assert during == [1]
