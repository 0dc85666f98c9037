"""The paces of limits that are looked at again and again: learnt once a day by the process that looks.

They come from whole days, so that nothing about them changes before midnight, UTC, but what comes late. Forgetting
them costs the queries of `histories`, and no more.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from itertools import islice
from typing import TypeVar
from uuid import UUID

from billing.models import Budget
from billing.outlook.histories import paces_of
from billing.outlook.pace import Pace
from billing.periods import Window
from billing.thresholds import state_of

# What identifies a limit: organization, quota, project.
Whose = tuple[UUID, UUID | None, UUID | None]
Row = TypeVar("Row")


class Paces:
    """The paces of this day that were asked for, and in which hour those were looked for that have none."""

    def __init__(self) -> None:
        self._day: date | None = None
        self._known: dict[Whose, Pace] = {}
        self._hour = -1
        self._unknown: set[Whose] = set()

    def of(self, budgets: Sequence[Budget], now: datetime) -> Iterator[tuple[Budget, Pace | None]]:
        """Each budget with its pace; None with too little history. Budgets come with their owners."""
        self._forget_old(now.astimezone(UTC))
        known, unknown = self._known, self._unknown
        new = [budget for budget in budgets if _whose(budget) not in known and _whose(budget) not in unknown]
        limits = {_whose(budget): state_of(budget).limit for budget in new}
        found = paces_of(list(limits.values()), now)
        for whose, limit in limits.items():
            pace = found[limit.key]
            if pace is None:
                self._unknown.add(whose)
            else:
                self._known[whose] = pace
        return ((budget, self._known.get(_whose(budget))) for budget in budgets)

    def forget(self) -> None:
        self._day, self._hour = None, -1

    def _forget_old(self, now: datetime) -> None:
        if self._day != now.date():
            self._day, self._known, self._unknown = now.date(), {}, set()
        if self._hour != now.hour:
            # Hours are noted a while after a day or a new quota.
            self._hour, self._unknown = now.hour, set()


def counted_in(budget: Budget) -> Window:
    """The part of its window in which a budget's limit counts."""
    start, end, quota = budget.window_start, budget.window_end, budget.quota
    if quota is not None:
        start, end = max(start, quota.starts_at or start), min(end, quota.expires_at or end)
    return Window(start, end)


def batched(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    rows = iter(rows)
    while some := list(islice(rows, size)):
        yield some


def _whose(budget: Budget) -> Whose:
    return budget.organization_id, budget.quota_id, budget.project_id
