"""Runs a module under cProfile, with its threads and forks: `python -m tests.benchmarks.load.profiled FOLDER MODULE`.

Each process leaves its profile in FOLDER when it ends; `printed` merges them. One that is killed leaves none.
"""

import atexit
import cProfile
import io
import os
import pstats
import runpy
import sys
import threading
import time
from pathlib import Path

_profiles: list[cProfile.Profile] = []
_folder = Path()
_run = threading.Thread.run


def printed(folder: Path, lines: int = 40) -> str:
    """The costliest functions of all profiles in the folder, by their own time."""
    files = [str(file) for file in folder.glob("*.prof")]
    if not files:
        return "no profile was written"
    text = io.StringIO()
    pstats.Stats(*files, stream=text).strip_dirs().sort_stats("tottime").print_stats(lines)
    # Without the list of the files.
    return text.getvalue().partition("function calls")[2]


def _begin() -> None:
    # Processor time of the thread: by the clock, threads that wait would fill the list.
    profile = cProfile.Profile(time.thread_time)
    _profiles.append(profile)
    profile.enable()


def _run_profiled(thread: threading.Thread) -> None:
    _begin()
    _run(thread)


def _begin_anew() -> None:
    """In a fork: what the parent did is the parent's."""
    _profiles.clear()
    _begin()


def _write() -> None:
    for number, profile in enumerate(_profiles):
        profile.dump_stats(_folder / f"{os.getpid()}-{number}.prof")


def main(folder: Path, module: str, arguments: list[str]) -> None:
    global _folder
    _folder = folder
    folder.mkdir(exist_ok=True)
    threading.Thread.run = _run_profiled  # type: ignore[method-assign]
    os.register_at_fork(after_in_child=_begin_anew)
    atexit.register(_write)
    sys.argv = [module, *arguments]
    _begin()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
