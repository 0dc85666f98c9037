"""The month that a page shows. Pure arithmetic; the present is a parameter."""

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from billing.periods import Window, month_of

_WRITTEN = re.compile(r"(2\d{3})-(0[1-9]|1[0-2])")


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month, UTC, and whether it is the one that is open now."""

    window: Window
    is_current: bool

    @property
    def key(self) -> str:
        return f"{self.window.start:%Y-%m}"

    @property
    def label(self) -> str:
        return f"{self.window.start:%B %Y}"

    @property
    def first_day(self) -> date:
        return self.window.start.date()

    @property
    def end_day(self) -> date:
        """The day after the last."""
        return self.window.end.date()

    @property
    def days(self) -> list[date]:
        count = monthrange(self.first_day.year, self.first_day.month)[1]
        return [self.first_day + timedelta(days=offset) for offset in range(count)]

    @property
    def previous_key(self) -> str:
        return f"{self.window.start - timedelta(days=1):%Y-%m}"

    @property
    def next_key(self) -> str | None:
        """None for the open month: nothing was spent in the future."""
        return None if self.is_current else f"{self.window.end:%Y-%m}"


def current_month(now: datetime) -> Month:
    return Month(month_of(now), is_current=True)


def month_named(text: str, now: datetime) -> Month | None:
    """The month written as 2024-09; None where it is not written so, or has not begun."""
    written = _WRITTEN.fullmatch(text)
    if written is None:
        return None
    window = month_of(datetime(int(written[1]), int(written[2]), 1, tzinfo=UTC))
    current = month_of(now)
    return Month(window, is_current=window == current) if window.start <= current.start else None
