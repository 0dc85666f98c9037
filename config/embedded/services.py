"""The servers that Bursar needs and the environment does not name: which, where, under which password."""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from config.embedded import postgres, roles, valkey
from config.embedded.place import write_secret
from config.embedded.ports import free_port
from config.embedded.supervisor import Supervisor

_TEMPORARY_PREFIX = "bursar-ephemeral-"


@dataclass(frozen=True)
class Addresses:
    """Where the embedded servers listen, and the password of the broker; kept from one start to the next."""

    postgres_port: int
    valkey_port: int
    valkey_password: str


def start(
    supervisor: Supervisor, directory: Path, environment: Mapping[str, str], *, durable: bool, for_tests: bool = False
) -> dict[str, str]:
    """Start the servers that `environment` does not name and give back the variables that name them.

    Their data is in `directory`. `for_tests` lets Bursar make databases of its own, and empty the books. Raises
    NotReady, postgres.Refused or FileNotFoundError when one cannot be started.
    """
    names: dict[str, str] = {}
    addresses = _remembered(directory / "services.json")
    if not environment.get("DATABASE_URL"):
        database = postgres.prepare(directory / "postgres", addresses.postgres_port, durable=durable)
        supervisor.start(database.program)
        roles.make_ready(database, for_tests=for_tests)
        names["DATABASE_URL"] = database.url
    if not environment.get("REDIS_URL"):
        broker = valkey.prepare(directory / "valkey", addresses.valkey_port, addresses.valkey_password, durable=durable)
        supervisor.start(broker.program)
        names["REDIS_URL"] = broker.url
    return names


@contextlib.contextmanager
def ephemeral_directory() -> Iterator[Path]:
    """A directory that is gone afterwards; one whose owner was killed before it could is removed by the next."""
    _sweep()
    directory = Path(tempfile.mkdtemp(prefix=_TEMPORARY_PREFIX))
    # The user nobody may have to reach the folder of PostgreSQL inside; what is secret in here has its own mode.
    directory.chmod(0o711)
    held = os.open(directory, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(held)


def _sweep() -> None:
    for directory in Path(tempfile.gettempdir()).glob(f"{_TEMPORARY_PREFIX}*"):
        with contextlib.suppress(OSError):
            held = os.open(directory, os.O_RDONLY)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(directory, ignore_errors=True)
            finally:
                os.close(held)


def _remembered(file: Path) -> Addresses:
    """What `file` holds, with another port where the one of the last time is taken; random when there is no file."""
    try:
        kept = Addresses(**json.loads(file.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        kept = Addresses(free_port(), free_port(), secrets.token_urlsafe(24))
    addresses = replace(kept, postgres_port=free_port(kept.postgres_port), valkey_port=free_port(kept.valkey_port))
    write_secret(file, json.dumps(asdict(addresses)))
    return addresses
