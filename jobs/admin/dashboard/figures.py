"""The sections of a dashboard, as its templates write them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db.models import Count, Min, Sum

from accounts.models import Organization, Project
from accounts.provider_accounts import account_of
from billing.admin.chart import chart_of, share_chart_of
from billing.admin.figures import Fill, MonthOfLimits, Owned, month_of_limits, quotas_on
from billing.admin.forecasts import BASES, reached_in_words
from billing.admin.money import dollars, in_words, share, window_in_words
from billing.admin.months import Month, current_month, month_named
from billing.dashboard.daily import ZERO, Daily, daily
from billing.dashboard.dearest import dearest
from billing.limits import BudgetState, Limit
from billing.models import Measure, Reservation
from billing.models import Scope as LimitScope
from billing.models.budgets import ReservationStatus
from billing.outlook.histories import outlooks, paces_of
from billing.outlook.pace import LEAST_DAYS
from billing.outlook.reach import Outlook, Prospect, outlook
from billing.periods import month_of
from billing.reconciliation.decisions import drift_of
from billing.spend import SpendLine
from jobs.admin.dashboard.filters import Asked
from jobs.admin.dashboard.sight import Sight
from jobs.admin.words import told_in_words
from jobs.models import Attempt, Doubt
from jobs.states import DoubtStatus
from jobs.waiting import MOST_SHOWN, WaitingLine, lines_in, pausing_in


# --- Limits -----------------------------------------------------------------------------------------------------------
def limits_shown(sight: Sight, shown: Asked, now: datetime) -> dict[str, Any]:
    """How full the limits stand in the month shown, or in this one where other days are, and the forecast."""
    month = current_month(now)
    if shown.period.is_month:
        month = month_named(f"{shown.period.first_day:%Y-%m}", now) or month
    only = {shown.project.pk} if shown.project else sight.seen
    found = month_of_limits(sight.organization, month, now, only)
    fill = found.projects[0].fill if shown.project and found.projects else found.organization
    is_whole = sight.is_whole or bool(shown.project)
    return {
        "month": month,
        "fill": fill if is_whole else None,
        "fill_of": shown.project or sight.organization,
        "organization_fill": found.organization if shown.project and sight.is_whole else None,
        "projects": _projects(found, month, is_shown=not shown.project),
        "adjusted": _adjusted(found, sight, shown),
        "quotas": _quotas(shown.project, now) if shown.project and month.is_current else [],
        "forecast": _forecast(sight, shown, fill, now) if month.is_current and is_whole else None,
    }


def _projects(found: MonthOfLimits, month: Month, *, is_shown: bool) -> list[Owned]:
    return found.projects if is_shown else []


def _adjusted(found: MonthOfLimits, sight: Sight, shown: Asked) -> str:
    """Corrections booked by hand; a month's, of the project or of all that is seen."""
    mine = {shown.project.pk} if shown.project else sight.spend
    amount = sum((usd for project, usd in found.adjusted.items() if mine is None or project in mine), ZERO)
    return dollars(amount) if amount else ""


def _forecast(sight: Sight, shown: Asked, fill: Fill, now: datetime) -> dict[str, Any]:
    """Of the organization or of the one project: a limit binds the money of all models and members."""
    month = month_of(now)
    limit = Limit(
        scope=LimitScope.PROJECT if shown.project else LimitScope.ORGANIZATION,
        organization_id=sight.organization.pk,
        quota_id=None,
        project_id=shown.project.pk if shown.project else None,
        owner_id=str((shown.project or sight.organization).pk),
        name="",
        origin="",
        measure=Measure.USD,
        model="",
        amount=fill.limit or ZERO,
        window=month,
    )
    pace = paces_of([limit], now)[limit.key]
    found = outlook(pace, month, limit=fill.limit, spent=fill.spent, now=now)
    return {
        "made": found if pace else None,
        "words": "" if fill.limit is None else _in_words(found),
        "basis": BASES[found.basis] if found.basis else "",
        "least_days": LEAST_DAYS,
    }


def _in_words(found: Outlook) -> str:
    first, middle = _day(found.earliest), _day(found.expected)
    match found.prospect:
        case Prospect.REACHED:
            return "The limit is used up."
        case Prospect.NOT_IN_WINDOW:
            return "The limit holds."
        case Prospect.POSSIBLE:
            return f"The limit holds, but lies within the range: it is reached on {first} at the earliest."
    last = f"on {_day(found.latest)} at the latest" if found.latest else "or not in this month at all"
    return f"At this rate the limit is reached on {middle}: on {first} at the earliest, {last}."


def _day(at: datetime | None) -> str:
    return f"{at:%-d %B, %H:%M} UTC" if at else ""


def _quotas(project: Project, now: datetime) -> list[dict[str, Any]]:
    states = quotas_on(project, now)
    ahead = outlooks(states, now)
    return [_quota(state) | {"reached": reached_in_words(ahead[state.limit.key])} for state in states]


def _quota(state: BudgetState) -> dict[str, Any]:
    """One line of the table of quotas."""
    limit = state.limit
    amounts = (limit.amount, state.spent, state.held, state.remaining)
    return {
        "pk": limit.quota_id,
        "owner": limit.name,
        "scope": limit.scope.label,
        "measure": limit.measure.label,
        "model": limit.model or "every model",
        "is_hard": limit.is_hard,
        "window": window_in_words(limit.window),
        "amounts": [in_words(limit.measure, amount) for amount in amounts],
        "resets": f"{limit.window.end:%Y-%m-%d %H:%M}",
    }


