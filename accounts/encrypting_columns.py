"""For migrations: a column of JSON becomes one of encrypted JSON, and back.

Rows are done in batches, each in a transaction of its own, so that a large table is not locked meanwhile; the rest, and
the change of the columns, in one short transaction. Broken off, it goes on where it was. The migration is not atomic.
"""

from collections.abc import Callable, Sequence
from typing import Any

from django.db import migrations, transaction
from django.db.models import Field

from accounts.encryption import seal, unseal

BATCH = 1000


def encrypt_json(
    app_model: str, table: str, key: str, column: str, field: "Field[Any, Any]", *, required: bool
) -> migrations.SeparateDatabaseAndState:
    """The operation for one column. `key`: the table's primary key; `field`: what the column is in the model then."""
    place = f"{table}.{column}"
    forwards = _Step(table, key, column, "bytea", f"{column}::text", lambda text: seal(place, text.encode()), required)
    backwards = _Step(
        table, key, column, "jsonb", column, lambda sealed: unseal(place, bytes(sealed)).decode(), required
    )
    return migrations.SeparateDatabaseAndState(
        database_operations=[migrations.RunPython(forwards, backwards)],
        state_operations=[migrations.AlterField(app_model, column, field)],
    )


class _Step:
    """One direction: fills a new column from the old one, and puts it in its place."""

    def __init__(
        self, table: str, key: str, column: str, kind: str, read: str, change: Callable[[Any], Any], required: bool
    ) -> None:
        self._table, self._key, self._column, self._new = table, key, column, f"{column}_new"
        self._kind, self._read, self._change, self._required = kind, read, change, required

    def __call__(self, apps: Any, editor: Any) -> None:
        connection = editor.connection
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {self._table} ADD COLUMN IF NOT EXISTS {self._new} {self._kind}")
            self._fill(cursor, connection.alias)
            with transaction.atomic(using=connection.alias):
                cursor.execute(f"LOCK TABLE {self._table} IN ACCESS EXCLUSIVE MODE")
                self._fill(cursor, connection.alias)
                cursor.execute(f"ALTER TABLE {self._table} DROP COLUMN {self._column}")
                cursor.execute(f"ALTER TABLE {self._table} RENAME COLUMN {self._new} TO {self._column}")
                if self._required:
                    cursor.execute(f"ALTER TABLE {self._table} ALTER COLUMN {self._column} SET NOT NULL")

    def _fill(self, cursor: Any, alias: str) -> None:
        """Changes the rows that are not changed yet, batch by batch in the order of their keys."""
        after: Any = None
        while rows := self._batch(cursor, alias, after):
            after = rows[-1][0]

    def _batch(self, cursor: Any, alias: str, after: Any) -> Sequence[tuple[Any, Any]]:
        beyond = "" if after is None else f"AND {self._key} > %s"
        with transaction.atomic(using=alias):
            cursor.execute(
                f"SELECT {self._key}, {self._read} FROM {self._table} "  # noqa: S608
                f"WHERE {self._column} IS NOT NULL AND {self._new} IS NULL {beyond} "
                f"ORDER BY {self._key} LIMIT {BATCH} FOR UPDATE",
                [] if after is None else [after],
            )
            rows: Sequence[tuple[Any, Any]] = cursor.fetchall()
            if rows:
                cursor.executemany(
                    f"UPDATE {self._table} SET {self._new} = %s WHERE {self._key} = %s",  # noqa: S608
                    [(self._change(value), key) for key, value in rows],
                )
        return rows
