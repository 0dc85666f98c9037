"""Totals kept beside the usage records, in the same transaction, so that no question has to read them all.

The same totals at several grains: the finest can answer everything, the coarser ones the common questions from few
rows. The statement that writes usage records adds them to all; another makes the rollups anew from the records.
"""

from django.db import connection, transaction

from accounts.models import Organization
from billing.models import (
    DayKeyRollup,
    DayModelRollup,
    DayRollup,
    KeyRollup,
    ModelRollup,
    ProjectRollup,
    Rollup,
    SpendRollup,
    UsageRecord,
)
from billing.models.rollups import TOTALS

__all__ = ["COUNTED_AT", "DAY", "OWNER", "ROLLUPS", "TOTALS", "adding", "rebuild"]

# The instant of a usage record at which its money counts, and the UTC day that this makes in SQL.
COUNTED_AT = "booked_at"
DAY = f"({COUNTED_AT} AT TIME ZONE 'UTC')::date"
OWNER = SpendRollup.OWNER
ROLLUPS: tuple[type[Rollup], ...] = (
    *(SpendRollup, DayRollup, DayModelRollup, DayKeyRollup),
    *(ProjectRollup, ModelRollup, KeyRollup),
)


def day_in(rollup: type[Rollup]) -> str:
    """The SQL that makes the day of a rollup of one of the finest: itself, or the first of its month."""
    return "date_trunc('month', day::timestamp)::date" if rollup.IS_MONTHLY else "day"


# A total that is no sum of the column of its name.
_OF_RECORDS = {
    "calls": "count(*)",
    "empty_calls": "count(*) FILTER (WHERE is_empty)",
    "empty_usd": "COALESCE(sum(total_usd) FILTER (WHERE is_empty), 0)",
}


# Names of tables and columns only; every value is a parameter.
def _into(rollup: type[Rollup], rows: str) -> str:
    """The statement that adds rows to a rollup."""
    table = rollup._meta.db_table
    owner = ", ".join(rollup.OWNER)
    raised = ", ".join(f"{name} = {table}.{name} + EXCLUDED.{name}" for name in TOTALS)
    return (
        f"INSERT INTO {table} (day, {owner}, {', '.join(TOTALS)}) {rows} "
        f"ON CONFLICT (day, {owner}) DO UPDATE SET {raised}"
    )


def _into_all(rows_of: dict[type[Rollup], str]) -> str:
    return ", ".join(f"into_{rollup._meta.model_name} AS ({_into(rollup, rows)})" for rollup, rows in rows_of.items())


def adding(records: str) -> str:
    """SQL, to follow WITH: what adds usage records to all the rollups, `added` of them by the key of the finest.

    `records` is a table or a query's name that has the columns of usage records, with a condition or without.
    """
    owner = ", ".join(OWNER)
    totals = ", ".join(f"{_OF_RECORDS.get(name, f'sum({name})')} AS {name}" for name in TOTALS)
    added = f"SELECT {DAY} AS day, {owner}, {totals} FROM {records} GROUP BY {DAY}, {owner}"  # noqa: S608
    rows = {}
    for rollup in ROLLUPS:
        key = ", ".join((day_in(rollup), *rollup.OWNER))
        sums = ", ".join(f"sum({name})" for name in TOTALS)
        rows[rollup] = f"SELECT {key}, {sums} FROM added GROUP BY {key}"  # noqa: S608
    return f"added AS MATERIALIZED ({added}), {_into_all(rows)}"


_REBUILD = (
    f"WITH {adding(f'{UsageRecord._meta.db_table} WHERE organization_id = %s')} "  # noqa: S608
    "SELECT COALESCE(sum(calls), 0) FROM added"
)


@transaction.atomic
def rebuild(organization: Organization) -> int:
    """Makes an organization's rollups anew from its usage records; returns how many there were. Its book is locked."""
    for rollup in ROLLUPS:
        rollup.objects.filter(organization=organization).delete()
    with connection.cursor() as cursor:
        cursor.execute(_REBUILD, [organization.pk])
        (count,) = cursor.fetchone()
    return int(count)
