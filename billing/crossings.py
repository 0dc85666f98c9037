"""Which budgets passed a percentage of their limit, or had no room: noted where the money moves, and told soon after.

A settlement writes a line at most, in the statement that moves the budgets, and knows of nobody who is told.
"""

from billing.models.alerts import PERCENTS, AlertKind

_PERCENTS = f"(VALUES {', '.join(f'({percent})' for percent in PERCENTS)}) AS part (percent)"
_NOTE = "INSERT INTO billing_crossing (budget_id, kind, percent, crossed_at)"


def noting(moved: str) -> str:
    """The statement that notes what budgets have passed; `moved` has their id, limit, and spent after and before."""
    return (
        f"{_NOTE} SELECT id, '{AlertKind.THRESHOLD}', percent, clock_timestamp() FROM {moved} JOIN {_PERCENTS} "  # noqa: S608
        'ON after > before AND after * 100 >= "limit" * percent AND before * 100 < "limit" * percent '
        "ON CONFLICT DO NOTHING"
    )


NOTE_EXHAUSTED = f"""
    {_NOTE} SELECT id, '{AlertKind.EXHAUSTED}', 100, clock_timestamp() FROM unnest(%s::uuid[]) AS budget (id)
    ON CONFLICT DO NOTHING
"""  # noqa: S608
# No money moves over the mark where a limit is lowered, or a budget opened in the middle of its window.
NOTE_STANDING = f"""
    {_NOTE} SELECT budget.id, '{AlertKind.THRESHOLD}', max(percent), clock_timestamp()
    FROM billing_budget budget JOIN {_PERCENTS} ON spent * 100 >= "limit" * percent
    WHERE "limit" > 0 AND window_start <= now() AND window_end > now() GROUP BY budget.id
    ON CONFLICT DO NOTHING
"""  # noqa: S608
