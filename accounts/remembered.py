"""What changes rarely is read once and remembered for a moment, by all threads of a process together.

For reference data alone: catalogue, prices, tiers, limits, credentials. Money is never decided from memory, and neither
is whether somebody may come in.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import update_wrapper
from threading import Lock
from time import monotonic
from typing import Generic, ParamSpec, TypeVar

# How old an answer may become, where nothing else is said: a person who changes a row never has to wait for it.
SECONDS = 1.0
# Answers that one function keeps; a process that would need more reads again, which is slower and right.
MOST = 10_000
# Tests switch it off, so that what they write is there at once.
is_on = True

_reads_anew: ContextVar[bool] = ContextVar("reads_anew", default=False)

P = ParamSpec("P")
R = TypeVar("R")


class Remembered(Generic[P, R]):
    """A function that gives its earlier answer to the same arguments, if that is younger than `seconds`.

    When it is not, one thread reads anew, and those that ask meanwhile get the old answer: otherwise every thread of a
    busy process would read the same rows at the same instant. Arguments are hashable. An error is not remembered. The
    answer is shared between threads: nobody changes it.
    """

    def __init__(self, function: Callable[P, R], seconds: float):
        self._function, self._seconds = function, seconds
        self._answers: dict[object, tuple[R, float]] = {}
        self._writing = Lock()
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        key = (args, tuple(kwargs.items())) if kwargs else args
        if is_on and not _reads_anew.get():
            known = self._answers.get(key)
            if known is not None and monotonic() < known[1]:
                return known[0]
            if known is not None:
                self._keep(key, known[0], monotonic() + self._seconds)
        # From before the reading: what somebody writes while we read is seen when the time is up.
        good_until = monotonic() + self._seconds
        answer = self._function(*args, **kwargs)
        if is_on:
            self._keep(key, answer, good_until)
        return answer

    def _keep(self, key: object, answer: R, good_until: float) -> None:
        with self._writing:
            if len(self._answers) >= MOST:
                self._answers.clear()
            self._answers[key] = answer, good_until

    def forget(self) -> None:
        """Every answer is read again when it is next asked for."""
        with self._writing:
            self._answers.clear()


def remembered(seconds: float = SECONDS) -> Callable[[Callable[P, R]], Remembered[P, R]]:
    """Decorates a function that reads, so that its answers are at most so many seconds old, and the time of a reading.

    A reading that takes longer than that, or fails, lets the old answer be given for as long again.
    """
    return lambda function: Remembered(function, seconds)


@contextmanager
def reading_anew() -> Iterator[None]:
    """Inside, nothing is answered from memory in this thread; what is read is remembered as usual."""
    token = _reads_anew.set(True)
    try:
        yield
    finally:
        _reads_anew.reset(token)
