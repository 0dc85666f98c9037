"""A job and its content enter the queue by one statement, which is a transaction of its own where there is no other."""

from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connection, connections, models

from accounts.models.encrypted import EncryptedJSONField
from jobs.models import Job, JobContent


def insert(job: Job, content: JobContent) -> None:
    """Stores both or neither. Every column is sent, as `save` would: the fields' own defaults count."""
    with connection.cursor() as cursor:
        cursor.execute(_statement(), [*_values(job), *_values(content)])
    for row in (job, content):
        row._state.adding, row._state.db = False, connection.alias


@cache
def _statement() -> str:
    # The foreign key of the content is checked when the statement has ended, so that their order does not matter.
    return f"WITH job AS ({_insert_of(Job)}) {_insert_of(JobContent)}"


def _insert_of(model: type[models.Model]) -> str:
    columns = [connection.ops.quote_name(str(field.column)) for field in _fields(model)]
    marks = ", ".join(["%s"] * len(columns))
    return f"INSERT INTO {model._meta.db_table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608


@cache
def _fields(model: type[models.Model]) -> list[Any]:
    """The columns that are sent; the database makes the others."""
    return [field for field in model._meta.concrete_fields if not field.generated]


# What the driver takes as it is, whatever the column; a field would look at each of them for a microsecond and more.
_PLAIN = frozenset({bool, int, str, UUID, datetime})
_NEVER_PLAIN = (models.JSONField, EncryptedJSONField)


def _values(row: models.Model) -> Iterator[Any]:
    database = connections[DEFAULT_DB_ALIAS]  # the connection itself: going through its proxy doubles the time
    for field in _fields(type(row)):
        value = field.pre_save(row, add=True)
        is_plain = type(value) in _PLAIN and not isinstance(field, _NEVER_PLAIN)
        yield value if is_plain or value is None else field.get_db_prep_save(value, database)
