"""All processes of one Bursar, in any number, on a database and a simulator of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import redis

from config.embedded import processes, stack
from config.embedded.ports import free_port
from config.embedded.processes import CHECKOUT, Program
from config.simulator.remote import Remote
from tests.benchmarks.load import processor
from tests.benchmarks.load.servers import SECRET_KEY, Servers

OUR_KEY, THEIR_KEY = "sk-simulator-ours", "sk-simulator-them"
START_SECONDS, DRAIN_SECONDS = 240.0, 180.0
# A limit that nothing meets, where something else is measured.
BOUNDLESS = 10**9


@dataclass(frozen=True)
class Setup:
    """What is to be measured: the model and its limits per minute, the provider's answers, and how many of each role.

    `profile` names a role that runs under cProfile. Without `batches_apart` the dispatcher's worker serves batches too.
    """

    model: str = "o1-mini"
    requests_per_minute: int = BOUNDLESS
    tokens_per_minute: int = BOUNDLESS
    call_seconds: float = 0.0
    workers: int = 1
    slots: int = 200  # of each worker
    projects: int = 1
    web: bool = True
    batches_apart: bool = True
    profile: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)  # on top of what every process of a fleet has


@dataclass
class Member:
    """One process of a role."""

    role: str
    program: Program
    process: "subprocess.Popen[bytes]"
    restarts: int = 0
    ended_at: float | None = None  # on the monotonic clock: when it was seen to have ended


@dataclass
class Fleet:
    """Bursar at work. `keys` are the projects' API keys, by slug."""

    setup: Setup
    servers: Servers
    folder: Path
    database_url: str
    simulator: Remote
    environment: Mapping[str, str]
    keys: dict[str, str] = field(default_factory=dict)
    members: list[Member] = field(default_factory=list)
    address: str = ""

    # --- Looking at it ------------------------------------------------------------------------------------------------
    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            found = connection.execute(statement, values or None)
            return found.fetchall() if found.description else []

    def seconds(self) -> dict[str, float]:
        """Processor time so far, by role; of PostgreSQL with all that served connections."""
        used: dict[str, float] = {}
        for role, pid in [(member.role, member.process.pid) for member in self.members] + [*self.servers.pids.items()]:
            used[role] = used.get(role, 0.0) + processor.seconds(pid)
        return used

    def workers(self) -> list[Member]:
        return [member for member in self.members if member.role == "calls"]

    def wait_until(self, holds: Callable[[], bool], what: str, *, seconds: float, pause: float = 0.25) -> None:
        """Returns when it holds, starting again whatever ended meanwhile; fails, with what is true, if it does not."""
        give_up_at = time.monotonic() + seconds
        while not holds():
            self.keep_up()
            assert time.monotonic() < give_up_at, f"{what}: not within {seconds:.0f} s; {self.describe()}"
            time.sleep(pause)

    def describe(self) -> str:
        jobs = self.sql("SELECT status, waiting_on->>'reason', count(*) FROM jobs_job GROUP BY 1, 2")
        attempts = self.sql("SELECT status, error_code, count(*) FROM jobs_attempt GROUP BY 1, 2")
        return f"jobs {jobs}, attempts {attempts}, simulator {self.simulator.counters()}, logs in {self.folder}"

    # --- Driving it ---------------------------------------------------------------------------------------------------
    def body(self, *, cap: int = 4000, prompt: str = "What is the capital of Mexico? Question #") -> dict[str, Any]:
        return {"model": self.setup.model, "prompt": prompt, "max_completion_tokens": cap}

    def begin_submitting(self, project: str, body: dict[str, Any], count: int, **more: Any) -> "Submitting":
        order = {"address": self.address, "key": self.keys[project], "body": body, "count": count, **more}
        return Submitting("tests.benchmarks.load.submitter", order)

    def submit(self, project: str, body: dict[str, Any], count: int, **more: Any) -> dict[str, Any]:
        """Submits and returns what the submitter says; every job was accepted."""
        said = self.begin_submitting(project, body, count, **more).result()
        assert said["accepted"] == count, (said["refused"], self.describe())
        return said

    def pause(self, *, paused: bool = True) -> None:
        """Lets no job start any more, or again."""
        self.sql("UPDATE accounts_project SET paused_at = CASE WHEN %s THEN now() END", paused)

    def drain(self) -> None:
        """Lets no job start any more and waits until nothing is under way."""
        self.pause()
        # A dispatcher that had read the projects before may still start some.
        time.sleep(1.5)
        under_way = "SELECT count(*) FROM jobs_attempt WHERE status IN ('created', 'calling')"
        seconds = DRAIN_SECONDS + self.setup.call_seconds
        self.wait_until(lambda: self.sql(under_way) == [(0,)], "attempts under way to end", seconds=seconds)

    def wait_until_done(self, jobs: int, *, seconds: float) -> None:
        """Until so many jobs are at their end."""
        done = "SELECT count(*) FROM jobs_job WHERE finished_at IS NOT NULL"
        # The simulator is asked first: it costs the database nothing.
        self.wait_until(lambda: self.simulator.counters()["billed"] >= jobs, f"{jobs} calls", seconds=seconds)
        self.wait_until(lambda: self.sql(done)[0][0] >= jobs, f"{jobs} jobs", seconds=seconds)

    # --- Keeping it up ------------------------------------------------------------------------------------------------
    def start(self, role: str, program: Program) -> None:
        self.members.append(Member(role, program, self._spawn(role, program)))

    def keep_up(self, *, after_seconds: float = 0.0) -> None:
        """Starts again what has ended so long ago, as a supervisor would."""
        for member in self.members:
            if member.process.poll() is None:
                continue
            member.ended_at = member.ended_at or time.monotonic()
            if time.monotonic() - member.ended_at >= after_seconds:
                processes.kill_group(member.process)
                member.process = self._spawn(member.role, member.program)
                member.restarts, member.ended_at = member.restarts + 1, None

    def stop(self, role: str = "", *, grace_seconds: float = 0.0) -> None:
        """Ends the processes of a role, or all of them."""
        gone = [member for member in self.members if role in ("", member.role)]
        self.members = [member for member in self.members if member not in gone]
        for member in gone:
            processes.end(member.process, signal.SIGTERM, grace_seconds)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def _spawn(self, role: str, program: Program) -> "subprocess.Popen[bytes]":
        command = program.command
        if role == self.setup.profile:
            # python -m module ... becomes python -m profiled folder module ...
            profiled = ("-m", "tests.benchmarks.load.profiled", str(self.folder / "profile"))
            command = (command[0], *profiled, *command[2:])
        with (self.folder / f"{program.name}.log").open("ab") as log:
            return processes.start(
                command,
                environment={**self.environment, **program.environment, "BURSAR_PROCESS": program.name},
                output=log,
            )


