"""All of Bursar on one machine: which processes run, in which order, with which environment."""

import json
import os
import re
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.embedded import services
from config.embedded.place import Place, Running
from config.embedded.ports import free_port
from config.embedded.processes import CHECKOUT, Program, Tier
from config.embedded.supervisor import Supervisor, say

# As config/settings.py has it.
WEB_THREADS = 256
MANAGE = (sys.executable, "manage.py")
_CELERY = (sys.executable, "-m", "celery", "-A", "config.celery")
_QUIET_WORKER = ("--without-gossip", "--without-mingle", "--loglevel", "INFO")


class Failed(Exception):
    """A step of the start failed. The text names it and ends with the tail of its log."""


@dataclass(frozen=True)
class Stack:
    """What came up: where it answers, as whom to log in, and whether its answers are simulated."""

    address: str
    credentials: Mapping[str, Any]
    simulated: bool
    environment: Mapping[str, str]


def environment_of_checkout(environment: Mapping[str, str], place: Place) -> dict[str, str]:
    """`environment` over what `.env` says, with a secret key, for every process."""
    merged = {**_dotenv(CHECKOUT / ".env"), **environment}
    merged["BURSAR_VAR_DIR"] = str(place.path)
    merged["BURSAR_SECRET_KEY"] = merged.get("BURSAR_SECRET_KEY") or place.secret_key()
    merged["PYTHONUNBUFFERED"] = "1"
    return merged


def bring_up(supervisor: Supervisor, place: Place, port: int) -> Stack:
    """Start everything and give back what is there once the web server says that it is ready.

    Raises Failed, NotReady, GaveUp, Stopped or postgres.Refused.
    """
    (place.path / "static").mkdir(exist_ok=True)  # the web server would warn at every start
    say("starting PostgreSQL and Valkey")
    supervisor.environment.update(services.start(supervisor, place.path, supervisor.environment, durable=True))
    simulated = _start_provider(supervisor, place)
    say("bringing the database up to date")
    _step(supervisor, "migrate", (*MANAGE, "migrate", "--no-input"))
    credentials = _bootstrap(supervisor, place)
    say("starting the workers and the web server")
    address = f"http://127.0.0.1:{port}"
    for program in (
        *workers(),
        _web(port, address, int(supervisor.environment.get("BURSAR_WEB_THREADS") or WEB_THREADS)),
    ):
        supervisor.begin(program)
    supervisor.wait_for_begun()
    ours = {name: value for name, value in supervisor.environment.items() if os.environ.get(name) != value}
    place.announce(Running(os.getpid(), address, ours))
    return Stack(address, credentials, simulated, dict(supervisor.environment))


def _start_provider(supervisor: Supervisor, place: Place) -> bool:
    """Begin the simulator unless the environment names a provider; whether it was."""
    environment = supervisor.environment
    if environment.get("OPENAI_API_KEY") or environment.get("OPENAI_BASE_URL"):
        return False
    port = free_port()
    say("no OPENAI_API_KEY: answers come from the SIMULATOR, nothing is sent to OpenAI and nothing is charged")
    bill = str(place.path / "simulator-bill.sqlite3")
    supervisor.begin(
        Program(
            name="simulator",
            command=(*MANAGE, "simulate_openai", "--port", str(port), "--bill", bill),
            ready=lambda pid: _listens(port),
            tier=Tier.PROVIDER,
        )
    )
    environment.update(
        OPENAI_BASE_URL=f"http://127.0.0.1:{port}/v1",
        OPENAI_API_KEY="sk-simulator",
        OPENAI_ADMIN_KEY="sk-admin-simulator",
        BURSAR_SIMULATOR="1",
        BURSAR_PROVIDER_SERVES_SHUT_DOWN_MODELS="1",
    )
    return True


def _bootstrap(supervisor: Supervisor, place: Place) -> Mapping[str, Any]:
    """The first organization, its owner and an API key, made when missing."""
    command = (*MANAGE, "bootstrap", "--json", "--credentials-file", str(place.credentials))
    # Not into a log: it prints the password and the key.
    printed = _step(supervisor, "bootstrap", command, secret=True)
    try:
        credentials: dict[str, Any] = json.loads(printed or place.credentials.read_text())
    except (OSError, ValueError) as problem:
        raise Failed(f"`manage.py bootstrap --json` did not print JSON: {problem}") from problem
    return credentials


def _step(supervisor: Supervisor, name: str, command: tuple[str, ...], *, secret: bool = False) -> str:
    ended = supervisor.run_logged(name, command, keep_output=secret)
    if ended.returncode != 0:
        raise Failed(f"{name} ended with exit code {ended.returncode}\n{supervisor.tail(name)}")
    return ended.output


def workers() -> list[Program]:
    def worker(queue: str, concurrency: str, grace_seconds: float) -> Program:
        return Program(
            name=f"worker-{queue}",
            command=(
                *_CELERY,
                "worker",
                "-Q",
                queue,
                "-P",
                "threads",
                "-c",
                concurrency,
                "-n",
                f"{queue}@%h",
                *_QUIET_WORKER,
            ),
            grace_seconds=grace_seconds,
            tier=Tier.BURSAR,
        )

    beat = Program(name="beat", command=(*_CELERY, "beat", "--loglevel", "INFO"), tier=Tier.BURSAR)
    # A call under way is paid for: it gets time to come home before the worker is killed.
    return [worker("calls", "2", 60.0), worker("control", "4", 15.0), worker("batches", "2", 15.0), beat]


def _web(port: int, address: str, threads: int) -> Program:
    return Program(
        name="web",
        command=(
            *(sys.executable, "-m", "gunicorn", "config.wsgi", "--config", "python:config.embedded.web"),
            *("--bind", f"127.0.0.1:{port}", "--worker-class", "gthread", "--workers", "2"),
            # Each request that waits for an answer at /v1 has a thread.
            *("--threads", str(threads)),
            # Loaded once and then forked; no connection is opened before the first request.
            "--preload",
            # The control socket would be shared by every gunicorn of this user.
            *("--no-control-socket", "--access-logfile", "-", "--graceful-timeout", "10"),
        ),
        ready=lambda pid: answers(address),
        ready_seconds=120.0,  # a small machine that compiles everything for the first time
        grace_seconds=15.0,
        tier=Tier.BURSAR,
    )


def answers(address: str) -> bool:
    """Whether the web server at `address` says that it can serve."""
    for path in ("/readyz", "/healthz"):
        try:
            with urllib.request.urlopen(address + path, timeout=5) as response:  # noqa: S310  # http, ours
                return bool(response.status == 200)
        except urllib.error.HTTPError as answer:
            if answer.code != 404:
                return False
        except (OSError, ValueError):
            return False
    return False


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def _dotenv(file: Path) -> dict[str, str]:
    """The variables of a `.env`, read as django-environ does, so that both see the same."""
    found: dict[str, str] = {}
    for line in file.read_text().splitlines() if file.exists() else ():
        assignment = re.fullmatch(r"(?:export )?([A-Za-z_0-9]+)=(.*)", line)
        if assignment:
            name, value = assignment.groups()
            if re.fullmatch(r"'.*'", value):
                value = value[1:-1]
            elif re.fullmatch(r'".*"', value):
                value = re.sub(r"\\(.)", r"\1", value[1:-1])
            found[name] = value
    return found
