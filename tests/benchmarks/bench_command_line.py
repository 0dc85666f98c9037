"""How long the command line takes to say what it can do: the best and the middle of some starts, in milliseconds."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.benchmark

CHECKOUT = Path(__file__).resolve().parent.parent.parent
STARTS = 20


@pytest.mark.parametrize("arguments", [["--help"], ["submit", "--help"], ["spend", "--help"]])
def test_help(arguments, capsys):
    taken = []
    for _ in range(STARTS):
        began = time.perf_counter()
        command = [sys.executable, "-m", "config.command_line.main", *arguments]
        subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True)
        taken.append(1000 * (time.perf_counter() - began))
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    bare = 1000 * (time.perf_counter() - began)
    with capsys.disabled():
        middle = statistics.median(taken)
        print(
            f"\nbursar {' '.join(arguments):<16} {min(taken):.0f} ms, in the middle {middle:.0f} ms; Python {bare:.0f}"
        )
