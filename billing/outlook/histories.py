"""What the owners of limits used on the days before today, from rollups: as many queries however many limits."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from billing.counting import sum_of
from billing.limits import BudgetState, Key, Limit
from billing.models import HourRollup, Measure, Scope
from billing.outlook.hours import HOURS
from billing.outlook.lines import ZERO
from billing.outlook.pace import HISTORY_DAYS, Pace, learn
from billing.outlook.reach import DAY, Outlook, outlook
from billing.periods import day_of
from billing.spend import GROUPINGS, rows_between

# Who used nothing for so long before the history begins anew with the first use after it.
PAUSE_DAYS = 7
# The grouping that tells owners of a scope apart; organizations are told apart always.
_GROUPING = {Scope.TEAM: "team", Scope.PROJECT: "project", Scope.MEMBER: "member", Scope.KEY: "key"}

# A limit's owner as rollups name it: organization, owner below it, model.
Used = tuple[str, str, str]


def outlooks(states: Iterable[BudgetState], now: datetime) -> dict[Key, Outlook]:
    """How each of these limits will stand, by its key."""
    states = list(states)
    paces = paces_of([state.limit for state in states], now)
    return {state.limit.key: outlook_of(state, paces[state.limit.key], now) for state in states}


def outlook_of(state: BudgetState, pace: Pace | None, now: datetime) -> Outlook:
    limit = state.limit
    return outlook(pace, limit.counted, limit=limit.amount, spent=state.spent, now=now)


def paces_of(limits: Sequence[Limit], now: datetime) -> dict[Key, Pace | None]:
    """At what pace each of these limits is used, by its key; None with too little history."""
    today = now.astimezone(UTC).date()
    # Rollups do not know what reserves pay, and what comes once in a hundred calls has no pace.
    known = [limit for limit in limits if not limit.is_reserve]
    daily = [limit for limit in known if is_of_a_day(limit)]
    by_day, by_hour = _by_day(known, today), _by_hour(daily, today)
    paces: dict[Key, Pace | None] = {}
    for limit in limits:
        days = by_day.get((_used(limit), limit.measure), {})
        hours = by_hour.get((_used(limit), limit.measure)) if is_of_a_day(limit) else None
        paces[limit.key] = learn(days, min(days, default=None), today, hours)
    return paces


def is_of_a_day(limit: Limit) -> bool:
    """Whether it counts one whole day of UTC, whose hours are looked at."""
    counted = limit.counted
    return counted.end - counted.start == DAY and day_of(counted.start) == counted


def _by_day(limits: Sequence[Limit], today: date) -> Mapping[tuple[Used, Measure], dict[date, Decimal]]:
    start = today - timedelta(days=HISTORY_DAYS + PAUSE_DAYS)
    found: dict[tuple[Used, Measure], dict[date, Decimal]] = defaultdict(dict)
    for names, some in _alike(limits).items():
        rows = rows_between(start, today, ["day", *names], **_filters(names, some))
        for used, measure, day, amount in _sums(rows, names, some, "day"):
            found[used, measure][day] = amount
    return found


def _by_hour(limits: Sequence[Limit], today: date) -> Mapping[tuple[Used, Measure], dict[date, list[Decimal]]]:
    midnight = datetime.combine(today, time(), UTC)
    found: dict[tuple[Used, Measure], dict[date, list[Decimal]]] = {}
    for names, some in _alike(limits).items():
        since = midnight - timedelta(days=HISTORY_DAYS)
        rows = HourRollup.objects.filter(hour__gte=since, hour__lt=midnight, **_filters(names, some))
        for used, measure, hour, amount in _sums(rows, names, some, "hour"):
            at = hour.astimezone(UTC)
            hours = found.setdefault((used, measure), {}).setdefault(at.date(), [ZERO] * HOURS)
            hours[at.hour] = amount
    return found


def _alike(limits: Iterable[Limit]) -> dict[tuple[str, ...], list[Limit]]:
    """The limits whose owners stand in the same columns, by the groupings of these."""
    found: dict[tuple[str, ...], list[Limit]] = defaultdict(list)
    for limit in limits:
        of_owner = (_GROUPING[limit.scope],) if limit.scope in _GROUPING else ()
        found[*of_owner, *(("model",) if limit.model else ())].append(limit)
    return found


def _filters(names: Sequence[str], limits: Sequence[Limit]) -> dict[str, Any]:
    filters: dict[str, Any] = {"organization__in": {limit.organization_id for limit in limits}}
    for name in names:
        values = {limit.model if name == "model" else limit.owner_id for limit in limits}
        filters[f"{GROUPINGS[name]}__in"] = values
    return filters


def _sums(
    rows: Any, names: Sequence[str], limits: Sequence[Limit], at: str
) -> Iterable[tuple[Used, Measure, Any, Decimal]]:
    """What each owner used in each measure that one of its limits has, by day or hour."""
    wanted: dict[Used, set[Measure]] = defaultdict(set)
    for limit in limits:
        wanted[_used(limit)].add(limit.measure)
    measures = {limit.measure for limit in limits}
    columns = [GROUPINGS[name] for name in names]
    of_owner = [column for column in columns if column != "model"]
    # Not by the measures' own names, some of which columns have that other measures add.
    sums = {f"sum_of_{measure.value}": sum_of(measure) for measure in measures}
    for row in rows.order_by().values("organization_id", at, *columns).annotate(**sums):
        owner = str(row[of_owner[0]]) if of_owner else str(row["organization_id"])
        used = (str(row["organization_id"]), owner, row.get("model", ""))
        for measure in wanted.get(used, ()):
            yield used, measure, row[at], Decimal(row[f"sum_of_{measure.value}"])


def _used(limit: Limit) -> Used:
    return str(limit.organization_id), limit.owner_id, limit.model
