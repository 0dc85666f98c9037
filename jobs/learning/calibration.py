"""What was expected of jobs when they were submitted, against what they came to: by month, project and model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Protocol
from uuid import UUID

from django.db import connection

from accounts.audit import Who, record
from accounts.models import AuditAction
from billing.arrays import columns
from billing.csv_files import Number, written
from billing.reach import Reach
from jobs.models import Calibration

SHARES = ("p50", "p90", "p99")
_COLUMNS = (
    *("organization_id", "project_id", "model", "month", "jobs"),
    *(f"{share}_{what}" for share in SHARES for what in ("judged", "within")),
    *("expected_usd", "actual_usd", "expected_empty", "actual_empty"),
)
_TYPES = (
    *("uuid", "uuid", "text", "date", "bigint"),
    *("bigint" for _ in SHARES for _ in ("judged", "within")),
    *("numeric", "numeric", "numeric", "bigint"),
)
_KEY = _COLUMNS[:4]
_ADD = f"""
    INSERT INTO jobs_calibration ({", ".join(_COLUMNS)})
    SELECT * FROM unnest({", ".join(f"%s::{type_}[]" for type_ in _TYPES)})
    ON CONFLICT (organization_id, month, project_id, model) DO UPDATE SET
        {", ".join(f"{name} = jobs_calibration.{name} + excluded.{name}" for name in _COLUMNS[len(_KEY) :])}
"""  # noqa: S608


class Expected(Protocol):
    """A job that ended, as far as it is compared with what was expected of it."""

    @property
    def organization_id(self) -> UUID: ...
    @property
    def project_id(self) -> UUID: ...
    @property
    def model(self) -> str: ...
    @property
    def finished_at(self) -> datetime: ...
    @property
    def finish_reason(self) -> str: ...
    @property
    def is_empty(self) -> bool: ...
    @property
    def bound_output_tokens(self) -> int: ...
    @property
    def expected_p50_tokens(self) -> int | None: ...
    @property
    def expected_p90_tokens(self) -> int | None: ...
    @property
    def expected_p99_tokens(self) -> int | None: ...
    @property
    def expected_usd(self) -> Decimal | None: ...
    @property
    def expected_empty(self) -> Decimal | None: ...
    @property
    def output_tokens(self) -> int: ...
    @property
    def total_usd(self) -> Decimal: ...


def add(ended: Sequence[Expected]) -> None:
    """Takes in jobs for which something was expected, each once; in the caller's transaction."""
    sums: dict[tuple[UUID, UUID, str, date], list[Decimal]] = {}
    for job in ended:
        if job.expected_usd is None:
            continue
        month = job.finished_at.astimezone(UTC).date().replace(day=1)
        key = job.organization_id, job.project_id, job.model, month
        told = _told(job)
        before = sums.get(key)
        sums[key] = told if before is None else [a + b for a, b in zip(before, told, strict=True)]
    if sums:
        with connection.cursor() as cursor:
            cursor.execute(_ADD, columns([(*key, *values) for key, values in sums.items()]))


def _told(job: Expected) -> list[Decimal]:
    """What one job adds to each column after the key."""
    judged: list[int] = []
    for share in SHARES:
        tokens = getattr(job, f"expected_{share}_tokens")
        # A smaller cap shows of every job that it stayed within, whatever it would have needed.
        is_judged = tokens is not None and job.bound_output_tokens >= tokens
        judged += [is_judged, is_judged and job.output_tokens <= tokens]
    is_empty = job.is_empty and job.finish_reason == "length"
    expected = (job.expected_usd or Decimal(0), job.total_usd, job.expected_empty or Decimal(0))
    return [Decimal(1), *map(Decimal, judged), *expected, Decimal(is_empty)]


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the report, or the sum of some. `coverage`: of each share, the part of the judged jobs within it."""

    month: date | None
    project_id: UUID | None
    project: str
    model: str
    jobs: int
    judged: tuple[int, ...]
    within: tuple[int, ...]
    expected_usd: Decimal
    actual_usd: Decimal
    expected_empty: Decimal
    actual_empty: int

    @property
    def coverage(self) -> dict[str, Decimal | None]:
        """0 to 1 with four places; None where no job was judged."""
        return {
            share: (Decimal(within) / judged).quantize(Decimal("0.0001")) if judged else None
            for share, judged, within in zip(SHARES, self.judged, self.within, strict=True)
        }


def report(reach: Reach, start: date, end: date, model: str = "", project_id: UUID | None = None) -> list[Line]:
    """The lines of the months from `start` up to, and not including, `end`: the latest first, then by project."""
    rows = Calibration.objects.filter(organization=reach.organization_id, month__gte=start.replace(day=1))
    rows = rows.filter(month__lt=end).select_related("project").order_by("-month", "project__name", "project", "model")
    if reach.projects is not None:
        rows = rows.filter(project__in=reach.projects)
    if model:
        rows = rows.filter(model=model)
    if project_id is not None:
        rows = rows.filter(project=project_id)
    return [_line(row) for row in rows]


def total(lines: Iterable[Line]) -> Line:
    """All of some lines as one."""
    lines = list(lines)
    return Line(
        month=None,
        project_id=None,
        project="",
        model="",
        jobs=sum(line.jobs for line in lines),
        judged=tuple(sum(line.judged[place] for line in lines) for place in range(len(SHARES))),
        within=tuple(sum(line.within[place] for line in lines) for place in range(len(SHARES))),
        expected_usd=sum((line.expected_usd for line in lines), Decimal(0)),
        actual_usd=sum((line.actual_usd for line in lines), Decimal(0)),
        expected_empty=sum((line.expected_empty for line in lines), Decimal(0)),
        actual_empty=sum(line.actual_empty for line in lines),
    )


def as_csv(lines: Iterable[Line]) -> str:
    """The report as a file."""
    header = (
        *("month", "project_id", "project", "model", "jobs"),
        *(f"{share}_{what}" for share in SHARES for what in ("judged", "within")),
        *("expected_usd", "actual_usd", "expected_empty", "actual_empty"),
    )
    return written(header, (_csv_row(line) for line in lines))


def note_export(organization_id: UUID, start: date, end: date, by: Who) -> None:
    """Writes down that the report goes out as a file."""
    record(
        AuditAction.EXPORTED,
        "calibration",
        organization_id,
        by=by,
        organization_id=organization_id,
        name=f"calibration, {start} to {end}",
        after={"from": start.isoformat(), "to": end.isoformat(), "format": "csv"},
    )


def _csv_row(line: Line) -> tuple[object, ...]:
    counts = (count for pair in zip(line.judged, line.within, strict=True) for count in pair)
    month = f"{line.month:%Y-%m}" if line.month else ""
    return (
        *(month, str(line.project_id or ""), line.project, line.model, line.jobs, *counts),
        *(line.expected_usd, line.actual_usd, Number(f"{line.expected_empty:f}"), line.actual_empty),
    )


def _line(row: Calibration) -> Line:
    return Line(
        month=row.month,
        project_id=row.project_id,
        project=row.project.name,
        model=row.model,
        jobs=row.jobs,
        judged=tuple(getattr(row, f"{share}_judged") for share in SHARES),
        within=tuple(getattr(row, f"{share}_within") for share in SHARES),
        expected_usd=row.expected_usd,
        actual_usd=row.actual_usd,
        expected_empty=row.expected_empty,
        actual_empty=row.actual_empty,
    )
