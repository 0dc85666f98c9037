"""PostgreSQL and Valkey with durable settings, for load alone: their time is measured, and they are taken down."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from psycopg import sql

from config.embedded import postgres, processes, roles, services, valkey
from config.embedded.ports import free_port
from config.embedded.processes import CHECKOUT, Program
from tests.benchmarks.load import processor

SECRET_KEY = "a secret of the benchmarks, long enough for every use that is made of it"


class Servers:
    """Both servers while they run, and a migrated database to copy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._postgres_port = free_port()
        self._postgres = self._prepare_postgres()
        self._valkey = valkey.prepare(folder / "valkey", free_port(), "benchmarks", durable=True)
        self._databases = 0
        self._killed_at: dict[str, float] = {}  # on the monotonic clock

    @property
    def redis_url(self) -> str:
        return self._valkey.url

    @property
    def pids(self) -> dict[str, int]:
        return {name: process.pid for name, process in self._running.items()}

    def start(self) -> None:
        self._start(self._postgres.program)
        roles.make_ready(self._postgres)
        self._start(self._valkey.program)
        environment = {
            **os.environ,
            "DATABASE_URL": self._postgres.url,
            "REDIS_URL": self.redis_url,
            "BURSAR_SECRET_KEY": SECRET_KEY,
        }
        migrate = [sys.executable, "manage.py", "migrate", "--no-input", "--verbosity", "0"]
        subprocess.run(migrate, cwd=CHECKOUT, env=environment, check=True)

    def stop(self) -> None:
        for program in (self._valkey.program, self._postgres.program):
            if program.name in self._running:
                processes.end(self._running.pop(program.name), program.stop_signal, program.grace_seconds)

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a migrated database that nobody has used; Redis is empty as well."""
        self._databases += 1
        name = f"load{self._databases}"
        owner, template = sql.Identifier(postgres.USER), sql.Identifier(postgres.DATABASE)
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}")
        self._administer(create.format(sql.Identifier(name), template, owner))
        try:
            yield f"{self._postgres.url.rpartition('/')[0]}/{name}"
        finally:
            self._administer(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _administer(self, statement: sql.Composed) -> None:
        with psycopg.connect(self._postgres.administrator_url, autocommit=True) as connection:
            connection.execute(statement)

    # --- Taking Valkey down -------------------------------------------------------------------------------------------
    def stop_valkey_for_now(self) -> None:
        self._running["valkey"].send_signal(signal.SIGSTOP)

    def let_valkey_go_on(self) -> None:
        self._running["valkey"].send_signal(signal.SIGCONT)

    def restart_valkey(self) -> None:
        """Kills it and starts it on what it has on disk."""
        processes.end(self._running.pop("valkey"), signal.SIGKILL, 10.0)
        self._start(self._valkey.program)

    # --- Killing either, for a supervisor to start it again -----------------------------------------------------------
    def kill(self, name: str) -> None:
        """Kills a server with all its processes at once."""
        process = self._running.pop(name)
        # Those that serve connections of PostgreSQL have sessions of their own, and would live on for a while.
        for pid in processor.family(process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        self._killed_at[name] = time.monotonic()

    def keep_up(self, *, after_seconds: float) -> None:
        """Starts a server again that was killed so long ago; does not wait until it is ready."""
        due = [name for name, at in self._killed_at.items() if time.monotonic() - at >= after_seconds]
        for name in due:
            del self._killed_at[name]
            if name == self._postgres.program.name:
                self._postgres = self._prepare_postgres()  # forgets the note of the dead one
            self._begin(self._postgres.program if name == self._postgres.program.name else self._valkey.program)

    def _prepare_postgres(self) -> postgres.Server:
        return postgres.prepare(self.folder / "postgres", self._postgres_port, durable=True)

    def _start(self, program: Program) -> None:
        processes.wait_until_ready(program, self._begin(program))

    def _begin(self, program: Program) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{program.name}.log").open("ab") as log:
            process = processes.start(
                program.command,
                environment={**os.environ, **program.environment},
                output=log,
                death_signal=program.death_signal,
                identity=program.identity,
            )
        self._running[program.name] = process
        return process


@contextmanager
def running() -> Iterator[Servers]:
    with services.ephemeral_directory() as folder:
        servers = Servers(folder)
        try:
            servers.start()
            yield servers
        finally:
            servers.stop()
            shutil.rmtree(postgres.reachable_directory(folder / "postgres").parent, ignore_errors=True)
