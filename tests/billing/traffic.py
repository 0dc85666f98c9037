"""Synthetic use of a limit, hour by hour, by fixed seeds, and how a forecast did on it."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from statistics import median

from billing.outlook.pace import learn
from billing.outlook.reach import Outlook, outlook
from billing.periods import Window

START = datetime(2026, 1, 1, tzinfo=UTC)  # a Thursday
DAYS = 70
KINDS = ("steady", "weekday", "growing", "bursty")
WINDOWS = {"day": 1, "week": 7, "month": 28}
# Hours before the window that a trial can look back on: 31 days and more.
FIRST = 31
NEVER = timedelta(days=999)


@dataclass(frozen=True)
class Trial:
    """One forecast and what came of it. `error`: of the instant, in hours; None where one of the two is not there."""

    is_covered: bool
    is_reached: bool
    error: float | None


def trials(kind: str, window: str, number: int) -> list[Trial]:
    return [_trial(kind, window, seed) for seed in range(number)]


def coverage(found: list[Trial]) -> float:
    return sum(trial.is_covered for trial in found) / len(found)


def reached(found: list[Trial]) -> list[Trial]:
    return [trial for trial in found if trial.is_reached]


def median_error(found: list[Trial]) -> float:
    return median(trial.error for trial in found if trial.error is not None)


def _hours(kind: str, chance: random.Random) -> list[float]:
    """What each hour of seventy days uses; about a hundred an hour."""
    used = []
    for number in range(DAYS):
        is_workday = (START + timedelta(days=number)).weekday() < 5
        level = 100 * chance.lognormvariate(-0.02, 0.2)
        if kind == "growing":
            level *= 1.015 ** (number - 28)
        for hour in range(24):
            amount = level * chance.lognormvariate(-0.045, 0.3)
            if kind == "weekday":
                amount *= (1.66 if 7 <= hour < 19 else 0.34) if is_workday else 0.25
            if kind == "bursty":
                amount *= 0.6
                if chance.random() < 1 / 36:
                    amount += 100 * chance.lognormvariate(2, 0.7)
            used.append(round(amount, 6))
    return used


def _trial(kind: str, window: str, seed: int) -> Trial:
    """A forecast at some instant of a window, of a limit that is reached early, late or not at all."""
    chance = random.Random(f"{kind} {window} {seed}")
    used = _hours(kind, chance)
    first = FIRST + chance.randrange(7)
    start, length = first * 24, WINDOWS[window] * 24
    now = start + chance.uniform(0.05, 0.6) * length
    spent = _between(used, start, now)
    usual = sum(used[start - 28 * 24 : start]) / 28 / 24
    limit = spent + chance.uniform(0.1, 1.3) * usual * (start + length - now)
    found = _forecast(used, START + timedelta(hours=now), Window(_at(start), _at(start + length)), spent, limit)
    truth = _reached(used, start, length, limit)
    # What is not within the window is after it, and after every instant in it.
    when, first_at, last_at = (at or START + NEVER for at in (truth, found.earliest, found.latest))
    error = abs((found.expected - truth).total_seconds()) / 3600 if found.expected and truth else None
    return Trial(first_at <= when <= last_at, truth is not None, error)


def _forecast(used: list[float], now: datetime, window: Window, spent: float, limit: float) -> Outlook:
    today = now.date()
    by_hour = {
        (START + timedelta(days=n)).date(): [Decimal(str(amount)) for amount in used[n * 24 : n * 24 + 24]]
        for n in range((today - START.date()).days)
    }
    by_day = {day: sum(amounts, Decimal(0)) for day, amounts in by_hour.items()}
    pace = learn(by_day, START.date(), today, by_hour if window.end - window.start == timedelta(days=1) else None)
    return outlook(pace, window, limit=Decimal(str(round(limit, 6))), spent=Decimal(str(round(spent, 6))), now=now)


def _between(used: list[float], start: float, end: float) -> float:
    whole = sum(used[int(start) : int(end)])
    return whole + used[int(end)] * (end - int(end))


def _reached(used: list[float], start: int, length: int, limit: float) -> datetime | None:
    so_far = 0.0
    for hour in range(start, start + length):
        if so_far + used[hour] >= limit:
            return _at(hour + (limit - so_far) / used[hour])
        so_far += used[hour]
    return None


def _at(hour: float) -> datetime:
    return START + timedelta(hours=hour)
