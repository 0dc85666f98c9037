"""Windows of money: calendar months, UTC. Pure arithmetic; the instant is a parameter."""

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time, `start` inclusive and `end` exclusive, both UTC."""

    start: datetime
    end: datetime


def month_of(instant: datetime) -> Window:
    """The calendar month, UTC, that an aware instant lies in."""
    start = instant.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return Window(start, start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1))