# --- Spend ------------------------------------------------------------------------------------------------------------
def spend_shown(sight: Sight, shown: Asked) -> dict[str, Any]:
    """The charts of the days, and the tables of their figures."""
    found = daily(shown.scope(sight), shown.period, shown.split)
    parts = found.folded
    return {
        "daily": found,
        "total": cells("Total", found.total),
        "chart": chart_of(found, parts),
        "share_chart": share_chart_of(found),
        "parts": parts,
        "rows": [
            cells(part.label, part.line) | {"query": _narrowed(shown, part.key)} for part in found.parts if part.line
        ],
        "days": [_of_day(found, day, [part.by_day.get(day, ZERO) for part in parts]) for day in sorted(found.days)],
        "parts_total": [dollars(part.usd) for part in parts],
    }


def cells(label: str, line: SpendLine) -> dict[str, str]:
    """One line of a table of totals."""
    totals = line.totals
    names = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens")
    return {
        "label": label,
        "calls": f"{totals['calls']:,}",
        **{name.removesuffix("_tokens"): f"{totals[name]:,}" for name in names},
        "share": share(totals["reasoning_tokens"], totals["output_tokens"]),
        "cost": dollars(line.total_usd),
        "empty": f"{totals['empty_calls']:,}",
        "empty_cost": dollars(totals["empty_usd"]),
    }


def _narrowed(shown: Asked, key: Any) -> str:
    """The query of a link to the one project, team, model or member that a row is about."""
    if key is None:
        return ""
    return shown.query(**{shown.split: str(key), "split": "model" if shown.split != "model" else "project"})


def _of_day(found: Daily, day: date, amounts: Sequence[Decimal]) -> dict[str, Any]:
    return cells(f"{day:%Y-%m-%d}", found.days[day]) | {"amounts": [dollars(amount) for amount in amounts]}


def dearest_shown(sight: Sight, shown: Asked) -> list[dict[str, Any]]:
    """The dearest calls of the period with their jobs; a call whose job is gone is shown without."""
    found = dearest(shown.scope(sight), shown.period)
    references = [call.reference for call in found]
    attempts = Attempt.objects.select_related("job__project").in_bulk(references)
    names = dict(sight.projects_with_spend().values_list("pk", "name"))
    return [
        {
            "job": attempts[call.reference].job if call.reference in attempts else None,
            "project": names.get(call.project_id, ""),
            "model": call.model,
            "cost": dollars(call.total_usd),
            "output": f"{call.output_tokens:,}",
            "share": share(call.reasoning_tokens, call.output_tokens),
            "is_empty": call.is_empty,
            "at": f"{call.booked_at:%Y-%m-%d %H:%M}",
        }
        for call in found
    ]


# --- Work -------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Doubts:
    """Open doubts: how many, since when, and what they hold. US dollars."""

    count: int
    oldest: datetime | None
    held: str


def doubts_of(sight: Sight) -> Doubts:
    """The open doubts of the projects seen, and what is held for them."""
    mine = Doubt.objects.filter(status=DoubtStatus.OPEN, attempt__job__organization=sight.organization)
    held = Reservation.objects.filter(status=ReservationStatus.OPEN, is_in_doubt=True)
    held = held.filter(project__in=sight.projects())
    if sight.seen is not None:
        mine = mine.filter(attempt__job__project__in=sight.seen)
    found = mine.aggregate(count=Count("pk"), oldest=Min("opened_at"))
    return Doubts(found["count"], found["oldest"], dollars(held.aggregate(sum=Sum("amount_usd"))["sum"] or ZERO))


def drift_shown(organization: Organization) -> str:
    """What is undecided between the organization's books and the provider's bill."""
    return dollars(drift_of(account_of(organization), organization))


def waiting_shown(sight: Sight, shown: Asked, now: datetime) -> dict[str, Any]:
    """What waits and for what, of the project shown or of all that are seen."""
    of = dict(sight.projects().values_list("pk", "name"))
    ids = [shown.project.pk] if shown.project else list(of)
    return {
        "lines": [_waiting(line, of.get(line.queue.project_id, "")) for line in lines_in(ids, now)],
        "pausing": _counted(pausing_in(ids)),
    }


def _waiting(line: WaitingLine, project: str) -> dict[str, str]:
    told = line.told
    words = told_in_words(told, line.queue.family)
    if told["reason"] == "project_paused":
        words = f"its project is paused: {told['message']}".rstrip(" :")
    elif told["reason"] == "capacity":
        words = (
            f"a call slot: {told['in_use']:,} of {told['slots']:,} in use" if told["slots"] else "a worker: none lives"
        )
    return {
        "project": project,
        "family": line.queue.family,
        "jobs": _counted(line.jobs),
        "since": f"{line.since:%Y-%m-%d %H:%M}",
        "words": words,
        "first": f"{line.first_start:%Y-%m-%d %H:%M:%S}" if line.first_start else "nobody knows",
        "last": f"{line.last_start:%Y-%m-%d %H:%M:%S}" if line.last_start else "nobody knows",
    }


def _counted(number: int) -> str:
    return f"{MOST_SHOWN:,}+" if number > MOST_SHOWN else f"{number:,}"
