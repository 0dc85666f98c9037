"""A plugin of pytest (`-p tests.services`): PostgreSQL and Valkey for the tests when the environment names none.

They start before pytest-django reads the settings, hold nothing that lasts, and are gone when the tests are, also when
pytest is killed: their guardian sees the end of its standard input.
"""

import json
import os
import subprocess
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connection, transaction

# What nobody may delete from.
BOOKS = frozenset(
    {
        *("billing_ledgerentry", "billing_usagerecord", "billing_closedmonth", "billing_reviewnote"),
        *("accounts_auditentry", "accounts_audittrail"),
    }
)
_CHECKOUT = Path(__file__).resolve().parent.parent
_guardian: subprocess.Popen[bytes] | None = None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(args: list[str]) -> Generator[None, None, None]:
    """Set what the settings need; a wrapper, because those run before pytest-django's hook."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    os.environ.setdefault("BURSAR_SECRET_KEY", "a secret of the tests, long enough for every use that is made of it")
    # All tests come from one address, and many on purpose without a key; those of throttles set it themselves.
    os.environ.setdefault("BURSAR_ADDRESS_REQUESTS_PER_MINUTE", "0")
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is not None:
        os.environ["REDIS_URL"] = _own_database(os.environ["REDIS_URL"], worker)
    elif not {"--help", "-h", "--version", "-V"} & set(args):
        _start_missing_services()
    return (yield)


@pytest.fixture(scope="session", autouse=True)
def _tables_are_emptied_and_seeded_by_what_has_changed() -> Iterator[None]:
    """After a test with transactions of its own, rows are deleted from the tables that have any; seeds stay or return.

    Django would truncate every table, which takes the server a second for files that were empty before, and save each
    of some hundred seeded rows anew from JSON. That happens once, and what it left is copied into the schema `seeds`.
    The role of the tests may put triggers to sleep, and gives itself the right to empty the books for as long as it
    takes: nobody in production can.
    """
    creation, operations = type(connection.creation), type(connection.ops)
    read_back = creation.deserialize_db_from_string
    seeded: dict[str, str] = {}

    def empty(self: Any, statements: Sequence[str]) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
            cursor.execute(" UNION ALL ".join(_has_changed(table, seeded) for table in _tables()))
            for (table,) in cursor.fetchall():
                if table in BOOKS:
                    cursor.execute(f"GRANT DELETE ON {table} TO CURRENT_USER")
                cursor.execute(f"DELETE FROM {table}")
                if table in BOOKS:
                    cursor.execute(f"REVOKE DELETE ON {table} FROM CURRENT_USER")

    def put_back(self: Any, data: str) -> None:
        if not seeded:
            read_back(self, data)
            seeded.update(_copy_tables())
            return
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
            for table, columns in seeded.items():
                cursor.execute(
                    f"INSERT INTO {table} ({columns}) SELECT {columns} FROM seeds.{table}"
                    f" WHERE NOT EXISTS (SELECT FROM {table})"
                )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operations, "execute_sql_flush", empty)
        patch.setattr(creation, "deserialize_db_from_string", put_back)
        yield


def _tables() -> list[str]:
    return connection.introspection.django_table_names(only_existing=True, include_views=False)


def _has_changed(table: str, seeded: Mapping[str, str]) -> str:
    """SQL: the table's name, if it has rows that it should not have, or has not those that it should."""
    if table not in seeded:
        return f"SELECT '{table}' WHERE EXISTS (SELECT FROM {table})"
    more, less = f"TABLE {table} EXCEPT TABLE seeds.{table}", f"TABLE seeds.{table} EXCEPT TABLE {table}"
    return f"SELECT '{table}' WHERE EXISTS (({more}) UNION ALL ({less}))"


def _copy_tables() -> Iterator[tuple[str, str]]:
    """Copies every table that has rows into the schema `seeds`; yields its name and the columns that can be written."""
    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA IF EXISTS seeds CASCADE")  # of an earlier run that kept its database
        cursor.execute("CREATE SCHEMA seeds")
        for table in _tables():
            cursor.execute(f"SELECT EXISTS (SELECT FROM {table})")
            if not cursor.fetchone()[0]:
                continue
            cursor.execute(f"CREATE TABLE seeds.{table} AS TABLE {table}")
            cursor.execute(
                "SELECT string_agg(quote_ident(column_name), ', ') FROM information_schema.columns"
                " WHERE table_schema = 'public' AND table_name = %s AND is_generated = 'NEVER'",
                [table],
            )
            yield table, cursor.fetchone()[0]


def pytest_unconfigure() -> None:
    """Stop what was started, and wait until it is gone."""
    global _guardian
    if _guardian is not None:
        assert _guardian.stdin is not None
        _guardian.stdin.close()
        _guardian.wait(30)
        _guardian = None


def _start_missing_services() -> None:
    global _guardian
    if os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL"):
        return
    _guardian = subprocess.Popen(
        [sys.executable, "-m", "config.embedded", "services", "--json"],
        cwd=_CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for pytest, which stops the servers when the tests are through with them
    )
    assert _guardian.stdout is not None
    with _guardian.stdout as printed:
        answer = printed.readline()
    if not answer:
        raise pytest.UsageError(
            "the embedded PostgreSQL and Valkey did not start; see above, or set DATABASE_URL and REDIS_URL"
        )
    os.environ.update(json.loads(answer))


def _own_database(url: str, worker: str) -> str:
    """`url` with a database number that no other worker of xdist has: gw0 gets the one after the controller's."""
    parts = urlsplit(url)
    number = int(parts.path.strip("/") or 0) + 1 + int(worker.removeprefix("gw"))
    return parts._replace(path=f"/{number}").geturl()
