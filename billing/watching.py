"""Alerts of what nobody notes as it happens: forecasts, unusual days, doubts. Looked for every so often."""

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from django.db import transaction
from django.db.models import Count, F, Sum

from accounts.models import AuditTrail, Organization, Project
from billing import unusual
from billing.alerts import News, raise_alert, raise_broken
from billing.clock import database_now
from billing.models import Alert, AlertKind, AlertSettings, Budget, DayRollup, Reservation
from billing.models.budgets import ReservationStatus
from billing.money import amount_of, plain, usd
from billing.outlook.pace import Pace
from billing.outlook.reach import Outlook, Prospect, comes_to, outlook
from billing.outlook.remembering import Paces, batched, counted_in
from billing.thresholds import (
    WITH_OWNER,
    in_words,
    news_of,
    note_standing,
    owner_of,
    reference_of,
    window_of,
)
from billing.unusual import HISTORY_DAYS

ORGANIZATIONS_AT_ONCE = 200
BUDGETS_AT_ONCE = 1000
# Earlier in a window, it is told only if all of the range lies within the window.
LEAST_PART = 6
_paces = Paces()


def watch_limits() -> None:
    """Looks at all open limits, at the doubts and at what the verification of audit trails found: once a minute."""
    note_standing()
    foresee()
    doubt()
    watch_trails()


def foresee() -> int:
    """Raises an alert for each limit that will not last until the end of its window; returns how many are known.

    Not of one that is used up already: that is told as it is.
    """
    now = database_now()
    silent = AlertSettings.objects.filter(tells_forecasts=False).values("organization")
    open_ones = Budget.objects.filter(
        window_start__lte=now, window_end__gt=now, spent__gt=0, spent__lt=F("limit")
    ).exclude(organization__in=silent)
    found = 0
    for budgets in batched(open_ones.select_related(*WITH_OWNER).iterator(BUDGETS_AT_ONCE), BUDGETS_AT_ONCE):
        found += sum(_foresee(budget, pace, now) for budget, pace in _paces.of(budgets, now))
    return found


def _foresee(budget: Budget, pace: Pace | None, now: datetime) -> bool:
    """Whether a limit will not last, which is told then."""
    counted = counted_in(budget)
    if pace is None or comes_to(pace, counted, budget.spent, now) < budget.limit:
        return False
    found = outlook(pace, counted, limit=budget.limit, spent=budget.spent, now=now)
    is_early = (now - counted.start) * LEAST_PART < counted.end - counted.start
    if found.prospect != Prospect.EXPECTED or (is_early and found.latest is None):
        return False
    _raise_forecast(budget, found)
    return True


@transaction.atomic
def _raise_forecast(budget: Budget, found: Outlook) -> None:
    assert found.expected is not None
    assert found.earliest is not None
    assert found.at_end is not None
    limit = amount_of(budget.measure, budget.limit)
    at_end = found.at_end.quantize(Decimal("0.01"))
    until = f"and {in_words(found.latest)}" if found.latest else "and the end of its window, or not at all"
    text = (
        f"The limit of {limit} {window_of(budget)} for {owner_of(budget)} will not last: at this rate it is reached on "
        f"{in_words(found.expected)}, in four of five cases between {in_words(found.earliest)} {until}. "
        f"{amount_of(budget.measure, at_end)} would be spent by {in_words(budget.window_end)}."
    )
    instants = {"expected_at": found.expected, "earliest_at": found.earliest, "latest_at": found.latest}
    told = {name: at and f"{at:%Y-%m-%dT%H:%M:%SZ}" for name, at in instants.items()}
    news = news_of(budget, text, forecast=plain(budget.measure, at_end), **told)
    raise_alert(AlertKind.FORECAST, reference_of(budget, "forecast"), news)


