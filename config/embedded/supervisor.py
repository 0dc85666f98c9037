"""Starts processes, starts the dead ones again, and stops them all in order, however it is itself ended."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import FrameType

from config.embedded import processes
from config.embedded.processes import NotReady, Program

_LOG_BYTES = 5_000_000
_TICK_SECONDS = 0.1
_PROGRESS_SECONDS = 5.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):
    """Somebody asked the supervisor to stop: Ctrl-C, SIGTERM or SIGHUP."""


class GaveUp(Exception):
    """A process ended again and again right after its start. The text names it and ends with the tail of its log."""


@dataclass(frozen=True)
class Patience:
    """How often and how fast a process that ended is started again."""

    first_pause_seconds: float = 0.5  # doubled with every crash in a row
    longest_pause_seconds: float = 10.0
    stable_seconds: float = 20.0  # one that ran this long is forgiven its earlier crashes
    crashes_in_a_row: int = 5


@dataclass(frozen=True)
class Ended:
    """How a process that was run to its end came out."""

    returncode: int
    output: str  # empty unless it was asked for


@dataclass
class _Child:
    program: Program
    process: subprocess.Popen[bytes] | None  # None: ended, and to be started again
    started: float  # on the monotonic clock, like `starts_again`
    watched: bool = False  # not before it was ready for the first time
    crashes: int = 0
    starts_again: float = 0.0


class Supervisor:
    """Runs programs as children of this process's main thread; their output goes to `logs`/NAME.log."""

    def __init__(self, environment: Mapping[str, str], logs: Path, patience: Patience | None = None) -> None:
        self.environment = dict(environment)
        self._logs = logs
        self._patience = patience or Patience()
        self._children: list[_Child] = []
        self._received: list[int] = []
        logs.mkdir(parents=True, exist_ok=True)
        for number in _SIGNALS:
            signal.signal(number, self._receive)

    # --- Starting -----------------------------------------------------------------------------------------------------
    def start(self, program: Program) -> None:
        """Start `program` and return when it is ready, keeping up the others. Raises NotReady, Stopped or GaveUp."""
        self.begin(program)
        self.wait_for_begun()

    def begin(self, program: Program) -> None:
        """Start `program` and return at once; `wait_for_begun` has to follow. Raises NotReady, Stopped or GaveUp."""
        self.watch_for(0)
        self._children.append(_Child(program, self._spawn(program), time.monotonic()))

    def wait_for_begun(self) -> None:
        """Return when all that was begun is ready, keeping up the others. Raises NotReady, Stopped or GaveUp."""
        for child in self._children:
            if not child.watched and child.process is not None:
                self._wait_for(child.program, child.process)
                child.watched = True

    def _wait_for(self, program: Program, process: subprocess.Popen[bytes]) -> None:
        said = time.monotonic()

        def wait(seconds: float) -> None:
            nonlocal said
            self.watch_for(seconds)
            if time.monotonic() - said > _PROGRESS_SECONDS:
                said = time.monotonic()
                say(f"waiting for {program.name} to be ready")

        try:
            processes.wait_until_ready(program, process, wait)
        except NotReady as problem:
            raise NotReady(f"{problem}\n{self.tail(program.name)}") from problem

    def run_logged(self, name: str, command: Sequence[str], *, keep_output: bool = False) -> Ended:
        """Run `command` to its end while keeping up the others, its output in NAME.log. Raises Stopped or GaveUp.

        With `keep_output` what it prints is given back and kept nowhere; its errors still go to the log.
        """
        self.watch_for(0)
        with tempfile.TemporaryFile() as printed:
            log = self._open_log(name)
            process = processes.start(
                command,
                environment={**self.environment, "BURSAR_PROCESS": name},
                output=printed if keep_output else log,
                errors=log,
            )
            os.close(log)
            try:
                while process.poll() is None:
                    self.watch_for(_TICK_SECONDS / 2)
            finally:
                processes.end(process, signal.SIGTERM, 5.0)
            printed.seek(0)
            return Ended(process.returncode, printed.read().decode())

    def run_in_terminal(self, command: Sequence[str]) -> int:
        """Run `command` on our terminal, keeping up the others; its exit code. Raises Stopped or GaveUp."""
        self.watch_for(0)
        sys.stdout.flush()
        process = processes.start(command, environment=self.environment, own_session=False)
        try:
            while process.poll() is None:
                self.watch_for(_TICK_SECONDS)
        finally:
            self._end_in_terminal(process)
        return process.returncode

    # --- Watching -----------------------------------------------------------------------------------------------------
    def watch(self) -> None:
        """Keep the children up until asked to stop, then return. Raises GaveUp when one cannot be kept up."""
        try:
            while True:
                self.watch_for(3600)
        except Stopped:
            return

    def watch_for(self, seconds: float) -> None:
        """Keep the children up for `seconds`. Raises Stopped when asked to stop, GaveUp when one cannot be kept up."""
        deadline = time.monotonic() + seconds
        while True:
            if self._received:
                raise Stopped
            for child in self._children:
                self._keep_up(child)
            left = deadline - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(_TICK_SECONDS, left))

    def _keep_up(self, child: _Child) -> None:
        now = time.monotonic()
        if child.process is None:
            if now >= child.starts_again:
                child.process, child.started = self._spawn(child.program), now
        elif child.watched and child.process.poll() is not None:
            # Processes of its own that are left would keep its port or its files.
            processes.kill_group(child.process)
            ending = processes.how_it_ended(child.process.returncode)
            child.process = None
            self._plan_restart(child, f"{child.program.name} {ending}", now)

    def _plan_restart(self, child: _Child, ending: str, now: float) -> None:
        patience, lived, name = self._patience, now - child.started, child.program.name
        child.crashes = 1 if lived >= patience.stable_seconds else child.crashes + 1
        if child.crashes >= patience.crashes_in_a_row:
            raise GaveUp(f"{ending}, {child.crashes} times in a row: giving up\n{self.tail(name)}")
        pause = min(patience.first_pause_seconds * 2.0 ** (child.crashes - 1), patience.longest_pause_seconds)
        child.starts_again = now + pause
        say(f"{ending} after {lived:.1f} s; starting it again in {pause:g} s (its log: {self._log(name)})")

    # --- Stopping -----------------------------------------------------------------------------------------------------
    def stop(self) -> None:
        """Stop all children, a tier at a time from the top, and return when none is left. Another Ctrl-C kills them."""
        running = [child for child in self._children if child.process is not None]
        self._children = []
        running.sort(key=lambda child: child.program.tier, reverse=True)
        for _, tier in groupby(running, key=lambda child: child.program.tier):
            self._stop_together([(child.program, child.process) for child in tier if child.process is not None])

    def _stop_together(self, tier: list[tuple[Program, subprocess.Popen[bytes]]]) -> None:
        for program, process in tier:
            if process.poll() is None:
                process.send_signal(program.stop_signal)
        asked, begun, said = len(self._received), time.monotonic(), False
        left = tier
        while left := [(program, process) for program, process in left if process.poll() is None]:
            waited = time.monotonic() - begun
            for program, process in left:
                if waited > program.grace_seconds or len(self._received) > asked:
                    say(f"{program.name} is killed")
                    processes.kill_group(process)
            if waited > 3.0 and not said:
                said = True
                names = " and ".join(program.name for program, _ in left)
                patience = max(program.grace_seconds for program, _ in left)
                say(f"waiting up to {patience:.0f} s for {names} to finish; Ctrl-C again to cut it short")
            time.sleep(0.02)
        for _, process in tier:
            processes.kill_group(process)

    def _end_in_terminal(self, process: subprocess.Popen[bytes]) -> None:
        """See to the end of a process that shares our session, and so cannot be killed as a group."""
        # Ctrl-C has reached it already. It may have things to clean up, so it gets no harder signal at first.
        if process.poll() is None and signal.SIGINT not in self._received:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(10.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    # --- Logs ---------------------------------------------------------------------------------------------------------
    def tail(self, name: str, lines: int = 15) -> str:
        """The end of the log of `name`, indented for reading below a message."""
        file = self._log(name)
        last = file.read_text(errors="replace").splitlines()[-lines:] if file.exists() else []
        return "\n".join([f"  the end of {file}:", *(f"  | {line}" for line in last)])

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def _open_log(self, name: str) -> int:
        file = self._log(name)
        if file.exists() and file.stat().st_size > _LOG_BYTES:
            file.replace(file.with_suffix(".log.1"))
        return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)

    # --- Inside -------------------------------------------------------------------------------------------------------
    def _spawn(self, program: Program) -> subprocess.Popen[bytes]:
        log = self._open_log(program.name)
        try:
            return processes.start(
                program.command,
                environment={**self.environment, **program.environment, "BURSAR_PROCESS": program.name},
                output=log,
                errors=log,
                death_signal=program.death_signal,
                identity=program.identity,
            )
        except (OSError, subprocess.SubprocessError) as problem:
            raise NotReady(f"{program.name} cannot be started: {problem}") from problem
        finally:
            os.close(log)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        # Only noted: an exception raised here could come between the start of a process and its being known.
        self._received.append(number)


def say(text: str) -> None:
    """A line of the supervisor's own for the person at the terminal."""
    print(f"bursar: {text}", file=sys.stderr, flush=True)
