"""Benchmarks print what they measured, as ratios to the barest thing that could do the same; none asserts a time."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from jobs import limiter
from tests.benchmarks.pgbench import REPEATS, measure


@pytest.fixture(autouse=True)
def _fresh_limiter() -> None:
    redis = limiter.connection()
    for key in redis.scan_iter("bursar:*"):
        redis.delete(key)
    redis.set(limiter.BORN_KEY, "0.000")


@pytest.fixture
def per_second() -> Callable[[Callable[[], object], int], float]:
    """How many of its `count` things a function does in a second: the best of three runs, after one that is not timed.

    The best, because what disturbs a run only ever makes it slower.
    """

    def measure(work: Callable[[], object], count: int) -> float:
        work()
        best = 0.0
        for _ in range(REPEATS):
            started = time.perf_counter()
            work()
            best = max(best, count / (time.perf_counter() - started))
        return best

    return measure


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Prints one line of the result, also where pytest would keep it."""

    def line(what: str, ours: float, bare: float | None = None, bare_is: str = "", unit: str = "/s") -> None:
        text = f"{what:<48}{ours:>12,.0f} {unit}"
        if bare is not None:
            text += f"   {bare_is:<24}{bare:>12,.0f} {unit}   ratio {ours / bare:.2f}"
        with capsys.disabled():
            print(f"\n{text}", end="", flush=True)

    return line


@pytest.fixture
def report_against_pgbench(report: Callable[..., None], tmp_path: Path) -> Callable[..., None]:
    """Measures a path beside the same statements by pgbench, and prints both (`tests.benchmarks.pgbench`)."""
    return partial(measure, report, tmp_path)
