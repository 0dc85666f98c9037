"""Looking at something again and again while a benchmark goes on."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.benchmarks.load import processor


@contextmanager
def watching(look: Callable[[], None], every_seconds: float) -> Iterator[None]:
    """Calls `look` every so many seconds, on a thread of its own, until the block ends."""
    stop = threading.Event()

    def go_on_looking() -> None:
        while not stop.wait(every_seconds):
            look()

    thread = threading.Thread(target=go_on_looking)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def most_memory(pid: int) -> Iterator[list[float]]:
    """The most KiB that a process held while the block lasted, looked at twice a second: the one number in the list."""
    most = [0.0]

    def look() -> None:
        most[0] = max(most[0], processor.resident_kib(pid))

    with watching(look, every_seconds=0.5):
        yield most
