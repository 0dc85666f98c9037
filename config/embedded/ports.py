"""Ports on this machine: which is free, and who holds one that is not."""

import contextlib
import os
import random
import socket
from pathlib import Path

# Below the range that kernels hand out for outgoing connections, so that a port kept for the next start stays free.
_RANGE = range(20_000, 32_000)


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        # As servers do: without it, connections of an earlier run that linger would count as taken.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(1)
        except OSError:
            return False
    return True


def free_port(preferred: int | None = None) -> int:
    """`preferred` when it is free, else a random free port. Raises OSError when a hundred tries found none."""
    if preferred is not None and is_free(preferred):
        return preferred
    for _ in range(100):
        port = random.choice(_RANGE)  # noqa: S311  # spread, not secrecy
        if is_free(port):
            return port
    raise OSError("no free port found on 127.0.0.1")


def holder(port: int) -> str | None:
    """Who listens on `port`, as "pid 123 (gunicorn)"; None where that cannot be found out."""
    sockets = _listening_sockets(port)
    for process in Path("/proc").glob("[0-9]*") if sockets else ():
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                if os.readlink(descriptor) in sockets:
                    return f"pid {process.name} ({(process / 'comm').read_text().strip()})"
    return None


def _listening_sockets(port: int) -> set[str]:
    listening = "0A"
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == listening and int(columns[1].rsplit(":", 1)[1], 16) == port:
                    found.add(f"socket:[{columns[9]}]")
    return found
