"""The page that says why the cost changed: two periods, and what of the difference is due to what."""

from datetime import date, timedelta
from typing import Any

from billing.admin.money import dollars
from billing.dashboard.changes import EFFECTS, Change, changes, sum_of
from billing.dashboard.period import Period, before, period_of
from jobs.admin.dashboard.filters import Asked
from jobs.admin.dashboard.sight import Sight


def against(shown: Asked, today: date) -> Period:
    """The period that is compared with: the one asked for, else the one before."""
    written = shown.written
    key = written.get("against", "")
    found = period_of(key, written.get("against_from", ""), written.get("against_to", ""), today) if key else None
    return found or before(shown.period, today)


def periods(shown: Asked, today: date) -> tuple[Period, Period]:
    """The two that are compared, the earlier first. Of a month under way, the days that have begun."""
    now = shown.period
    if now.first_day <= today < now.last_day:
        now = Period(now.key, now.first_day, today + timedelta(days=1))
    return against(shown, today), now


def change_shown(sight: Sight, shown: Asked, then: Period, now: Period) -> dict[str, Any]:
    """The difference by its effects, in all and of each project."""
    found = changes(shown.scope(sight), then, now)
    total = sum_of(found)
    widest = max((abs(effect) for effect in total.effects.values()), default=None)
    return {
        "then": then,
        "period": now,
        "effects": [
            {
                "name": name,
                "label": label,
                "amount": signed(total.effects[name]),
                "width": f"{abs(total.effects[name]) * 100 / widest:.2f}" if widest else "0",
                "is_more": total.effects[name] > 0,
            }
            for name, label in EFFECTS
        ],
        "rows": [_row(one) for one in found],
        "total": _row(total),
        "changes": found,
    }


def _row(one: Change) -> dict[str, Any]:
    return {
        "label": one.label,
        "key": one.key,
        "before": dollars(one.before_usd),
        "after": dollars(one.after_usd),
        "before_calls": f"{one.before_calls:,}",
        "after_calls": f"{one.after_calls:,}",
        "difference": signed(one.difference_usd),
        "effects": [signed(one.effects[name]) for name, _ in EFFECTS],
    }


def signed(amount: Any) -> str:
    """With a plus where it is more."""
    return f"+{dollars(amount)}" if amount > 0 else dollars(amount)