def doubt() -> int:
    """Raises an alert for each organization with many doubts, or dear ones, once a day; returns how many have."""
    now = database_now()
    doubted = Reservation.objects.filter(status=ReservationStatus.OPEN, is_in_doubt=True).order_by()
    sums = list(doubted.values_list("organization").annotate(Count("id"), Sum("amount_usd")))
    wanted = {row.organization_id: row for row in AlertSettings.objects.filter(organization__in=[s[0] for s in sums])}
    found = 0
    for organization_id, count, held_usd in sums:
        row = wanted.get(organization_id) or AlertSettings(organization_id=organization_id)
        if count >= row.doubts_count or held_usd >= row.doubts_usd:
            _raise_doubts(organization_id, count, held_usd, now)
            found += 1
    return found


@transaction.atomic
def _raise_doubts(organization_id: UUID, count: int, held_usd: Decimal, now: datetime) -> None:
    plural = "call has" if count == 1 else "calls have"
    text = f"{count} {plural} lost its answer: up to {usd(held_usd)} USD stay held until the answer is found."
    if count != 1:
        text = f"{count} {plural} lost their answers: up to {usd(held_usd)} USD stay held until they are found."
    data = {"doubts": count, "held_usd": usd(held_usd)}
    reference = f"{organization_id} {now.astimezone(UTC).date()}"
    raise_alert(AlertKind.DOUBTS, reference, News(text, organization_id, data=data))


def watch_trails() -> int:
    """Raises an alert for each audit trail that was found broken; returns how many are.

    The trail that belongs to no organization has nobody to be mailed to: it stands in the log and in the admin.
    """
    broken = AuditTrail.objects.exclude(break_found="").filter(pk__in=Organization.objects.values("pk"))
    for trail in broken:
        assert trail.verified_at is not None
        with transaction.atomic():
            day = trail.verified_at.astimezone(UTC).date()
            raise_broken(organization_id=trail.pk, what="audit trail", day=day, found=trail.break_found)
    return len(broken)


def watch_spend() -> int:
    """Raises an alert for each project that spends far more today than it does; returns how many are known today."""
    today = database_now().astimezone(UTC).date()
    silent = AlertSettings.objects.filter(tells_anomalies=False).values("organization")
    wanted = list(Organization.objects.exclude(pk__in=silent).order_by("pk").values_list("pk", flat=True))
    return sum(
        _watch_some(wanted[at : at + ORGANIZATIONS_AT_ONCE], today)
        for at in range(0, len(wanted), ORGANIZATIONS_AT_ONCE)
    )


def _watch_some(organization_ids: list[UUID], today: date) -> int:
    rows = DayRollup.objects.filter(organization__in=organization_ids).order_by()
    spending = rows.filter(day=today, total_usd__gt=unusual.LEAST_USD).values("project")
    days = rows.filter(project__in=spending, day__gte=today - timedelta(days=HISTORY_DAYS), day__lte=today)
    spent: dict[UUID, dict[date, Decimal]] = defaultdict(dict)
    for project_id, day, total_usd in days.values_list("project", "day").annotate(total=Sum("total_usd")):
        spent[project_id][day] = total_usd
    found = 0
    for project_id, by_day in spent.items():
        before = [by_day.get(today - timedelta(days=ago), Decimal(0)) for ago in range(1, HISTORY_DAYS + 1)]
        most = unusual.unusual_above(before)
        if most is not None and by_day[today] > most:
            _raise_anomaly(project_id, today, by_day[today], most)
            found += 1
    return found


@transaction.atomic
def _raise_anomaly(project_id: UUID, day: date, spent_usd: Decimal, most_usd: Decimal) -> None:
    reference = f"{project_id} {day}"
    if Alert.objects.filter(kind=AlertKind.ANOMALY, reference=reference).exists():
        return
    project = Project.objects.get(pk=project_id)
    usual = most_usd.quantize(Decimal("0.01"))
    text = (
        f"{project} has spent {usd(spent_usd)} USD on {day} (UTC) so far. After the {HISTORY_DAYS} days before, more "
        f"than {usd(usual)} USD is unusual."
    )
    data = {"day": f"{day}", "spent_usd": usd(spent_usd), "unusual_above_usd": usd(usual)}
    news = News(text, project.organization_id, project.pk, data=data)
    raise_alert(AlertKind.ANOMALY, reference, news)
