"""A path of ours against the very same statements, sent by PostgreSQL's own pgbench.

What the path sends is listened to, statement by statement, and rolled back; then pgbench sends it all again.
"""

import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from django.db import connection, transaction

from config.embedded.postgres import binaries
from tests.benchmarks.processor import microseconds

REPEATS = 3


def measure(
    report: Callable[..., None],
    folder: Path,
    what: str,
    run: Callable[[Any], object],
    prepared: Callable[[], Any],
    number: int,
) -> None:
    """Reports how many of `number` things `run` does in a second, beside pgbench, and the processors' time of one.

    `prepared` makes what it is run on, anew for each run.
    """
    ours = bare = 0.0
    least = (float("inf"), float("inf"))
    for turn in range(REPEATS):
        work, again = prepared(), prepared()
        began = time.perf_counter()
        spent = microseconds(lambda work=work: run(work))
        ours = max(ours, number / (time.perf_counter() - began))
        least = min(least, spent, key=sum)
        script = folder / f"sent{turn}.sql"
        script.write_text(sent_by(lambda again=again: run(again)))
        bare = max(bare, number * pgbench(script))
    report(what, ours, bare, "the same SQL, pgbench")
    report("  processor time of one: Python", least[0] / number, unit="us")
    report("  processor time of one: PostgreSQL", least[1] / number, unit="us")


def sent_by(work: Callable[[], Any]) -> str:
    """The statements that `work` sends, as a script; nothing that it did stays."""
    said: list[str] = []

    def listen(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        said.append(psycopg.ClientCursor(connection.connection).mogrify(sql, params))
        return execute(sql, params, many, context)

    with transaction.atomic():
        with connection.execute_wrapper(listen):
            work()
        transaction.set_rollback(True)
    # Inside the transaction that is rolled back, those of the path are savepoints.
    said = [re.sub("^SAVEPOINT .*", "BEGIN", re.sub("^RELEASE SAVEPOINT .*", "COMMIT", sql.strip())) for sql in said]
    return "".join(f"{sql};\n" for sql in said)


def pgbench(script: Path) -> float:
    """How many times a second pgbench runs the script."""
    params = connection.get_connection_params()
    done = subprocess.run(
        [binaries().path("pgbench"), "--no-vacuum", "--transactions=1", f"--file={script}", params["dbname"]],
        env={
            **os.environ,
            "PGHOST": str(params["host"]),
            "PGPORT": str(params["port"]),
            "PGUSER": str(params["user"]),
            "PGPASSWORD": str(params.get("password") or ""),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"tps = ([0-9.]+) \(without", done.stdout)
    assert found, done.stdout + done.stderr
    assert "number of failed transactions: 0" in done.stdout, done.stdout
    return float(found[1])
