"""One month of an organization against the provider's bill: totals, a picture by day, and the lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from uuid import UUID

from django.db.models import Q
from django.utils.safestring import SafeString

from accounts.admin.base import badge, list_of
from accounts.models import Organization
from accounts.provider_accounts import account_of
from billing.admin.money import dollars
from billing.admin.months import Month
from billing.models import ReconciledDay, ReconciliationLine
from billing.models.reconciliations import DifferenceKind
from billing.reconciliation.decisions import Standing, State, current_lines, standings

DAY_WIDTH, BAR_WIDTH, HEIGHT = 24, 9, 140
STATE_BADGES = {
    State.AGREES: "good",
    State.WAITING: "busy",
    State.OPEN: "bad",
    State.ADJUSTED: "good",
    State.ACCEPTED: "quiet",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One side of one day, in units of the SVG."""

    kind: str
    x: int
    y: str
    height: str


@dataclass(frozen=True, slots=True)
class DayBars:
    middle: int
    day: int
    title: str
    bars: list[Bar]


@dataclass(frozen=True, slots=True)
class Chart:
    """Two bars a day, ours and theirs."""

    width: int
    height: int
    bar_width: int
    highest: str
    sentence: str
    days: list[DayBars]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table as it is shown."""

    line: ReconciliationLine
    standing: Standing
    state: SafeString
    whose: str
    ours: str
    theirs: str
    difference: str
    undecided: str
    records: SafeString


@dataclass(frozen=True, slots=True)
class Comparison:
    """A month: dollars of both sides and, by kind, of what lies between them, which add up to the difference."""

    lines: Sequence[ReconciliationLine]
    standings: dict[UUID, Standing]
    days: Sequence[ReconciledDay]

    @property
    def ours_usd(self) -> Decimal:
        return sum((line.ours_usd for line in self.lines), Decimal(0))

    @property
    def theirs_usd(self) -> Decimal:
        return sum((line.theirs_usd for line in self.lines), Decimal(0))

    @property
    def undecided_usd(self) -> Decimal:
        return sum((standing.undecided_usd for standing in self.standings.values()), Decimal(0))

    @property
    def by_kind(self) -> list[tuple[str, int, str]]:
        """Name, number of lines and dollars of each kind that there is."""
        found = []
        for kind in DifferenceKind:
            mine = [line.difference_usd for line in self.lines if line.kind == kind]
            if mine:
                found.append((str(kind.label), len(mine), dollars(sum(mine, Decimal(0)))))
        return found


def comparison(organization: Organization, month: Month, *, with_shared: bool = True) -> Comparison:
    """What holds for the month: the organization's lines, and those that it shares with others of its account."""
    account = account_of(organization)
    theirs = Q(organization=organization) | Q(organization=None) if with_shared else Q(organization=organization)
    lines = list(
        current_lines()
        .filter(theirs, run__organization=account.organization)
        .filter(day__gte=month.first_day, day__lt=month.end_day)
        .select_related("project", "organization", "run")
        .order_by("day", "provider_project", "model", "kind")
    )
    days = ReconciledDay.objects.filter(
        organization=account.organization, day__gte=month.first_day, day__lt=month.end_day
    ).order_by("day")
    return Comparison(lines, standings(lines), list(days))


def rows_of(found: Comparison, kind: str, state: str, organization: Organization) -> list[Row]:
    """The lines of a kind and in a state, or all of them where these are empty."""
    return [
        _row(line, found.standings[line.pk], organization)
        for line in found.lines
        if kind in ("", line.kind) and state in ("", found.standings[line.pk].state)
    ]


def chart_of(found: Comparison, month: Month) -> Chart | None:
    """Two bars for every day; None where neither side has anything."""
    by_day: dict[date, tuple[Decimal, Decimal]] = {}
    for line in found.lines:
        ours, theirs = by_day.get(line.day, (Decimal(0), Decimal(0)))
        by_day[line.day] = ours + line.ours_usd, theirs + line.theirs_usd
    highest = max((max(pair) for pair in by_day.values()), default=Decimal(0))
    if highest <= 0:
        return None
    days = [_bars(index, day, by_day.get(day), highest) for index, day in enumerate(month.days)]
    differing = sum(ours != theirs for ours, theirs in by_day.values())
    return Chart(
        width=len(days) * DAY_WIDTH,
        height=HEIGHT,
        bar_width=BAR_WIDTH,
        highest=dollars(highest),
        sentence=f"Our books and the provider's bill for each day of {month.label}. {differing} days differ; the table "
        "below has every figure.",
        days=days,
    )


def _bars(index: int, day: date, pair: tuple[Decimal, Decimal] | None, highest: Decimal) -> DayBars:
    left = index * DAY_WIDTH + (DAY_WIDTH - 2 * BAR_WIDTH) // 2
    bars = []
    for place, (kind, amount) in enumerate(zip(("spent", "held"), pair or (), strict=False)):
        height = max(amount, Decimal(0)) * HEIGHT / highest
        bars.append(Bar(kind, left + place * BAR_WIDTH, f"{HEIGHT - height:.2f}", f"{height:.2f}"))
    told = f"ours {dollars(pair[0])}, theirs {dollars(pair[1])}" if pair else "not looked at, or nothing billed"
    return DayBars(index * DAY_WIDTH + DAY_WIDTH // 2, day.day, f"{day:%-d %B}: {told}", bars)


def _row(line: ReconciliationLine, standing: Standing, organization: Organization) -> Row:
    shared = "shared with other organizations" if line.organization_id is None else "several projects, or none"
    return Row(
        line=line,
        standing=standing,
        state=badge(STATE_BADGES[standing.state], standing.state.label.lower()),
        whose=line.project.name if line.project else shared,
        ours=_side(line.ours_requests, line.ours_input_tokens, line.ours_output_tokens, line.ours_usd),
        theirs=_side(line.theirs_requests, line.theirs_input_tokens, line.theirs_output_tokens, line.theirs_usd),
        difference=dollars(line.difference_usd),
        undecided=dollars(standing.undecided_usd) if standing.undecided_usd else "",
        records=_records(line, organization),
    )


def _side(requests: int, input_tokens: int, output_tokens: int, amount: Decimal) -> str:
    return f"{dollars(amount)} for {requests:,} requests, {input_tokens:,} in, {output_tokens:,} out"


def _records(line: ReconciliationLine, organization: Organization) -> SafeString:
    """Our usage records of the line's day and model."""
    mine = {"project__id__exact": line.project_id} if line.project_id else {"organization__id__exact": organization.pk}
    midnights = (f"{day} 00:00:00+00:00" for day in (line.day, line.day + timedelta(days=1)))
    within = dict(zip(("dispatched_at__gte", "dispatched_at__lt"), midnights, strict=True))
    return list_of("billing_usagerecord", "Records", **mine, **within, q=line.model)
