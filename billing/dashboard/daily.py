"""Spend day by day, split by what people choose, with the smallest parts folded into one."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from accounts.models import Organization
from billing.dashboard.period import Period
from billing.spend import SpendLine, lines, rows_between, total_of

# What bars are split by. A kind is of tokens: input, cached input, visible output, reasoning.
SPLITS = ("project", "team", "model", "member", "kind")
KINDS = (
    ("input_usd", "Input"),
    ("cached_input_usd", "Cached input"),
    ("output_usd", "Visible output"),
    ("reasoning_usd", "Reasoning"),
)
# Parts that a bar shows by themselves; what is left is one more.
MOST_PARTS = 7
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose spend is asked for: an organization's, of these projects alone (None: all), and by filters.

    `filters` are columns of the rollups and their values: project, team_id, model, member_id.
    """

    organization: Organization
    projects: Collection[UUID] | None
    filters: Mapping[str, Any]

    def rows(self, start: date, end: date, group_by: Sequence[str]) -> Any:
        """The rollup rows between two days: as few as can be grouped so."""
        found = rows_between(start, end, group_by, organization=self.organization.pk, **self.filters)
        return found if self.projects is None else found.filter(project__in=self.projects)


@dataclass(frozen=True, slots=True)
class Part:
    """One project, team, model, member or kind: its dollars of each day that has any, and its totals.

    `line` is None for kinds, which have dollars alone.
    """

    key: Any
    label: str
    usd: Decimal
    by_day: Mapping[date, Decimal]
    line: SpendLine | None


@dataclass(frozen=True, slots=True)
class Daily:
    """The spend of a period: each part, the dearest first, and the totals of each day and of all."""

    period: Period
    parts: Sequence[Part]
    days: Mapping[date, SpendLine]
    total: SpendLine

    @property
    def folded(self) -> list[Part]:
        """The parts that a bar shows: the dearest, and all others as one. They sum to the total."""
        if len(self.parts) <= MOST_PARTS + 1:
            return list(self.parts)
        rest = self.parts[MOST_PARTS:]
        by_day: dict[date, Decimal] = {}
        for part in rest:
            for day, usd in part.by_day.items():
                by_day[day] = by_day.get(day, ZERO) + usd
        other = Part(None, f"{len(rest)} others", sum((part.usd for part in rest), ZERO), by_day, None)
        return [*self.parts[:MOST_PARTS], other]


def daily(scope: Scope, period: Period, split: str) -> Daily:
    """The spend of each day of a period, split. One query of rollups, and one of names."""
    grouping = ["day"] if split == "kind" else ["day", split]
    found = lines(scope.rows(period.first_day, period.end_day, grouping), grouping)
    by_day: dict[date, list[SpendLine]] = {}
    for line in found:
        by_day.setdefault(line.group["day"], []).append(line)
    days = {day: total_of(of_day) for day, of_day in by_day.items()}
    parts = _kinds(days) if split == "kind" else _parts(found, split)
    return Daily(period, sorted(parts, key=lambda part: -part.usd), days, total_of(list(days.values())))


def _parts(found: Sequence[SpendLine], split: str) -> list[Part]:
    groups: dict[Any, list[SpendLine]] = {}
    for line in found:
        groups.setdefault(line.group[split], []).append(line)
    parts = []
    for key, of_group in groups.items():
        whole = total_of(of_group)
        label = of_group[0].labels[split] or f"no {split}"
        parts.append(Part(key, label, whole.total_usd, {line.group["day"]: line.total_usd for line in of_group}, whole))
    return parts


def _kinds(days: Mapping[date, SpendLine]) -> list[Part]:
    return [
        Part(
            column,
            label,
            sum((line.totals[column] for line in days.values()), ZERO),
            {day: line.totals[column] for day, line in days.items()},
            None,
        )
        for column, label in KINDS
    ]
