"""The days that a dashboard shows, and those that they are compared with. Pure; today is a parameter. Days are UTC."""

import re
from dataclasses import dataclass
from datetime import date, timedelta

THIS_MONTH, LAST_MONTH, SEVEN_DAYS, THIRTY_DAYS, OWN = "this_month", "last_month", "7d", "30d", "own"
# As people choose them; a month may be named as well (2025-02).
CHOICES = (
    (THIS_MONTH, "This month"),
    (LAST_MONTH, "Last month"),
    (SEVEN_DAYS, "Last 7 days"),
    (THIRTY_DAYS, "Last 30 days"),
    (OWN, "Own dates"),
)
LONGEST_DAYS = 366
_MONTH = re.compile(r"(2\d{3})-(0[1-9]|1[0-2])")
_DAYS = {SEVEN_DAYS: 7, THIRTY_DAYS: 30}


@dataclass(frozen=True, slots=True)
class Period:
    """Some days in a row: from `first_day` up to, and not including, `end_day`. `key` names it in a URL."""

    key: str
    first_day: date
    end_day: date

    @property
    def days(self) -> list[date]:
        return [self.first_day + timedelta(days=n) for n in range((self.end_day - self.first_day).days)]

    @property
    def last_day(self) -> date:
        return self.end_day - timedelta(days=1)

    @property
    def is_month(self) -> bool:
        """Whether it is one whole calendar month, as limits are kept by."""
        return self.first_day.day == 1 and self.end_day == month_after(self.first_day)

    @property
    def label(self) -> str:
        if self.is_month:
            return f"{self.first_day:%B %Y}"
        if self.first_day == self.last_day:
            return f"{self.first_day:%-d %B %Y}"
        return f"{self.first_day:%-d %B %Y} to {self.last_day:%-d %B %Y}"


def period_of(key: str, first: str, last: str, today: date) -> Period | None:
    """The period that a URL names; the last day of own dates is shown. None where it says nothing that has begun."""
    if key == THIS_MONTH:
        return Period(key, today.replace(day=1), month_after(today.replace(day=1)))
    if key == LAST_MONTH:
        return Period(key, month_before(today), today.replace(day=1))
    if key in _DAYS:
        return Period(key, today - timedelta(days=_DAYS[key] - 1), today + timedelta(days=1))
    if key == OWN:
        return _own(first, last, today)
    written = _MONTH.fullmatch(key)
    if written is None:
        return None
    start = date(int(written[1]), int(written[2]), 1)
    return Period(key, start, month_after(start)) if start <= today else None


def before(period: Period, today: date) -> Period:
    """What a period is compared with: the month before a month, else as many days right before.

    A month that is under way is compared with as many days of the one before.
    """
    if not period.is_month:
        length = period.end_day - period.first_day
        return Period(OWN, period.first_day - length, period.first_day)
    start = month_before(period.first_day)
    if not period.first_day <= today < period.last_day:
        return Period(f"{start:%Y-%m}", start, period.first_day)
    return Period(OWN, start, min(start + timedelta(days=today.day), period.first_day))


def month_after(first: date) -> date:
    return (first + timedelta(days=31)).replace(day=1)


def month_before(day: date) -> date:
    """The first of the month before the one that a day lies in."""
    return (day.replace(day=1) - timedelta(days=1)).replace(day=1)


def _own(first: str, last: str, today: date) -> Period | None:
    try:
        start, end = date.fromisoformat(first), date.fromisoformat(last)
    except ValueError:
        return None
    if not date(2000, 1, 1) <= start <= end <= date(2999, 12, 31) or start > today:
        return None
    return Period(OWN, start, end + timedelta(days=1)) if (end - start).days < LONGEST_DAYS else None
