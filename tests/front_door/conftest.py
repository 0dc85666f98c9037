"""The front door as programs of the provider use it: the official client, a real web process, and work behind it."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest
from django.db import connection

from config.embedded.ports import free_port
from config.simulator.running import RunningSimulator
from jobs import dispatch, execution
from jobs.background import looking
from jobs.models import Attempt
from tests.config.outage import listens
from tests.config.waiting import until
from tests.conftest import Tenant
from tests.flows.conftest import LONG_AGO, _fresh_limiter, simulator, simulator_process, slots  # noqa: F401
from tests.flows.processes import CHECKOUT, environment

# Signs of life come soon, so that no test waits long for one.
KEEPALIVE_SECONDS = 2.0


@dataclass(frozen=True)
class Door:
    """A web process, at the address that clients take for the provider's."""

    port: int
    process: "subprocess.Popen[bytes]" = field(repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"


def start_door(provider: RunningSimulator, **more: str) -> Door:
    """A gunicorn of one process on the database of the tests, which answers when this returns."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "config.wsgi", "--bind", f"127.0.0.1:{port}", "--no-control-socket"]
    command += ["--worker-class", "gthread", "--threads", more.get("BURSAR_WEB_THREADS", "120")]
    command += ["--log-level", "warning"]
    own = {"BURSAR_KEEPALIVE_SECONDS": str(KEEPALIVE_SECONDS), "BURSAR_WEB_THREADS": "120", "BURSAR_BACKGROUND": "on"}
    named = environment(provider, **{**own, **more})
    process = subprocess.Popen(command, cwd=CHECKOUT, env=named, start_new_session=True)
    until(lambda: listens(port), seconds=180)
    return Door(port, process)


def stop_door(door: Door) -> None:
    """As `kill -9` of all of it."""
    os.killpg(door.process.pid, signal.SIGKILL)
    door.process.wait()


@pytest.fixture(scope="session")
def web(simulator_process, django_db_setup) -> Iterator[Door]:  # noqa: F811
    door = start_door(simulator_process)
    yield door
    stop_door(door)


class Engine:
    """Does in threads of the tests what dispatchers and workers do: everything that may start is called."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._calls = ThreadPoolExecutor(32)
        self._sent: set[Any] = set()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._calls.shutdown()

    def _run(self) -> None:
        try:
            while not self._stop.wait(0.05):
                dispatch.dispatch()
                for attempt in Attempt.objects.filter(status="created"):
                    if attempt.pk not in self._sent:
                        self._sent.add(attempt.pk)
                        self._calls.submit(self._call, attempt.pk)
                if Attempt.objects.filter(status="accepted").update(look_at=LONG_AGO):
                    looking.look()
        finally:
            connection.close()

    def _call(self, attempt_id: Any) -> None:
        try:
            execution.execute(attempt_id, worker="tests")
        finally:
            connection.close()


@pytest.fixture
def idle_engine(transactional_db, simulator, slots, monkeypatch) -> Iterator[Engine]:  # noqa: F811
    """Nothing starts until the test starts it."""
    monkeypatch.setattr(dispatch, "send", lambda attempt_ids: None)
    engine = Engine()
    yield engine
    engine.stop()
    simulator.set_latency(0.0)


@pytest.fixture
def engine(idle_engine: Engine) -> Engine:
    idle_engine.start()
    return idle_engine


@pytest.fixture
def official(web: Door, alice: Tenant) -> Iterator[openai.OpenAI]:
    """The official client, with nothing set but address and key."""
    with openai.OpenAI(base_url=web.base_url, api_key=alice.api_key.secret) as client:
        yield client


def ask(client: Any, model: str = "o1-mini", prompt: str = "hello", **more: Any) -> Any:
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": prompt}], **more)


class Connection(http.client.HTTPConnection):
    """One on which a request was sent; closed with everything that was read of it."""

    def __init__(self, web: Door):
        super().__init__("127.0.0.1", web.port, timeout=60)
        self._answers: list[http.client.HTTPResponse] = []
        _open_connections.append(self)

    def getresponse(self) -> http.client.HTTPResponse:
        self._answers.append(super().getresponse())
        return self._answers[-1]

    def close(self) -> None:
        super().close()
        for answer in getattr(self, "_answers", ()):
            answer.close()


_open_connections: list[Connection] = []


@pytest.fixture(autouse=True)
def _connections_are_closed() -> Iterator[None]:
    yield
    while _open_connections:
        _open_connections.pop().close()


BODY = json.dumps({"model": "o1-mini", "messages": [{"role": "user", "content": "hello"}]})


def send(web: Door, tenant: Tenant, *, body: str = BODY, **headers: str) -> Connection:
    """A connection on which the request was sent, and nothing read."""
    connection = Connection(web)
    own = {"Authorization": f"Bearer {tenant.api_key.secret}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", body, {**own, **headers})
    return connection


def eventually(holds: Any, *, seconds: float = 20.0) -> None:
    give_up_at = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up_at, "did not come to hold in time"
        time.sleep(0.05)
