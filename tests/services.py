"""A plugin of pytest (`-p tests.services`): PostgreSQL and Valkey for the tests when the environment names none.

They start before pytest-django reads the settings, hold nothing that lasts, and are gone when the tests are, also when
pytest is killed: their guardian sees the end of its standard input.
"""

import json
import os
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connection, transaction

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
def _books_can_be_emptied_between_tests() -> Iterator[None]:
    """What the flush after a test with transactions of its own needs, and nobody in production has.

    The role of the tests may put triggers to sleep, and gives itself the right to empty the books for as long as it
    takes.
    """
    operations_of_postgresql = type(connection.ops)
    flush = operations_of_postgresql.execute_sql_flush

    def flush_books_too(operations: Any, statements: Sequence[str]) -> None:
        books = (
            "billing_ledgerentry, billing_usagerecord, billing_closedmonth, accounts_auditentry, accounts_audittrail"
        )
        before = ["SET LOCAL session_replication_role = replica", f"GRANT TRUNCATE ON {books} TO CURRENT_USER"]
        flush(operations, [*before, *statements, f"REVOKE TRUNCATE ON {books} FROM CURRENT_USER"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operations_of_postgresql, "execute_sql_flush", flush_books_too)
        yield


@pytest.fixture(scope="session", autouse=True)
def _seeds_come_back_at_once() -> Iterator[None]:
    """What the migrations seeded is put back after a flush by the server itself, from copies of its tables.

    Django would save each of some hundred rows anew from JSON; that happens once, and what it left is copied.
    """
    creation = type(connection.creation)
    read_back = creation.deserialize_db_from_string
    copied: list[tuple[str, str]] = []

    def put_back(self: Any, data: str) -> None:
        if not copied:
            read_back(self, data)
            copied.extend(_copy_tables())
            return
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
            for table, columns in copied:
                cursor.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM seeds.{table}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(creation, "deserialize_db_from_string", put_back)
        yield


def _copy_tables() -> Iterator[tuple[str, str]]:
    """Copies every table that has rows into the schema `seeds`; yields its name and the columns that can be written."""
    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA IF EXISTS seeds CASCADE")  # of an earlier run that kept its database
        cursor.execute("CREATE SCHEMA seeds")
        for table in connection.introspection.django_table_names(only_existing=True, include_views=False):
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
