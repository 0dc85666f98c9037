"""A project's month is reckoned and stored, from one snapshot of the books: it sums to the ledger, or is not stored."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Sum

from accounts.models import Project
from billing.clock import database_now
from billing.models import Budget, LedgerEntry, ProjectRollup
from billing.models.entries import EntryKind
from billing.money import usd
from billing.periods import Window, month_of
from billing.verification import standing_still
from jobs.models import WasteLine, WasteReport
from jobs.waste.calls import paid_calls
from jobs.waste.categories import Category
from jobs.waste.reckoning import ZERO, PaidCall, Sent, Usual, wasted
from jobs.waste.usual import usual_of

LINES_AT_ONCE = 2000
# A month with more calls is made in the background, by the beat; a request makes a smaller one itself.
MOST_WHILE_ASKED = 2000
# What is read and what is usual changes without money moving.
STALE_AFTER = timedelta(hours=1)
# Two months back, no answer becomes one that nobody reads any more.
MONTHS_THAT_CHANGE = 2


class DoesNotSum(Exception):
    """Waste, useful and corrections do not sum to the ledger: the books have to be verified."""


@dataclass(slots=True)
class _Sums:
    """What came of the calls of a month."""

    calls: int = 0
    total_usd: Decimal = ZERO
    lines: dict[tuple[Category, UUID], Decimal] = field(default_factory=lambda: defaultdict(lambda: ZERO))
    wasted: dict[Category, Decimal] = field(default_factory=lambda: defaultdict(lambda: ZERO))
    switches: dict[tuple[str, str, str], list[Any]] = field(default_factory=dict)


def is_current(report: WasteReport, now: datetime) -> bool:
    """Whether a report says what is in the books now, and is young enough for a month that changes."""
    if report.made_at is None or report.ledger_usd != ledger_usd(report.project_id, report.month):
        return False
    oldest = month_of(now).start.date()
    for _ in range(MONTHS_THAT_CHANGE - 1):
        oldest = (oldest - timedelta(days=1)).replace(day=1)
    return report.month < oldest or report.made_at > now - STALE_AFTER


def ledger_usd(project_id: UUID, month: date) -> Decimal:
    """What the project's ledger entries of a month sum to, as its budget has it."""
    start = datetime(month.year, month.month, 1, tzinfo=UTC)
    budget = Budget.objects.filter(project=project_id, quota=None, window_start=start).first()
    return budget.spent if budget else ZERO


def is_small(project: Project, month: date) -> bool:
    """Whether a request may make the report itself."""
    rows = ProjectRollup.objects.filter(organization=project.organization_id, day=month, project=project)
    return (rows.aggregate(calls=Sum("calls"))["calls"] or 0) <= MOST_WHILE_ASKED


def make(project: Project, month: date) -> WasteReport:
    """The report, made anew; as it is where somebody else is making it just now. Raises DoesNotSum."""
    window = month_of(datetime(month.year, month.month, 1, tzinfo=UTC))
    with standing_still(project.organization):
        known = WasteReport.objects.filter(project=project, month=month).first()
        report = known or WasteReport(project=project, organization_id=project.organization_id, month=month)
        if not _is_first(project.pk, month):
            return report
        now = database_now()
        usual = usual_of(project, paid_calls(project.pk, window), now)
        sums = _summed(paid_calls(project.pk, window), usual, now)
        _fill(report, sums, window, now)
        report.save()
        WasteLine.objects.filter(report=report).delete()
        WasteLine.objects.bulk_create(_lines(report, sums), batch_size=LINES_AT_ONCE)
    return report


def _is_first(project_id: UUID, month: date) -> bool:
    """Whether nobody else makes the same report; nobody begins until this transaction has ended."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [f"waste {project_id} {month}"])
        (is_first,) = cursor.fetchone()
    return bool(is_first)


def _summed(calls: Iterable[PaidCall], usual: Usual, now: datetime) -> _Sums:
    sums, sent = _Sums(), Sent()
    for call in calls:
        parts = wasted(call, usual, was_sent=sent.before(call), now=now)
        sums.calls += 1
        sums.total_usd += call.total_usd
        for category, amount in parts.items():
            sums.wasted[category] += amount
            if call.job_id is not None:
                sums.lines[category, call.job_id] += amount
        if saved := parts.get(Category.DEAR_MODEL):
            instead = usual.instead(call)
            assert instead is not None
            pair = sums.switches.setdefault((call.model, instead.model, instead.because), [0, ZERO])
            pair[0] += 1
            pair[1] += saved
    return sums


def _fill(report: WasteReport, sums: _Sums, month: Window, now: datetime) -> None:
    """Writes the sums onto the report. Raises DoesNotSum where usage records and ledger differ."""
    entries = LedgerEntry.objects.filter(project=report.project_id, window_start=month.start).order_by()
    by_kind = dict(entries.values_list("kind").annotate(Sum("spent_change_usd")))
    corrections = by_kind.get(EntryKind.ADJUST, ZERO)
    if sums.total_usd != by_kind.get(EntryKind.SETTLE, ZERO):
        raise DoesNotSum(f"{report}: usage records {sums.total_usd}, ledger {by_kind.get(EntryKind.SETTLE, ZERO)}")
    jobs: dict[Category, int] = defaultdict(int)
    for category, _ in sums.lines:
        jobs[category] += 1
    report.made_at, report.calls = now, sums.calls
    report.ledger_usd, report.corrections_usd = sum(by_kind.values(), ZERO), corrections
    report.useful_usd = sums.total_usd - sum(sums.wasted.values(), ZERO)
    report.categories = {
        category.value: {"usd": usd(amount), "jobs": jobs[category]} for category, amount in sums.wasted.items()
    }
    report.switches = [
        {"model": model, "instead": instead, "because": because, "calls": calls, "usd": usd(saved)}
        for (model, instead, because), (calls, saved) in sorted(sums.switches.items(), key=lambda pair: -pair[1][1])
    ]


def _lines(report: WasteReport, sums: _Sums) -> Iterator[WasteLine]:
    for (category, job_id), amount in sums.lines.items():
        yield WasteLine(report=report, job_id=job_id, category=category, usd=amount)
