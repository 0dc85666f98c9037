"""A PostgreSQL server of the test's own, which can be killed and started again, and a web process on it."""

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config.embedded import postgres, processes, roles
from config.embedded.ports import free_port
from tests.config.waiting import until

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass
class Server:
    """The server in a directory, which outlives it."""

    directory: Path
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None
    url: str = ""

    def start(self) -> None:
        made = postgres.prepare(self.directory / "postgres", self.port, durable=False)
        program = made.program
        with (self.directory / "postgres.log").open("ab") as log:
            self.process = processes.start(
                program.command,
                environment={**os.environ, **program.environment},
                output=log,
                identity=program.identity,
            )
        processes.wait_until_ready(program, self.process)
        if not self.url:
            roles.make_ready(made)
        self.url = made.url

    def kill(self) -> None:
        """As `kill -9` of all of it: nothing is said to anybody."""
        if self.process is not None:
            processes.kill_group(self.process)
            self.process.wait()
            self.process = None


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def problem(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Web:
    """A gunicorn of one process, and the key that its API takes."""

    port: int
    key: str

    def ask(self, method: str, path: str, body: Any = None, cookie: str = "") -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json", "Cookie": cookie}
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read().decode())
        finally:
            connection.close()


def environment(server: Server, **more: str) -> dict[str, str]:
    return {**os.environ, "DATABASE_URL": server.url, "BURSAR_VAR_DIR": str(server.directory), **more}


# In one process, because starting one takes as long as the work.
_PREPARE = """
import django
from django.core.management import call_command
django.setup()
call_command("migrate", "--no-input", verbosity=0)
call_command("bootstrap", "--json")
"""


def prepare(server: Server) -> str:
    """Makes Bursar's tables and an organization; the secret of its API key."""
    ended = subprocess.run(
        [sys.executable, "-c", _PREPARE],
        cwd=CHECKOUT,
        env=environment(server),
        capture_output=True,
        check=False,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    return str(json.loads(ended.stdout)["api_key"])


@contextmanager
def web(server: Server, key: str, *, threads: int = 8) -> Iterator[Web]:
    """Bursar's web process on this server."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "config.wsgi", "--bind", f"127.0.0.1:{port}", "--no-control-socket"]
    command += ["--worker-class", "gthread", "--threads", str(threads), "--log-level", "warning"]
    with (server.directory / "web.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=CHECKOUT, env=environment(server), stdout=log, stderr=log)
    try:
        until(lambda: listens(port), seconds=180)
        yield Web(port, key)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        finally:
            process.kill()
            process.wait()


def listens(port: int) -> bool:
    try:
        return Web(port, "").ask("GET", "/healthz").status == 200
    except OSError:
        return False
