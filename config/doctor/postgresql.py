"""PostgreSQL: whether what was committed lasts, whether its tables are ours, and whether the books are guarded."""

import time
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from accounts import wall
from config.doctor.findings import Finding, fail, ok, warn
from config.wall import building

# Django 5.2 supports it; we try with 18.
OLDEST_VERSION = 14
# A commit that PostgreSQL has confirmed must outlast its machine.
LASTING = {"fsync": "on", "full_page_writes": "on"}
NOT_LASTING_COMMITS = {"off"}
SKEW_SECONDS = 2.0
# Web, two workers, beat and a command beside them.
FEWEST_PROCESSES = 5
GUARDED = ("billing_ledgerentry", "billing_usagerecord", "billing_closedmonth")
GUARDS = {
    "ledger_entries_are_append_only",
    "usage_records_are_append_only",
    "closed_months_take_no_lines",
    "closed_months_take_no_usage",
    "closed_months_stay_closed",
    "ledger_entries_are_never_emptied",
    "usage_records_are_never_emptied",
    "closed_months_are_never_emptied",
}


def server() -> Iterator[Finding]:
    """Version, durability, connections, migrations and clock."""
    told = _settings("server_version_num", "synchronous_commit", "max_connections", *LASTING)
    major = int(told["server_version_num"]) // 10_000
    if major < OLDEST_VERSION:
        yield fail(f"PostgreSQL {major} is too old", f"upgrade to {OLDEST_VERSION} or later, best 18")
    else:
        yield ok(f"PostgreSQL {major} answers")
    for name, value in LASTING.items():
        if told[name] != value:
            yield fail(f"{name} is {told[name]}: a power failure can lose the books", f"set {name} = {value}")
    if told["synchronous_commit"] in NOT_LASTING_COMMITS:
        yield fail("synchronous_commit is off: calls are made whose holds may be lost", "set synchronous_commit = on")
    pool = settings.DATABASES["default"]["OPTIONS"]["pool"]["max_size"]
    if int(told["max_connections"]) < FEWEST_PROCESSES * pool:
        yield warn(
            f"max_connections is {told['max_connections']}, and each process may hold {pool}",
            "raise max_connections, or lower BURSAR_DATABASE_POOL",
        )
    yield from _migrations()
    yield from _clock()


def guards() -> Iterator[Finding]:
    """What keeps the books from being rewritten: triggers, and rights, which bind no superuser."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        if cursor.fetchone()[0]:
            yield fail(
                "Bursar connects as a superuser, whom no right keeps from rewriting the books",
                "connect as an ordinary role that owns its database (docs/operations.md, The books)",
            )
        cursor.execute(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = ANY(%s::text[]::regclass[]) AND tgenabled IN ('O', 'A')",
            [list(GUARDED)],
        )
        missing = GUARDS - {name for (name,) in cursor.fetchall()}
        cursor.execute(
            "SELECT name FROM unnest(%s::text[]) AS name WHERE has_table_privilege(name, 'UPDATE, DELETE, TRUNCATE')",
            [list(GUARDED)],
        )
        writable = [name for (name,) in cursor.fetchall()]
    if missing:
        yield fail(
            f"the books are not guarded by {', '.join(sorted(missing))}",
            "find out who took it away, run `manage.py verify_ledger`, and make it again as its migration does",
        )
    if writable:
        yield fail(
            f"Bursar's own role may rewrite {', '.join(writable)}",
            f"REVOKE UPDATE, DELETE, TRUNCATE ON {', '.join(writable)} FROM PUBLIC, CURRENT_USER",
        )
    if not missing and not writable:
        yield ok("ledger, usage records and closed months cannot be rewritten")


def tenants() -> Iterator[Finding]:
    """Whether the database itself keeps organizations apart where requests of the API come in."""
    if settings.ROW_SECURITY == "off":
        yield warn("organizations are separated by Bursar's queries alone", "set BURSAR_ROW_SECURITY=auto")
        return
    trouble = wall.trouble()
    if trouble is not None:
        with connection.cursor() as cursor:
            remedy = f"have a DBA run `{building.for_the_dba(cursor)}`, then run `manage.py migrate`"
        if "pooler" in trouble:
            remedy = "connect to PostgreSQL itself, or set BURSAR_ROW_SECURITY=off"
        if settings.ROW_SECURITY == "require":
            yield fail(f"the API answers nothing: {trouble}", remedy)
        else:
            yield warn(f"organizations are separated by Bursar's queries alone: {trouble}", remedy)
    elif unbuilt := building.unbuilt():
        yield fail(f"the wall between organizations has gaps at {', '.join(unbuilt)}", "run `manage.py migrate`")
    else:
        yield ok("the database shows requests of one organization no row of another")


def _settings(*names: str) -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", [list(names)])
        return dict(cursor.fetchall())


def _migrations() -> Iterator[Finding]:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        yield fail(f"{len(plan)} migrations are missing, the first is {plan[0][0]}", "run `manage.py migrate`")
    else:
        yield ok("every migration is applied")


def _clock() -> Iterator[Finding]:
    before = time.time()
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())")
        there = float(cursor.fetchone()[0])
    yield skew("PostgreSQL", there, before, time.time())


def skew(name: str, there: float, before: float, after: float) -> Finding:
    """How far another clock is from this machine's, which was read before and after it."""
    seconds = max(before - there, there - after, 0.0)
    if seconds > SKEW_SECONDS:
        return warn(f"the clock of {name} is {seconds:.0f} s off this machine's", "run NTP on both")
    return ok(f"the clock of {name} is this machine's")
