"""The folder that a running Bursar keeps its data in, and who may use it."""

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from config.embedded.processes import CHECKOUT


@dataclass(frozen=True)
class Running:
    """The copy that is running: which process, where its web server answers, and what its processes were told."""

    pid: int
    address: str  # http://127.0.0.1:8000
    environment: Mapping[str, str]  # what another process needs to work on the same data, secrets included


class Taken(Exception):
    """Another copy runs on this folder. `pid` is its supervisor's, None when it did not say."""

    def __init__(self, pid: int | None) -> None:
        super().__init__(f"another copy is running{f' (pid {pid})' if pid else ''}")
        self.pid = pid


@dataclass(frozen=True)
class Place:
    """`var/` of a checkout, or `BURSAR_VAR_DIR`."""

    path: Path

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Place":
        return cls(Path(environment.get("BURSAR_VAR_DIR") or CHECKOUT / "var").resolve())

    @property
    def logs(self) -> Path:
        return self.path / "log"

    @property
    def credentials(self) -> Path:
        return self.path / "credentials.json"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other copy out. Raises Taken, or PermissionError when the folder is another user's.

        The kernel lets go of the lock when this process ends, however it does.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                said = os.read(handle, 20).strip()
                raise Taken(int(said) if said.isdigit() else None) from None
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
            self._forget()
            yield
            self._forget()
        finally:
            os.close(handle)

    def secret_key(self) -> str:
        """The key that signs sessions and encrypts stored secrets: random, made once."""
        file = self.path / "secret-key"
        if not file.exists():
            write_secret(file, secrets.token_urlsafe(64))
        return file.read_text().strip()

    def announce(self, running: Running) -> None:
        """Let others of this user find the running copy."""
        write_secret(self._announcement, json.dumps(asdict(running)))

    def running(self) -> Running | None:
        """What `announce` said, None when nothing has."""
        try:
            return Running(**json.loads(self._announcement.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def _forget(self) -> None:
        self._announcement.unlink(missing_ok=True)

    @property
    def _announcement(self) -> Path:
        return self.path / "run.json"


def write_secret(file: Path, text: str) -> None:
    """Write `text` so that nobody else can read it and a crash leaves the old file or the new one, whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"{file.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    unfinished.replace(file)
