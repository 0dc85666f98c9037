"""Dated rows: tiers, rate limits and prices change, and what was in force on a day must stay known."""

from collections.abc import Iterable
from datetime import date
from typing import Protocol, TypeVar


class Dated(Protocol):
    @property
    def effective_from(self) -> date: ...


Row = TypeVar("Row", bound=Dated)


def in_force(rows: Iterable[Row], on: date) -> Row | None:
    """The row in force on a day: the newest one that had begun, else the first that ever came, else None.

    The first ever stands in for the time before it, because terms of an earlier date may meet a model that was released
    later.
    """
    ordered = sorted(rows, key=lambda row: row.effective_from)
    begun = [row for row in ordered if row.effective_from <= on]
    return begun[-1] if begun else next(iter(ordered), None)
