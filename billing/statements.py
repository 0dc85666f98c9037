"""A month's statement: what was spent, line by line, and that the lines sum to the ledger.

It is made of usage records and ledger entries, which never change in a closed month, and of names as they are now.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any
from uuid import UUID

from django.db.models import Count, Sum
from django.db.models.functions import TruncMonth

from accounts.models import Organization, Project
from billing.chain import GENESIS
from billing.csv_files import written
from billing.models import ClosedMonth, LedgerEntry, UsageRecord
from billing.models.entries import EntryKind
from billing.models.rollups import SUMMED_TOKENS
from billing.periods import Window

ZERO = Decimal(0)
CSV_COLUMNS = (
    *("organization", "month", "status", "kind", "project", "model", "service_tier", "about_month", "calls"),
    *(*SUMMED_TOKENS, "usd", "reason"),
)


@dataclass(frozen=True, slots=True)
class Line:
    """What a project spent on one model in one service tier. `about`: the closed month that late calls are of."""

    project: str
    model: str
    service_tier: str
    about: date | None
    calls: int
    tokens: dict[str, int]
    usd: Decimal


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A correction booked in the month. `about`: the closed month that it corrects."""

    project: str
    about: date | None
    booked_at: datetime
    reason: str
    usd: Decimal


@dataclass(frozen=True)
class MonthStatement:
    """Of a closed month: for good. Of one that is not closed: a draft."""

    organization: Organization
    month: Window
    closed: ClosedMonth | None
    before: ClosedMonth | None
    spent_before_usd: Decimal
    lines: list[Line]
    adjustments: list[Adjustment]
    ledger_usd: Decimal

    @cached_property
    def total_usd(self) -> Decimal:
        """The sum of all that is listed."""
        return sum((usd for _, usd in self._amounts()), ZERO)

    @property
    def agrees(self) -> bool:
        """Whether what is listed sums to the ledger, to the last digit."""
        return self.total_usd == self.ledger_usd

    @property
    def is_draft(self) -> bool:
        return self.closed is None

    @property
    def label(self) -> str:
        return f"{self.month.start:%B %Y}"

    @property
    def file_name(self) -> str:
        """Without its ending."""
        draft = "-draft" if self.is_draft else ""
        return f"{self.organization.slug}-statement-{self.month.start:%Y-%m}{draft}"

    @property
    def by_project(self) -> list[tuple[str, Decimal]]:
        """What each project comes to, adjustments included, the dearest first."""
        sums: dict[str, Decimal] = {}
        for project, usd in self._amounts():
            sums[project] = sums.get(project, ZERO) + usd
        return sorted(sums.items(), key=lambda pair: (-pair[1], pair[0]))

    def _amounts(self) -> list[tuple[str, Decimal]]:
        """All that is listed: whose, and how much."""
        adjusted = [(one.project, one.usd) for one in self.adjustments]
        return [*((line.project, line.usd) for line in self.lines), *adjusted]

    @property
    def previous_seal(self) -> str:
        return self.before.seal if self.before else GENESIS


def statement_of(organization: Organization, month: Window) -> MonthStatement:
    """The statement of a month, a draft where it is not closed."""
    closed = ClosedMonth.objects.filter(organization=organization)
    earlier = closed.filter(starts_at__lt=month.start)
    this = closed.filter(starts_at=month.start).select_related("closed_by").first()
    names = _names(organization)
    return MonthStatement(
        organization=organization,
        month=month,
        closed=this,
        before=earlier.order_by("-starts_at").first(),
        spent_before_usd=earlier.aggregate(sum=Sum("spent_usd"))["sum"] or ZERO,
        lines=_lines(organization, month, names),
        adjustments=_adjustments(organization, month, names),
        ledger_usd=this.spent_usd if this else _ledger(organization, month),
    )


def as_csv(statement: MonthStatement) -> str:
    """One row for each line and adjustment, then the total and what the ledger says."""
    status = "draft" if statement.is_draft else "closed"
    first = (statement.organization.name, f"{statement.month.start:%Y-%m}", status)
    rows: list[tuple[Any, ...]] = [
        (
            *(*first, "usage", line.project, line.model, line.service_tier, _month(line.about), line.calls),
            *(*line.tokens.values(), line.usd, ""),
        )
        for line in statement.lines
    ]
    nothing = ("",) * len(SUMMED_TOKENS)
    rows += [
        (*first, "adjustment", one.project, "", "", _month(one.about), "", *nothing, one.usd, one.reason)
        for one in statement.adjustments
    ]
    seal = "" if statement.closed is None else f"seal {statement.closed.seal}"
    rows.append((*first, "total", "", "", "", "", "", *nothing, statement.total_usd, ""))
    rows.append((*first, "ledger", "", "", "", "", "", *nothing, statement.ledger_usd, seal))
    return written(CSV_COLUMNS, rows)


def _month(about: date | None) -> str:
    return f"{about:%Y-%m}" if about else ""


def _names(organization: Organization) -> dict[UUID, str]:
    """What the projects are called; two of one name are told apart by their slugs."""
    rows = list(Project.objects.filter(organization=organization).values_list("pk", "name", "slug"))
    often = [name for _, name, _ in rows]
    return {pk: name if often.count(name) == 1 else f"{name} ({slug})" for pk, name, slug in rows}


def _lines(organization: Organization, month: Window, names: dict[UUID, str]) -> list[Line]:
    records = UsageRecord.objects.filter(
        organization=organization, booked_at__gte=month.start, booked_at__lt=month.end
    ).order_by()
    of_call = TruncMonth("dispatched_at", tzinfo=UTC)
    rows: Any = records.values("project_id", "model", "service_tier", of=of_call).annotate(
        calls=Count("pk"), usd=Sum("total_usd"), **{name: Sum(name) for name in SUMMED_TOKENS}
    )
    lines = [
        Line(
            names[row["project_id"]],
            row["model"],
            row["service_tier"],
            row["of"].date() if row["of"] < month.start else None,
            row["calls"],
            {name: row[name] for name in SUMMED_TOKENS},
            row["usd"],
        )
        for row in rows
    ]
    return sorted(lines, key=lambda line: (line.project, line.model, line.service_tier, line.about or date.max))


def _adjustments(organization: Organization, month: Window, names: dict[UUID, str]) -> list[Adjustment]:
    entries = LedgerEntry.objects.filter(
        organization=organization, kind=EntryKind.ADJUST, window_start=month.start
    ).order_by("sequence")
    return [
        Adjustment(
            names[entry.project_id],
            entry.corrects.date() if entry.corrects else None,
            entry.recorded_at,
            entry.reason,
            entry.spent_change_usd,
        )
        for entry in entries
    ]


def _ledger(organization: Organization, month: Window) -> Decimal:
    entries = LedgerEntry.objects.filter(organization=organization, window_start=month.start)
    return entries.aggregate(sum=Sum("spent_change_usd"))["sum"] or ZERO
