"""Starting and stopping one process so that it cannot outlive the one that started it."""

import contextlib
import ctypes
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from pathlib import Path
from typing import IO

CHECKOUT = Path(__file__).resolve().parent.parent.parent
LINUX = sys.platform == "linux"
# Looked up now: between fork and exec only what is already loaded may be called.
_libc = ctypes.CDLL(None, use_errno=True) if LINUX else None
_PR_SET_PDEATHSIG = 1
_CLONE_NEWUSER = 0x10000000
NOBODY_ID = 65534


class Identity(Enum):
    """As whom a process runs. PostgreSQL refuses to run as root, so root has two ways around it."""

    SELF = "this user"
    NAMESPACE = "an unprivileged user in a namespace of its own"  # files still belong to root outside of it
    NOBODY = "the user nobody"  # where user namespaces are forbidden, as in Docker


class Tier(IntEnum):
    """What is stopped together; the higher rest on the lower and are stopped before them."""

    DATABASE = 0
    BROKER = 1
    PROVIDER = 2
    BURSAR = 3


class NotReady(Exception):
    """A process ended, or did not answer in time, while it was being started. The text says which and why."""


@dataclass(frozen=True)
class Program:
    """One process of the service and how it is started, recognised as ready, and stopped."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)  # on top of the supervisor's own
    ready: Callable[[int], bool] | None = None  # gets the pid; None: ready as soon as it runs
    ready_seconds: float = 30.0
    stop_signal: signal.Signals = signal.SIGTERM
    grace_seconds: float = 10.0  # between the stop signal and SIGKILL
    death_signal: signal.Signals = signal.SIGKILL  # what the kernel sends it when the supervisor is killed
    identity: Identity = Identity.SELF
    tier: Tier = Tier.BURSAR


def die_with_parent(death_signal: signal.Signals = signal.SIGKILL, parent: int | None = None) -> None:
    """Ask the kernel to send this process `death_signal` when the thread that started it ends; nothing outside Linux.

    With `parent`, a process whose parent has ended already ends at once.
    """
    if _libc is None:
        return
    _libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def _enter_user_namespace() -> None:
    """Make the calling process an ordinary user in its own eyes; files it makes still belong to the user it was.

    Done here and not by unshare(1), so that the pid and the death signal are those of the server itself.
    """
    user, group = os.geteuid(), os.getegid()
    if _libc is None or _libc.unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "user namespaces are not available")
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{NOBODY_ID} {user} 1"),
        ("gid_map", f"{NOBODY_ID} {group} 1"),
    ):
        handle = os.open(f"/proc/self/{name}", os.O_WRONLY)
        os.write(handle, text.encode())
        os.close(handle)


def start(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    output: IO[bytes] | int | None = None,
    errors: IO[bytes] | int | None = subprocess.STDOUT,
    death_signal: signal.Signals = signal.SIGKILL,
    identity: Identity = Identity.SELF,
    directory: Path = CHECKOUT,
    own_session: bool = True,
) -> subprocess.Popen[bytes]:
    """Start `command` and give it back running; call it from the main thread, to which its life is tied.

    Without `output` it writes to our own. It gets a session of its own unless told otherwise, so that Ctrl-C reaches
    the supervisor alone and processes can be stopped in order.
    Raises OSError or subprocess.SubprocessError when it cannot be started.
    """
    parent = os.getpid()

    def before_exec() -> None:
        if identity is Identity.NAMESPACE:
            _enter_user_namespace()
        # Last: a change of user clears the death signal.
        die_with_parent(death_signal, parent)

    nobody = pwd.getpwnam("nobody") if identity is Identity.NOBODY else None
    return subprocess.Popen(
        list(command),
        env=dict(environment),
        cwd=directory,
        stdin=subprocess.DEVNULL if own_session else None,
        stdout=output,
        stderr=errors if output is not None else None,
        start_new_session=own_session,
        preexec_fn=before_exec,
        user=nobody.pw_uid if nobody else None,
        group=nobody.pw_gid if nobody else None,
        extra_groups=[] if nobody else None,
    )


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill whatever is left of the session of `process`, itself included."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def end(process: subprocess.Popen[bytes], stop_signal: signal.Signals, grace_seconds: float) -> bool:
    """Stop `process` and its children; True when it went by itself, False when it had to be killed."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(stop_signal)
    try:
        process.wait(grace_seconds)
        return True
    except subprocess.TimeoutExpired:
        return False
    finally:
        kill_group(process)
        process.wait()


def wait_until_ready(
    program: Program, process: subprocess.Popen[bytes], pause: Callable[[float], None] = time.sleep
) -> None:
    """Return when `program` answers. Raises NotReady when it ends or takes longer than its `ready_seconds`."""
    deadline = time.monotonic() + program.ready_seconds
    while program.ready is not None and not program.ready(process.pid):
        if process.poll() is not None:
            raise NotReady(f"{program.name} {how_it_ended(process.returncode)} while starting")
        if time.monotonic() > deadline:
            raise NotReady(f"{program.name} did not answer within {program.ready_seconds:.0f} s")
        pause(0.02)


def how_it_ended(returncode: int) -> str:
    """A returncode of subprocess in words."""
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    try:
        return f"was killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"was killed by signal {-returncode}"
