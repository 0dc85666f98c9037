"""The bytes of an export, made as they are asked for: COPY writes the rows, and Parquet is made of them in groups.

A COPY holds one connection of the process until the last byte is taken, or the taker goes away.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from types import ModuleType
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet
from django.db import connection
from pyarrow import csv

from billing.exports import focus, usage
from billing.exports.columns import schema_of
from billing.exports.selection import Selection

CHUNK_BYTES = 1 << 18
# Of a Parquet file: what is held in memory at a time, and what its readers may skip.
ROWS_IN_A_GROUP = 32_768


class Format(StrEnum):
    """What a file can be."""

    CSV = "csv"
    PARQUET = "parquet"
    FOCUS = "focus"
    FOCUS_PARQUET = "focus-parquet"

    @property
    def is_parquet(self) -> bool:
        return self in {Format.PARQUET, Format.FOCUS_PARQUET}

    @property
    def rows(self) -> ModuleType:
        """What its rows are: `focus` or `usage`."""
        return focus if self in {Format.FOCUS, Format.FOCUS_PARQUET} else usage

    @property
    def content_type(self) -> str:
        return "application/vnd.apache.parquet" if self.is_parquet else "text/csv; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Part:
    """Some bytes of a file, and how many rows came with them."""

    content: bytes
    rows: int


# The calls that were settled without the provider's word, at their bound: their settlement says why.
_PRESUMED: Final = """
    SELECT presumed.reservation_id FROM billing_ledgerentry presumed
    WHERE presumed.organization_id = %(organization)s AND presumed.kind = 'settle' AND presumed.reason <> ''
        AND presumed.window_start >= %(first_month)s AND presumed.window_start < %(until)s
"""
_NAMES: Final = """
    JOIN accounts_organization organization ON organization.id = %(organization)s
    JOIN accounts_project project ON project.id = line.project_id
    LEFT JOIN accounts_team team ON team.id = line.team_id
    LEFT JOIN accounts_user member ON member.id = line.member_id
    LEFT JOIN accounts_apikey api_key ON api_key.id = line.api_key_id
"""


def file_name(selection: Selection, form: Format) -> str:
    """What the file is called: acme-spend-2026-11-01-to-2026-12-01.csv; the end is exclusive."""
    what = "focus" if form.rows is focus else "spend"
    ending = "parquet" if form.is_parquet else "csv"
    return f"{selection.organization.slug}-{what}-{selection.start}-to-{selection.end}.{ending}"


def parts(selection: Selection, form: Format) -> Iterator[Part]:
    """The file, some bytes at a time; the first bytes of a CSV are its header."""
    if form.is_parquet:
        yield from _parquet(selection, form)
        return
    names = ",".join(column.name for column in form.rows.COLUMNS)
    yield Part(f"{names}\n".encode(), 0)
    yield from _copied(selection, form, rows=1 << 62, size=CHUNK_BYTES)


def content(selection: Selection, form: Format) -> Iterator[bytes]:
    """The bytes of the file alone."""
    return (part.content for part in parts(selection, form))


def count(selection: Selection, form: Format) -> int:
    """How many rows the file will have, by reading what it is made of."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM ({_rows(selection, form)}) AS line", selection.parameters)  # noqa: S608
        (found,) = cursor.fetchone()
    return int(found)


def _rows(selection: Selection, form: Format) -> str:
    # Conditions are of our own words; every value is a parameter.
    return str(form.rows.ROWS).format(
        presumed=_PRESUMED,
        usage_condition=selection.usage_condition,
        entry_condition=selection.entry_condition,
    )


def _statement(selection: Selection, form: Format) -> str:
    columns = [c.written(for_spreadsheets=not form.is_parquet) for c in form.rows.COLUMNS]
    select = f"SELECT {', '.join(columns)} FROM ({_rows(selection, form)}) AS line {_NAMES}"  # noqa: S608
    return f"COPY ({select} ORDER BY {form.rows.ORDER}) TO STDOUT (FORMAT csv)"


def _copied(selection: Selection, form: Format, *, rows: int, size: int) -> Iterator[Part]:
    """Rows as CSV, whole ones, until there are so many of them or so many bytes."""
    with connection.cursor() as cursor, cursor.copy(_statement(selection, form), selection.parameters) as lines:
        gathered, taken, length = [], 0, 0
        for line in lines:  # the server sends each row as a message of its own
            gathered.append(bytes(line))
            taken, length = taken + 1, length + len(line)
            if taken >= rows or length >= size:
                yield Part(b"".join(gathered), taken)
                gathered, taken, length = [], 0, 0
        if gathered:
            yield Part(b"".join(gathered), taken)


class _Pipe(io.RawIOBase):
    """What a writer of files wrote since it was last asked."""

    def __init__(self) -> None:
        self._written: list[bytes] = []
        self._place = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._written.append(bytes(data))
        self._place += len(data)
        return len(data)

    def tell(self) -> int:
        return self._place

    def taken(self) -> bytes:
        data, self._written = b"".join(self._written), []
        return data


def _parquet(selection: Selection, form: Format) -> Iterator[Part]:
    schema = schema_of(form.rows.COLUMNS)
    pipe = _Pipe()
    with pyarrow.parquet.ParquetWriter(pipe, schema, compression="zstd") as writer:
        for part in _copied(selection, form, rows=ROWS_IN_A_GROUP, size=1 << 62):
            writer.write_table(_table(part.content, schema), row_group_size=ROWS_IN_A_GROUP)
            yield Part(pipe.taken(), part.rows)
    yield Part(pipe.taken(), 0)


def _table(lines: bytes, schema: pa.Schema) -> pa.Table:
    """CSV as typed columns; an empty cell is no value, an empty text is quoted."""
    return csv.read_csv(
        pa.BufferReader(lines),
        read_options=csv.ReadOptions(column_names=schema.names, use_threads=False, block_size=max(len(lines), 1)),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=schema,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["true"],
            false_values=["false"],
        ),
    )
