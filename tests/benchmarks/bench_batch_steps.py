"""What looking at the lines of a batch does to twenty round trips of another thread, and of another process.

A dispatch makes as many to PostgreSQL, and after each of them waits for the interpreter.
"""

import json
import multiprocessing
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from jobs.batches.lines import read_request
from jobs.estimates import prompt_size

pytestmark = pytest.mark.benchmark

SECONDS, ROUND_TRIPS, PAUSE_SECONDS = 6.0, 20, 0.02
TURNS = 2
LINE = json.dumps(
    {
        "custom_id": "one",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": "o1-mini",
            "messages": [{"role": "user", "content": "What is the capital of Mexico? Question #17"}],
            "max_completion_tokens": 4000,
        },
    }
).encode()
# Its children neither open connections nor return: they are ended.
_FORKS = multiprocessing.get_context("fork")


def _look_at_lines(stop: Any) -> None:
    while not stop.is_set():
        for _ in range(100):
            prompt_size(read_request(LINE).prompt)


def _answer(end: socket.socket) -> None:
    while data := end.recv(4096):
        end.sendall(data)


@contextmanager
def _thread() -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=_look_at_lines, args=(stop,))
    thread.start()
    yield
    stop.set()
    thread.join()


@contextmanager
def _process() -> Iterator[None]:
    stop = _FORKS.Event()
    process = _FORKS.Process(target=_look_at_lines, args=(stop,))
    process.start()
    yield
    stop.set()
    process.join()


@contextmanager
def _nobody() -> Iterator[None]:
    yield


def _rounds() -> list[float]:
    """Milliseconds of each twenty round trips, the shortest first."""
    ours, theirs = socket.socketpair()
    server = _FORKS.Process(target=_answer, args=(theirs,), daemon=True)
    server.start()
    theirs.close()
    found, give_up_at = [], time.monotonic() + SECONDS
    while time.monotonic() < give_up_at:
        began = time.perf_counter()
        for _ in range(ROUND_TRIPS):
            ours.sendall(b"x" * 200)
            ours.recv(4096)
        found.append(1000 * (time.perf_counter() - began))
        time.sleep(PAUSE_SECONDS)
    ours.close()
    server.kill()  # it holds our end as well, and would wait for ever
    server.join()
    return sorted(found)


def test_round_trips_beside_a_batch(capsys):
    prompt_size(read_request(LINE).prompt)  # loads the vocabulary
    for _ in range(TURNS):
        for name, beside in (("alone", _nobody), ("beside another process", _process), ("beside a thread", _thread)):
            with beside():
                found = _rounds()
            spread = (found[len(found) // 2], found[int(len(found) * 0.95)], found[-1])
            with capsys.disabled():
                told = "median {:.1f}, p95 {:.1f}, longest {:.1f} ms".format(*spread)
                print(f"\n{ROUND_TRIPS} round trips {name:<24}{told} (of {len(found)})", end="", flush=True)
