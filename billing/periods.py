"""Windows of money: days, weeks and calendar months, UTC. Pure arithmetic; the instant is a parameter.

One transaction asks for the window of the same instant many times, so the last answers are remembered.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time, `start` inclusive and `end` exclusive, both UTC."""

    start: datetime
    end: datetime


@lru_cache(maxsize=256)
def day_of(instant: datetime) -> Window:
    """The day, UTC, that an aware instant lies in."""
    start = instant.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return Window(start, start + timedelta(days=1))


@lru_cache(maxsize=256)
def week_of(instant: datetime) -> Window:
    """The week from Monday to Sunday, UTC, that an aware instant lies in."""
    today = day_of(instant).start
    start = today - timedelta(days=today.weekday())
    return Window(start, start + timedelta(days=7))


@lru_cache(maxsize=256)
def month_of(instant: datetime) -> Window:
    """The calendar month, UTC, that an aware instant lies in."""
    start = day_of(instant).start.replace(day=1)
    return Window(start, start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1))
