"""Columns of many rows as array literals of PostgreSQL, for `unnest`.

The driver can do this, too, but looks at every element for characters to quote; here only text is looked at. At a
thousand rows a second that is a fifth of all the time there is.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID


def columns(rows: Sequence[tuple[Any, ...]]) -> list[str]:
    """The columns of some rows, at least one, each as an array literal."""
    return [array(column) for column in zip(*rows, strict=True)]


def array(values: Iterable[Any]) -> str:
    """Numbers, UUIDs, instants, booleans, texts and Nones as one array literal; the statement says of which type."""
    return "{" + ",".join([_element(value) for value in values]) + "}"


def _element(value: Any) -> str:
    if isinstance(value, UUID):
        return f"{value.int:032x}"  # as PostgreSQL reads it too, and in a third of the time of its dashes
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)