class Submitting:
    """A script that submits or calls in a process of its own, so that its time is nobody else's."""

    def __init__(self, module: str, order: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> None:
        command = [sys.executable, "-m", module, json.dumps(order)]
        self.process = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, env=environment)

    def result(self) -> dict[str, Any]:
        """What it printed, when it has ended."""
        printed, _ = self.process.communicate()
        assert self.process.returncode == 0, "see above"
        return dict(json.loads(printed))

    def stop(self) -> dict[str, Any]:
        """Asks it to end early, and returns what it printed."""
        self.process.send_signal(signal.SIGTERM)
        return self.result()


@contextmanager
def fleet(servers: Servers, setup: Setup) -> Iterator[Fleet]:
    """A whole Bursar that is ready; it is killed at the end."""
    with ExitStack() as cleanup:
        database_url = cleanup.enter_context(servers.database())
        redis.Redis.from_url(servers.redis_url).flushdb()
        folder = servers.folder / f"fleet-{time.time_ns()}"
        (folder / "static").mkdir(parents=True)
        simulator = cleanup.enter_context(provider(folder, setup))
        environment = _environment(servers, setup, database_url, simulator, folder)
        ours = Fleet(setup, servers, folder, database_url, simulator, environment)
        cleanup.callback(ours.stop)
        ours.keys = _cast(setup, environment)
        _start_all(ours)
        yield ours


