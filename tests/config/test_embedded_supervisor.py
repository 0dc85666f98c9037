"""The supervisor as a process of its own, over small shell programs: it restarts, gives up, leaves nothing."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from config.embedded import ports
from config.embedded.place import Place
from config.embedded.processes import die_with_parent
from tests.config.waiting import until

CHECKOUT = Path(__file__).resolve().parent.parent.parent
SUPERVISE = """
import os, sys
from pathlib import Path
from config.embedded.processes import Program, Tier
from config.embedded.supervisor import GaveUp, Patience, Supervisor
supervisor = Supervisor(os.environ, Path("log"), Patience(0.05, 0.2, 5.0, 4))
try:
    for number, script in enumerate(sys.argv[1:]):
        tier = Tier(min(number, 3))
        supervisor.start(Program(f"fake-{number}", ("sh", "-c", script), tier=tier, grace_seconds=0.5))
    print("up", flush=True)
    supervisor.watch()
except GaveUp as problem:
    sys.exit(str(problem))
finally:
    supervisor.stop()
"""
# Notes its pid in its working directory's file, and when it was asked to stop.
SLEEPER = "cd {folder}; echo $$ >> {name}.pids; trap 'echo {name} >> stopped; exit 0' TERM; sleep 60 & wait"
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Start]:
    """Starts a supervisor over shell scripts and returns it once all of them run."""
    started: list[subprocess.Popen[str]] = []

    def start(*scripts: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISE, *scripts],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=die_with_parent,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def sleeper(folder: Path, name: str) -> str:
    return SLEEPER.format(folder=folder, name=name)


def pids(folder: Path, name: str, count: int = 1) -> list[int]:
    """The pids that a sleeper has noted, once there are `count`."""
    until(lambda: len(noted(folder / f"{name}.pids")) >= count)
    return [int(pid) for pid in noted(folder / f"{name}.pids")]


def noted(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


def lives(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("asked_by", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_everything_from_the_top_down(
    supervise: Start, tmp_path: Path, asked_by: signal.Signals
) -> None:
    supervisor = supervise(sleeper(tmp_path, "database"), sleeper(tmp_path, "broker"), sleeper(tmp_path, "web"))
    children = [*pids(tmp_path, "database"), *pids(tmp_path, "broker"), *pids(tmp_path, "web")]

    supervisor.send_signal(asked_by)

    assert supervisor.wait(10) == 0
    assert noted(tmp_path / "stopped") == ["web", "broker", "database"]
    assert not any(lives(pid) for pid in children)


def test_a_killed_supervisor_leaves_no_process(supervise: Start, tmp_path: Path) -> None:
    deaf = "echo $$ >> {}; trap '' TERM INT HUP; exec sleep 60"
    supervisor = supervise(deaf.format(tmp_path / "a.pids"), deaf.format(tmp_path / "b.pids"))
    children = [*pids(tmp_path, "a"), *pids(tmp_path, "b")]
    assert all(lives(pid) for pid in children)

    supervisor.kill()

    until(lambda: not any(lives(pid) for pid in children))


def test_one_that_ignores_the_request_is_killed_with_its_own_children(supervise: Start, tmp_path: Path) -> None:
    stubborn = f"trap '' TERM; sleep 60 & echo $! >> {tmp_path}/child.pids; echo $$ >> {tmp_path}/stubborn.pids; wait"
    supervisor = supervise(stubborn)
    children = [*pids(tmp_path, "stubborn"), *pids(tmp_path, "child")]

    supervisor.terminate()

    assert supervisor.wait(10) == 0
    until(lambda: not any(lives(pid) for pid in children))
    assert "fake-0 is killed" in supervisor.communicate()[0]


def test_a_dead_child_is_started_again_and_said(supervise: Start, tmp_path: Path) -> None:
    supervisor = supervise(sleeper(tmp_path, "a"), sleeper(tmp_path, "b"))
    [first] = pids(tmp_path, "a")
    [other] = pids(tmp_path, "b")

    os.kill(first, signal.SIGKILL)

    second = pids(tmp_path, "a", count=2)[1]
    assert second != first
    assert lives(second)
    assert lives(other)
    supervisor.terminate()
    assert "fake-0 was killed by SIGKILL after" in supervisor.communicate()[0]


def test_it_gives_up_on_one_that_crashes_at_every_start(supervise: Start, tmp_path: Path) -> None:
    supervisor = supervise(sleeper(tmp_path, "a"), f"echo x >> {tmp_path}/crash.pids; echo no such table; exit 9")
    [healthy] = pids(tmp_path, "a")

    said, _ = supervisor.communicate(timeout=10)

    assert supervisor.returncode == 1
    assert noted(tmp_path / "crash.pids") == ["x"] * 4
    assert "fake-1 ended with exit code 9, 4 times in a row: giving up" in said
    assert "| no such table" in said
    assert not lives(healthy)


# --- The commands -----------------------------------------------------------------------------------------------------
def command(name: str, var: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("BURSAR_", "OPENAI_"))}
    return subprocess.run(
        [sys.executable, "-m", "config.embedded", name],
        cwd=CHECKOUT,
        env={**inherited, "BURSAR_VAR_DIR": str(var), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", ["up", "demo"])
def test_a_taken_port_is_named_with_its_holder_before_anything_starts(tmp_path: Path, name: str) -> None:
    port = ports.free_port()
    holder = (
        "import socket,sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); print('', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        refused = command(name, tmp_path, {"BURSAR_PORT": str(port)})
        other.kill()

    assert refused.returncode == 4
    assert f"port {port} is taken by pid {other.pid}" in refused.stderr
    assert f"BURSAR_PORT={port + 1}" in refused.stderr
    assert {entry.name for entry in tmp_path.iterdir()} == {"lock"}


@pytest.mark.parametrize("name", ["up", "demo", "clean"])
def test_a_second_copy_names_the_first(tmp_path: Path, name: str) -> None:
    with Place(tmp_path).held():
        refused = command(name, tmp_path, {})

    assert refused.returncode == 3
    assert f"another copy is running (pid {os.getpid()})" in refused.stderr
    assert (tmp_path / "lock").exists()
