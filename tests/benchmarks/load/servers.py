"""PostgreSQL and Valkey with durable settings, for load alone: their time is measured, and Valkey is taken down."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from config.embedded import postgres, processes, roles, services, valkey
from config.embedded.ports import free_port
from config.embedded.processes import CHECKOUT, Program

SECRET_KEY = "a secret of the benchmarks, long enough for every use that is made of it"


class Servers:
    """Both servers while they run, and a migrated database to copy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._postgres = postgres.prepare(folder / "postgres", free_port(), durable=True)
        self._valkey = valkey.prepare(folder / "valkey", free_port(), "benchmarks", durable=True)
        self._databases = 0

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
        with psycopg.connect(self._postgres.administrator_url, autocommit=True) as connection:
            template, owner = sql.Identifier(postgres.DATABASE), sql.Identifier(postgres.USER)
            create = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}")
            connection.execute(create.format(sql.Identifier(name), template, owner))
            try:
                yield f"{self._postgres.url.rpartition('/')[0]}/{name}"
            finally:
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    # --- Taking Valkey down -------------------------------------------------------------------------------------------
    def stop_valkey_for_now(self) -> None:
        self._running["valkey"].send_signal(signal.SIGSTOP)

    def let_valkey_go_on(self) -> None:
        self._running["valkey"].send_signal(signal.SIGCONT)

    def restart_valkey(self) -> None:
        """Kills it and starts it on what it has on disk."""
        processes.end(self._running.pop("valkey"), signal.SIGKILL, 10.0)
        self._start(self._valkey.program)

    def _start(self, program: Program) -> None:
        with (self.folder / f"{program.name}.log").open("ab") as log:
            process = processes.start(
                program.command,
                environment={**os.environ, **program.environment},
                output=log,
                death_signal=program.death_signal,
                identity=program.identity,
            )
        self._running[program.name] = process
        processes.wait_until_ready(program, process)


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