@contextmanager
def provider(folder: Path, setup: Setup) -> Iterator[Remote]:
    """The simulator as a process of its own, with the limits of the setup."""
    rpm, tpm = setup.requests_per_minute, setup.tokens_per_minute
    port = free_port()
    command = [
        *(*stack.MANAGE, "simulate_openai", "--port", str(port), "--bill", str(folder / "bill.sqlite3")),
        *("--latency", str(setup.call_seconds), "--rpm", f"{setup.model}={rpm}", "--tpm", f"{setup.model}={tpm}"),
    ]
    with (folder / "simulator.log").open("ab") as log:
        process = processes.start(command, environment=os.environ, output=log)
    try:
        _wait(lambda: "listening" in (folder / "simulator.log").read_text(), "the simulator", folder)
        yield Remote(f"http://127.0.0.1:{port}")
    finally:
        processes.end(process, signal.SIGTERM, 5.0)


def _environment(servers: Servers, setup: Setup, database_url: str, simulator: Remote, folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "DATABASE_URL": database_url,
        "REDIS_URL": servers.redis_url,
        "BURSAR_SECRET_KEY": SECRET_KEY,
        "BURSAR_VAR_DIR": str(folder),
        "BURSAR_CALL_SLOTS": str(setup.slots),
        "BURSAR_LOG_LEVEL": "WARNING",
        "OPENAI_BASE_URL": simulator.base_url,
        "OPENAI_API_KEY": OUR_KEY,
        "BURSAR_SIMULATOR": "1",
        "BURSAR_PROVIDER_SERVES_SHUT_DOWN_MODELS": "1",
        # Floods are to meet the queue and its turns, and not the throttle before them.
        "BURSAR_KEY_REQUESTS_PER_MINUTE": "0",
        "PYTHONUNBUFFERED": "1",
        **setup.environment,
    }


def _cast(setup: Setup, environment: Mapping[str, str]) -> dict[str, str]:
    """The organization, with the provider's limits in its tier; the projects' keys by slug."""
    wanted = {
        "projects": setup.projects,
        "model": setup.model,
        "requests": setup.requests_per_minute,
        "tokens": setup.tokens_per_minute,
    }
    return {
        slug: str(key) for slug, key in Submitting("tests.benchmarks.load.cast", wanted, environment).result().items()
    }


def _start_all(ours: Fleet) -> None:
    programs = {program.name: program for program in stack.workers()}
    for number in range(ours.setup.workers):
        ours.start("calls", _named(programs["worker-calls"], f"calls{number}"))
    if ours.setup.batches_apart:
        ours.start("control", _named(programs["worker-control"], "control"))
        ours.start("batches", _named(programs["worker-batches"], "batches"))
    else:
        ours.start("control", _named(programs["worker-control"], "control", queues="control,batches"))
    ours.start("beat", programs["beat"])
    if ours.setup.web:
        port = free_port()
        ours.address = f"http://127.0.0.1:{port}"
        ours.start("web", stack._web(port, ours.address, stack.WEB_THREADS))
        _wait(lambda: stack.answers(ours.address), "the web server", ours.folder)
    for member in ours.members:
        if member.role in ("calls", "control", "batches"):
            _wait(lambda name=member.program.name: " ready." in ours.log(name), member.program.name, ours.folder)
    _see_slots(ours)


def _named(program: Program, name: str, queues: str = "") -> Program:
    """The same worker under a node name and a log of its own, and of other queues where they are named."""
    command = list(program.command)
    command[command.index("-n") + 1] = f"{name}@{os.getpid()}"
    if queues:
        command[command.index("-Q") + 1] = queues
    return Program(name=name, command=tuple(command), environment=program.environment, tier=program.tier)


def _see_slots(ours: Fleet) -> None:
    """Waits until the workers have said how many calls they hold."""
    expected = ours.setup.slots * ours.setup.workers
    said = "SELECT coalesce(sum(slots), 0) FROM jobs_worker WHERE NOT is_stopping"
    _wait(lambda: ours.sql(said)[0][0] >= expected, "every worker's word of its slots", ours.folder)


def _wait(holds: Callable[[], bool], what: str, folder: Path) -> None:
    give_up_at = time.monotonic() + START_SECONDS
    while not holds():
        assert time.monotonic() < give_up_at, f"{what} did not start; logs in {folder}"
        time.sleep(0.1)
