"""PostgreSQL and Valkey from their wheels, started for real."""

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from config.embedded import postgres, processes, roles
from config.embedded.ports import free_port
from config.embedded.processes import Identity, die_with_parent
from tests.config.waiting import until

CHECKOUT = Path(__file__).resolve().parent.parent.parent
SERVE = """
import json, os, sys
from pathlib import Path
from config.embedded import services
from config.embedded.supervisor import Supervisor
directory = Path(sys.argv[1])
supervisor = Supervisor(os.environ, directory / "log")
try:
    print(json.dumps(services.start(supervisor, directory, {}, durable=True)), flush=True)
    supervisor.watch()
finally:
    supervisor.stop()
"""


def start(*arguments: str, temporary: Path | None = None) -> subprocess.Popen[str]:
    """A process that serves both servers, in an environment that names neither."""
    environment = {k: v for k, v in os.environ.items() if k not in {"DATABASE_URL", "REDIS_URL"}}
    if temporary is not None:
        environment["TMPDIR"] = str(temporary)
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=CHECKOUT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent,
    )


def addresses(process: subprocess.Popen[str]) -> dict[str, str]:
    assert process.stdout is not None
    named: dict[str, str] = json.loads(process.stdout.readline())
    return named


def servers_in(directory: Path) -> list[str]:
    """The processes that work on `directory` or below."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve(strict=True).is_relative_to(directory):
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return found


def test_committed_data_survives_a_kill_of_the_supervisor(tmp_path: Path) -> None:
    first = start("-c", SERVE, str(tmp_path))
    before = addresses(first)
    with psycopg.connect(before["DATABASE_URL"]) as connection:
        connection.execute("CREATE TABLE kept (word text)")
        connection.execute("INSERT INTO kept VALUES ('committed')")
    with redis.Redis.from_url(before["REDIS_URL"]) as client:
        client.set("word", "kept")
    first.kill()
    first.communicate()

    # At once, while the servers of the first may still be on their way out.
    second = start("-c", SERVE, str(tmp_path))
    after = addresses(second)
    with psycopg.connect(after["DATABASE_URL"]) as connection:
        assert connection.execute("SELECT word FROM kept").fetchall() == [("committed",)]
        assert connection.execute("SHOW fsync").fetchone() == ("on",)
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)
    with redis.Redis.from_url(after["REDIS_URL"]) as client:
        assert client.get("word") == b"kept"
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}

    second.send_signal(signal.SIGTERM)
    second.communicate(timeout=20)
    assert second.returncode == 0
    assert servers_in(tmp_path) == []
    assert oct((tmp_path / "services.json").stat().st_mode & 0o777) == "0o600"


def test_a_server_that_is_killed_comes_back_with_its_data(tmp_path: Path) -> None:
    serving = start("-c", SERVE, str(tmp_path))
    url = addresses(serving)["DATABASE_URL"]
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 'committed' AS word")
    pid = int((tmp_path / "postgres" / "postmaster.pid").read_text().split()[0])

    os.kill(pid, signal.SIGKILL)

    def is_back() -> bool:
        try:
            with psycopg.connect(url, connect_timeout=2) as connection:
                return connection.execute("SELECT word FROM kept").fetchall() == [("committed",)]
        except psycopg.OperationalError:
            return False

    until(is_back, 20.0)
    serving.terminate()
    serving.communicate(timeout=20)


def test_ephemeral_servers_leave_nothing_when_their_user_ends(tmp_path: Path) -> None:
    serving = start("-m", "config.embedded", "services", "--json", temporary=tmp_path)
    named = addresses(serving)
    with psycopg.connect(named["DATABASE_URL"]) as connection:
        assert connection.execute("SHOW fsync").fetchone() == ("off",)
    assert len(list(tmp_path.iterdir())) == 1
    assert servers_in(tmp_path) != []

    serving.communicate(timeout=20)  # closes its standard input, as the end of pytest does

    assert list(tmp_path.iterdir()) == []
    assert servers_in(tmp_path) == []


def test_killed_ephemeral_servers_are_cleared_away_by_the_next(tmp_path: Path) -> None:
    killed = start("-m", "config.embedded", "services", "--json", temporary=tmp_path)
    addresses(killed)
    left = list(tmp_path.iterdir())
    assert len(left) == 1
    killed.kill()
    killed.communicate()
    until(lambda: servers_in(tmp_path) == [])

    following = start("-m", "config.embedded", "services", "--json", temporary=tmp_path)
    addresses(following)

    assert not left[0].exists()
    following.communicate(timeout=20)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory that every user can reach, which those of pytest are not."""
    directory = Path(tempfile.mkdtemp(prefix="bursar-test-", dir="/tmp"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a choice of whom to run PostgreSQL as")
@pytest.mark.parametrize("identity", [Identity.NAMESPACE, Identity.NOBODY])
def test_root_runs_the_database_as_somebody_else(reachable: Path, identity: Identity) -> None:
    if identity is Identity.NAMESPACE and not namespaces_work():
        pytest.skip("no user namespaces here")
    server = postgres.prepare(reachable / "postgres", free_port(), durable=False, identity=identity)
    program = server.program
    running = processes.start(
        program.command,
        environment={**os.environ, **program.environment},
        output=subprocess.DEVNULL,
        death_signal=program.death_signal,
        identity=identity,
    )
    try:
        processes.wait_until_ready(program, running)
        roles.make_ready(server)
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT uuidv7() IS NOT NULL").fetchone() == (True,)
    finally:
        ended_by_itself = processes.end(running, program.stop_signal, program.grace_seconds)
    assert ended_by_itself
    assert (reachable / "postgres").stat().st_uid == (
        pwd.getpwnam("nobody").pw_uid if identity is Identity.NOBODY else 0
    )


def namespaces_work() -> bool:
    try:
        started = processes.start(["true"], environment=os.environ, identity=Identity.NAMESPACE)
    except (OSError, subprocess.SubprocessError):
        return False
    return started.wait() == 0
