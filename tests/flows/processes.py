"""Real Celery workers, as processes of their own, on the database of the test."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from celery import current_app
from django.db import connection

from config.simulator.running import RunningSimulator

CHECKOUT = Path(__file__).resolve().parents[2]


def environment(simulator: RunningSimulator, **more: str) -> dict[str, str]:
    """What a worker needs to find this test's database, broker and provider."""
    own = connection.settings_dict
    return {
        **os.environ,
        "DATABASE_URL": f"postgres://{own['USER']}:{own['PASSWORD']}@{own['HOST']}:{own['PORT']}/{own['NAME']}",
        "OPENAI_BASE_URL": simulator.base_url,
        "OPENAI_API_KEY": "sk-simulator",
        "BURSAR_SIMULATOR": "1",
        "BURSAR_PROVIDER_SERVES_SHUT_DOWN_MODELS": "1",
        **more,
    }


@contextmanager
def worker(
    queue: str, simulator: RunningSimulator, *, slots: int = 16, **more: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """A Celery worker that listens when this returns, and is killed at the end, if it is still there."""
    name = f"{queue}-{time.time_ns()}@test"
    command = [sys.executable, "-m", "celery", "-A", "config.celery", "worker", "-Q", queue, "-P", "threads"]
    command += ["-c", "2", "-n", name, "--without-gossip", "--without-mingle"]
    command += ["--loglevel", "WARNING"]
    process = subprocess.Popen(command, cwd=CHECKOUT, env=environment(simulator, BURSAR_CALL_SLOTS=str(slots), **more))
    try:
        eventually(lambda: _listens(name))
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()


def _listens(name: str) -> bool:
    try:
        return bool(current_app.control.ping(destination=[name], timeout=0.5))
    except redis.ConnectionError:
        return False  # one of this process's connections, which an earlier test killed


def eventually(holds: Callable[[], bool], *, seconds: float = 60.0) -> None:
    """Waits until something holds; fails when it does not in time."""
    give_up_at = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up_at, "did not come to hold in time"
        time.sleep(0.1)
