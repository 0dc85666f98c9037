"""What `make test`, `make lint`, `make coverage`, `make bench` and `make chaos` run, one step after the other."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from config.embedded.processes import CHECKOUT
from config.embedded.stack import MANAGE
from config.embedded.supervisor import Supervisor

_SCRIPTS = Path(sys.executable).parent
# More than there are processors by one: many tests wait for clocks and processes, and take no time of theirs.
_ALL_TESTS = ("-n", "3")
# The money and the work are covered branch by branch, or the run fails. Counting takes half as long as the tests do.
_COVERED = (
    *("--cov=billing", "--cov=jobs", "--cov-branch", "--cov-report=term:skip-covered"),
    "--cov-fail-under=95",
)
_PYTEST = (sys.executable, "-m", "pytest")


@dataclass(frozen=True)
class Step:
    """One check: what it looks at, and how."""

    title: str
    command: tuple[str, ...]


LINT = (
    Step("style", (str(_SCRIPTS / "ruff"), "check", ".")),
    Step("format", (str(_SCRIPTS / "ruff"), "format", "--check", ".")),
    Step("types", (str(_SCRIPTS / "mypy"), ".")),
    Step("imports between the apps", (str(_SCRIPTS / "lint-imports"),)),
    Step("migrations match the models", (*MANAGE, "makemigrations", "--check", "--dry-run")),
    Step("API schema", (*MANAGE, "spectacular", "--validate", "--fail-on-warn", "--file", "/dev/null")),
)


def tests(arguments: Sequence[str]) -> Step:
    """The tests but for the benchmarks: all of them, unless `arguments` for pytest say otherwise."""
    return Step("tests", (*_PYTEST, "-m", "not benchmark", *(arguments or _ALL_TESTS)))


def coverage(arguments: Sequence[str]) -> Step:
    """All tests again, counting which branches of the money and of the work they take; fails below 95 percent."""
    return Step("coverage", (*_PYTEST, "-m", "not benchmark", *_ALL_TESTS, *_COVERED, *arguments))


def benchmarks(arguments: Sequence[str]) -> Step | None:
    """The benchmarks; None while there are none."""
    folder = CHECKOUT / "tests" / "benchmarks"
    # Named folders and files are instead of all of them; options such as -k choose among them.
    places = () if any((CHECKOUT / argument.partition("::")[0]).exists() for argument in arguments) else (str(folder),)
    return (
        Step("benchmarks", (*_PYTEST, *places, "-s", "-o", "python_files=bench_*.py", *arguments))
        if folder.is_dir()
        else None
    )


def chaos(arguments: Sequence[str]) -> Step:
    """Load on all of Bursar while processes are killed, on servers of its own."""
    folder = CHECKOUT / "tests" / "chaos"
    return Step("chaos", (*_PYTEST, str(folder), "-s", "-o", "python_files=chaos_*.py", *arguments))


def run(supervisor: Supervisor, steps: Sequence[Step]) -> int:
    """Run every step, also after one that failed; 0 when all passed, else 1. Raises Stopped or GaveUp.

    What failed is said before the last step, so that its own last line stays the last.
    """
    failed: list[str] = []
    for number, step in enumerate(steps, 1):
        if failed and number == len(steps) > 1:
            print(f"\nFAILED so far: {', '.join(failed)}", flush=True)
        print(f"\n--- {number}/{len(steps)} {step.title} {'-' * max(3, 70 - len(step.title))}", flush=True)
        if supervisor.run_in_terminal(step.command) != 0:
            failed.append(step.title)
    return 1 if failed else 0
