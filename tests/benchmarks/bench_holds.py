"""Holds: `ledger.reserve` against the very same statements, sent by PostgreSQL's own pgbench.

What our path sends is listened to, statement by statement, and rolled back; then pgbench sends it all again. The ratio
is what is left of PostgreSQL's speed once Python has decided, sealed and composed it. Besides, the time of the
processors, here and in the backend.
"""

import os
import re
import subprocess
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import connection, transaction

from accounts.models import Payment, Project, Team
from billing import ledger
from billing.ledger import Claim
from billing.limits import Owner
from billing.models import Quota, Reservation
from billing.prices import price_on
from config.embedded.postgres import binaries
from tests.benchmarks.processor import microseconds
from tests.conftest import SEPTEMBER_2024, make_tenant

pytestmark = [pytest.mark.benchmark, pytest.mark.django_db(transaction=True, serialized_rollback=True)]

HOLDS = 2000
REPEATS = 3


def project_of_three_levels(number: int) -> Project:
    """A project of an organization of its own, in a team with a quota: three levels bind each call."""
    project = make_tenant(f"Tenant{number}").project
    project.team = Team.objects.create(organization=project.organization, name="readers")
    project.save()
    Quota.objects.create(organization=project.organization, scope="team", team=project.team, limit=1_000_000)
    return project


@pytest.mark.parametrize("organizations", [1, 100])
@pytest.mark.parametrize("batch", [1, 10, 50, 200])
def test_holds_per_second(organizations, batch, report, tmp_path):
    projects = [project_of_three_levels(number) for number in range(organizations)]
    Payment.objects.update(amount_usd=1_000_000)
    price = price_on(["o1-preview"], "standard", SEPTEMBER_2024)
    owners = [Owner(project, project.team_id, None, None, "o1-preview") for project in projects]
    number = HOLDS if batch > 1 else HOLDS // 10

    def batches() -> list[list[Claim]]:
        claims = [
            Claim(uuid4(), Decimal("0.01"), 43, 1000, owners[n % organizations], "standard", price)
            for n in range(number)
        ]
        return [claims[at : at + batch] for at in range(0, number, batch)]

    def reserve(work: list[list[Claim]]) -> None:
        for claims in work:
            with transaction.atomic():
                assert ledger.reserve(claims) == []

    reserve(batches())  # opens the budgets
    ours = bare = 0.0
    least = (float("inf"), float("inf"))
    for turn in range(REPEATS):
        work, again = batches(), batches()
        began = time.perf_counter()
        spent = microseconds(lambda work=work: reserve(work))
        ours = max(ours, number / (time.perf_counter() - began))
        least = min(least, spent, key=sum)
        script = tmp_path / f"holds{turn}.sql"
        script.write_text(sent_by(lambda again=again: reserve(again)))
        bare = max(bare, number * pgbench(script))
    report(f"holds, {organizations} organizations, {batch} a transaction", ours, bare, "the same SQL, pgbench")
    report("  processor time of one: Python", least[0] / number, unit="us")
    report("  processor time of one: PostgreSQL", least[1] / number, unit="us")
    assert Reservation.objects.count() == number * (1 + 2 * REPEATS)


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
