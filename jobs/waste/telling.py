"""Reports of projects as they are told: one sum of several, in the order of the categories, and as CSV. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from billing.csv_files import Number, written
from jobs.models import WasteReport
from jobs.waste.categories import TOLD, Category
from jobs.waste.reckoning import ZERO

CSV_COLUMNS = ("month", "project_id", "project", "category", "jobs", "usd", "is_upper_estimate", "reckoned_at")
# What is no waste, in the files.
USEFUL, CORRECTIONS, LEDGER = "useful", "corrections", "ledger"


@dataclass(frozen=True, slots=True)
class Line:
    """What is in a category."""

    category: Category
    usd: Decimal
    jobs: int


@dataclass(frozen=True, slots=True)
class Summary:
    """Several projects' month. US dollars."""

    lines: tuple[Line, ...]
    useful_usd: Decimal
    corrections_usd: Decimal
    ledger_usd: Decimal
    calls: int

    @property
    def wasted_usd(self) -> Decimal:
        return sum((line.usd for line in self.lines), ZERO)

    @property
    def total_usd(self) -> Decimal:
        """The sum of all that is told."""
        return self.wasted_usd + self.useful_usd + self.corrections_usd

    @property
    def agrees(self) -> bool:
        """Whether what is told sums to the ledger, to the last digit."""
        return self.total_usd == self.ledger_usd


def summary_of(reports: Sequence[WasteReport]) -> Summary:
    """All categories in their order, those without waste as well."""
    return Summary(
        lines=tuple(_line(category, reports) for category in Category),
        useful_usd=sum((report.useful_usd for report in reports), ZERO),
        corrections_usd=sum((report.corrections_usd for report in reports), ZERO),
        ledger_usd=sum((report.ledger_usd for report in reports), ZERO),
        calls=sum(report.calls for report in reports),
    )


def as_csv(reports: Iterable[WasteReport]) -> str:
    """A row for each category of each project, and three for what is no waste; the costs but the last sum to it."""
    return written(CSV_COLUMNS, (row for report in reports for row in _rows(report)))


def _rows(report: WasteReport) -> Iterator[tuple[Any, ...]]:
    of = (Number(f"{report.month:%Y-%m}"), str(report.project_id), report.project.name)
    told = summary_of([report])
    for line in told.lines:
        is_estimate = str(TOLD[line.category].is_estimate).lower()
        yield (*of, line.category.value, line.jobs, line.usd, is_estimate, report.made_at)
    yield (*of, USEFUL, None, told.useful_usd, "false", report.made_at)
    yield (*of, CORRECTIONS, None, told.corrections_usd, "false", report.made_at)
    yield (*of, LEDGER, None, told.ledger_usd, "false", report.made_at)


def _line(category: Category, reports: Iterable[WasteReport]) -> Line:
    found = [report.categories[category.value] for report in reports if category.value in report.categories]
    return Line(category, sum((Decimal(each["usd"]) for each in found), ZERO), sum(each["jobs"] for each in found))
