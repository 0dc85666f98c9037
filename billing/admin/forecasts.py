"""Forecasts of limits in the words of the admin's pages."""

from datetime import datetime

from billing.outlook.pace import LEAST_DAYS
from billing.outlook.reach import Basis, Outlook, Prospect

BASES = {
    Basis.DAYS_ALIKE: "the mean of all whole days that are known, since weekdays are told apart from two weeks on",
    Basis.WEEKDAYS: "the mean of each weekday, and a trend where there is one",
    Basis.HOURS: "how the hours of such days went",
}


def reached_in_words(found: Outlook) -> str:
    """When a limit is reached, short enough for a table: '2026-11-24 14:05 (11-22 to 11-28)'."""
    match found.prospect:
        case Prospect.REACHED:
            return "used up"
        case Prospect.TOO_LITTLE_HISTORY:
            return f"too little history: it needs {LEAST_DAYS} whole days"
        case Prospect.NOT_IN_WINDOW:
            return "not in this window"
        case Prospect.POSSIBLE:
            return f"hardly in this window, {_instant(found.earliest)} at the earliest"
    last = _instant(found.latest) if found.latest else "after its end"
    return f"{_instant(found.expected)} ({_instant(found.earliest)} to {last})"


def _instant(at: datetime | None) -> str:
    return f"{at:%m-%d %H:%M}" if at else ""
