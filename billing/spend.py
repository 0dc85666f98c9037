"""Answers about spend, from the rollups: who spent what, when, on which model, and how much of it was reasoning."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import QuerySet, Sum

from accounts.models import ApiKey, Project, Team, User
from billing.models import (
    DayKeyRollup,
    DayModelRollup,
    DayRollup,
    KeyRollup,
    ModelRollup,
    ProjectRollup,
    Rollup,
    SpendRollup,
)
from billing.models.rollups import TOTALS

# What people group by, and the column that it stands for.
GROUPINGS = {
    "day": "day",
    "project": "project_id",
    "team": "team_id",
    "member": "member_id",
    "key": "api_key_id",
    "model": "model",
    "service_tier": "service_tier",
}
# The fewest rows first, as far as that can be said: those by model and by day stay small however many keys there are.
COARSEST_FIRST: tuple[type[Rollup], ...] = (
    *(ProjectRollup, ModelRollup, DayRollup, KeyRollup),
    *(DayKeyRollup, DayModelRollup, SpendRollup),
)


@dataclass(frozen=True, slots=True)
class SpendLine:
    """Totals of one group; `group` has a value for each grouping asked for, None where the spend has no such owner."""

    group: Mapping[str, Any]
    labels: Mapping[str, str]
    totals: Mapping[str, Any]

    @property
    def total_usd(self) -> Decimal:
        return Decimal(self.totals["total_usd"])

    @property
    def reasoning_share(self) -> Decimal | None:
        """Reasoning tokens as a part of the output tokens, 0 to 1 with four places; None when there was no output."""
        output = self.totals["output_tokens"]
        return (Decimal(self.totals["reasoning_tokens"]) / output).quantize(Decimal("0.0001")) if output else None


def rows_between(start: date, end: date, group_by: Sequence[str] = (), **filters: Any) -> "QuerySet[Any]":
    """The rollup rows of the days from `start` up to, and not including, `end`: as few as can be grouped so.

    Filters are those of the columns, with `__in` of several values. Name the organization among them: every index
    begins with it. Raises LookupError for a column that no rollup has.
    """
    columns = {GROUPINGS[name] for name in group_by} | {name.removesuffix("__in") for name in filters}
    rollup = next((rollup for rollup in COARSEST_FIRST if _answers(rollup, columns, start, end)), None)
    if rollup is None:
        raise LookupError(f"No rollup has all of {', '.join(sorted(columns))}.")
    if rollup.IS_MONTHLY and end == _month_after(start):
        # By equality, so that an index finds a project within the month.
        return rollup.objects.filter(day=start, **filters)
    return rollup.objects.filter(day__gte=start, day__lt=end, **filters)


def lines(rows: "QuerySet[Any]", group_by: Sequence[str]) -> list[SpendLine]:
    """The totals of each group: by day ascending where days are asked for, else the dearest first.

    One line without a grouping.
    """
    if not group_by:
        whole = total(rows)
        return [whole] if whole.totals["calls"] else []
    columns = [GROUPINGS[name] for name in group_by]
    order = ["day", "-total_usd"] if "day" in group_by else ["-total_usd"]
    sums = {name: Sum(name) for name in TOTALS}
    found = list(rows.order_by().values(*columns).annotate(**sums).order_by(*order, *columns))
    labels = {name: _labels(name, {row[GROUPINGS[name]] for row in found}) for name in group_by}
    return [
        SpendLine(
            group={name: row[GROUPINGS[name]] for name in group_by},
            labels={name: labels[name].get(row[GROUPINGS[name]], str(row[GROUPINGS[name]] or "")) for name in group_by},
            totals={name: row[name] for name in TOTALS},
        )
        for row in found
    ]


def total(rows: "QuerySet[Any]") -> SpendLine:
    """The totals of all the rows; zeros when there are none."""
    sums = rows.aggregate(**{name: Sum(name) for name in TOTALS})
    return SpendLine({}, {}, {name: _ZERO[name] if value is None else value for name, value in sums.items()})


def total_of(found: Sequence[SpendLine]) -> SpendLine:
    """The totals of lines that were found before, so that a page and its total cannot have seen different calls."""
    return SpendLine({}, {}, {name: sum((line.totals[name] for line in found), _ZERO[name]) for name in TOTALS})


_ZERO = {name: Decimal(0) if name.endswith("_usd") else 0 for name in TOTALS}


def _answers(rollup: type[Rollup], columns: set[str], start: date, end: date) -> bool:
    """Whether a rollup has all these columns (or foreign keys), and rows for exactly these days."""
    if rollup.IS_MONTHLY and not start.day == end.day == 1:
        return False
    known = {*rollup.OWNER, *(name.removesuffix("_id") for name in rollup.OWNER)}
    return columns <= (known if rollup.IS_MONTHLY else known | {"day"})


def _month_after(first: date) -> date:
    return (first + timedelta(days=31)).replace(day=1)


def _labels(name: str, keys: set[Any]) -> dict[Any, str]:
    """What people call the owners that a grouping found."""
    keys = {key for key in keys if key is not None}
    match name:
        case "project":
            return {p.pk: p.name for p in Project.objects.filter(pk__in=keys)}
        case "team":
            return {t.pk: t.name for t in Team.objects.filter(pk__in=keys)}
        case "member":
            return {u.pk: u.email for u in User.objects.filter(pk__in=keys)}
        case "key":
            return {k.pk: k.name for k in ApiKey.objects.filter(pk__in=keys)}
    return {}
