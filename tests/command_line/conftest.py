"""The command line as a process of its own, against the real API on a port of its own."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conftest import Tenant
from tests.flows.conftest import _fresh_limiter, path, simulator, simulator_process, slots  # noqa: F401

CHECKOUT = Path(__file__).resolve().parent.parent.parent
COMMAND = [sys.executable, "-m", "config.command_line.main"]
# What a process needs to run, and nothing of what the tests have been told.
KEPT = ("PATH", "LANG", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


@dataclass
class Shell:
    """Where commands are typed: a folder, an environment, and a home without logins."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    begun: "list[subprocess.Popen[str]]" = field(default_factory=list)

    def all_of(self, more: dict[str, str]) -> dict[str, str]:
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        home = {"HOME": str(self.folder), "PYTHONPATH": str(CHECKOUT)}
        return {**kept, **home, **self.environment, **more}

    def begin(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=self.all_of(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.begun.append(process)
        return process

    def end(self) -> None:
        """Ends what a test has left running."""
        for process in self.begun:
            with process:
                process.kill()

    def __call__(self, *arguments: str, stdin: str = "", **environment: str) -> Done:
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=self.all_of(environment),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session", autouse=True)
def _hears_interrupts() -> None:
    """Whoever starts the tests in the background has Ctrl-C ignored, and with them whatever they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def nowhere(tmp_path: Path) -> Shell:
    """A shell that knows of no server."""
    return Shell(tmp_path)


@pytest.fixture
def shell(tmp_path: Path, live_server, alice: Tenant) -> Iterator[Shell]:
    """A shell with the key of Alice's project."""
    shell = Shell(tmp_path, {"BURSAR_URL": live_server.url, "BURSAR_API_KEY": alice.api_key.secret})
    yield shell
    shell.end()


@dataclass
class Proxy:
    """Stands between the command and Bursar, and does what networks do.

    `faults` are spent one for each request: "503" and "429" are answered without asking Bursar, "lost" asks Bursar and
    drops its answer, "dropped" drops the connection without asking.
    """

    url: str
    faults: list[str] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)


@pytest.fixture
def proxy(live_server) -> Iterator[Proxy]:
    target = urlsplit(live_server.url)

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.asked.append((self.command, self.path))
            fault = seen.faults.pop(0) if seen.faults else ""
            if fault in {"503", "429"}:
                self.send_response(int(fault))
                self.send_header("Retry-After", "0")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if fault != "dropped":
                status, headers, answer = forward(self.command, self.path, dict(self.headers), body)
            if fault in {"dropped", "lost"}:
                self.close_connection = True
                return
            self.send_response(status)
            for name in ("Content-Type", "Retry-After"):
                if name in headers:
                    self.send_header(name, headers[name])
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PATCH = do_DELETE = do

        def log_message(self, *arguments: Any) -> None:
            """Nothing: what was asked is noted above."""

    def forward(method: str, there: str, headers: dict[str, str], body: bytes) -> tuple[int, Any, bytes]:
        connection = HTTPConnection(str(target.netloc), timeout=30)
        try:
            connection.request(method, there, body or None, headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    seen = Proxy(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield seen
    server.shutdown()
    server.server_close()
    thread.join()


def finish(process: "subprocess.Popen[str]", path: Any = None, *, seconds: float = 60) -> Done:  # noqa: F811
    """What a command came to; what it submits is run meanwhile."""
    give_up_at = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < give_up_at:
        if path is not None:
            path.run()
        time.sleep(0.05)
    if process.poll() is None:
        process.kill()
    out, err = process.communicate()
    return Done(process.returncode, out, err)
