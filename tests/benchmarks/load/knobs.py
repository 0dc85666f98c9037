"""What a load benchmark can be told by the environment, as listed in docs/benchmarks.md."""

import os

FULL = os.environ.get("BENCH_FULL") == "1"


def _number(name: str, short: float, full: float) -> float:
    return float(os.environ.get(name) or (full if FULL else short))


MINUTES = _number("BENCH_MINUTES", 1, 10)
IN_FLIGHT = [
    int(number) for number in (os.environ.get("BENCH_IN_FLIGHT") or ("2000,5000" if FULL else "2000")).split(",")
]
CALL_SECONDS = _number("BENCH_CALL_SECONDS", 20, 20)
JOBS = int(_number("BENCH_JOBS", 1000, 5000))
LINES = int(_number("BENCH_LINES", 2000, 50_000))
FLOOD = int(_number("BENCH_FLOOD", 2000, 50_000))
# What a key may send by default; 0: as fast as it is accepted, though no key could, and until nothing is idle.
FLOOD_PER_SECOND = _number("BENCH_FLOOD_PER_SECOND", 100, 100)
QUIET_SECONDS = _number("BENCH_QUIET_SECONDS", 30, 120)
OUTAGE_JOBS = int(_number("BENCH_OUTAGE_JOBS", 600, 6000))
OUTAGE_SECONDS = _number("BENCH_OUTAGE_SECONDS", 10, 30)
DOUBTS = int(_number("BENCH_DOUBTS", 300, 2000))
CRASHES = int(_number("BENCH_CRASHES", 3, 40))
FAULT_CALLS = int(_number("BENCH_FAULT_CALLS", 20, 200))
ALERTS = int(_number("BENCH_ALERTS", 25, 100))
EVENTS = int(_number("BENCH_EVENTS", 500, 10_000))
KILLS = int(_number("BENCH_KILLS", 5, 50))
PROFILE = os.environ.get("BENCH_PROFILE", "")
