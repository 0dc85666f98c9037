"""What a quota would have refused last month: its calls replayed in the order in which they were dispatched.

A call is granted if what is spent, what is held and its own bound fit into the limit together. So each call is two
events: at its dispatch its bound is added, and when it was settled the bound makes way for what it came to. The running
sum of these, window by window, says what stood against the limit at each dispatch. One statement, which writes nothing.

A call that would not have fitted still counts for those after it, as it ran in truth. So the first refusal is exact,
and the numbers are what would not have found room as the month was; who waits spends later, and fewer wait behind it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import OperationalError, connection, transaction
from psycopg.errors import QueryCanceled

from accounts.models import Project
from billing.errors import PreviewTooLarge
from billing.limits import is_relieved
from billing.models import Measure, Quota, Scope, WindowKind
from billing.periods import Window, month_of, week_of

# A month of a million calls takes some seconds; nobody waits for more.
PATIENCE = "20s"
SHOWN_CALLS: Final = 20
SHOWN_PROJECTS: Final = 10
_WINDOWS: Final = {WindowKind.DAY: "day", WindowKind.WEEK: "week", WindowKind.MONTH: "month"}
# Bound and actual amount of a call in each measure; all of its output may turn out to be reasoning.
_AMOUNTS: Final = {
    Measure.USD: ("reservation.amount_usd", "record.total_usd"),
    Measure.TOKENS: (
        "(reservation.input_tokens + reservation.output_tokens)::numeric",
        "(record.input_tokens + record.output_tokens)::numeric",
    ),
    Measure.OUTPUT_TOKENS: ("reservation.output_tokens::numeric", "record.output_tokens::numeric"),
    Measure.REASONING_TOKENS: ("reservation.output_tokens::numeric", "record.reasoning_tokens::numeric"),
    Measure.JOBS: ("1::numeric", "1::numeric"),
    Measure.RESERVE: ("COALESCE(reservation.amount_usd - reservation.likely_usd, 0)", "record.reserve_usd"),
}
# Of a quota that a reserve relieves, as it held and counted them.
_RELIEVED: Final = (
    "COALESCE(reservation.likely_usd, reservation.amount_usd)",
    "(record.total_usd - record.reserve_usd)",
)
_OWNERS: Final = {
    Scope.TEAM: "team_id",
    Scope.PROJECT: "project_id",
    Scope.MEMBER: "member_id",
    Scope.KEY: "api_key_id",
}
# `too_large`: more than the limit by itself. `is_spent`: what was spent before left no room. Else it was held only.
# At one instant dispatches come first: what is settled then was still held when they were.
_REPLAY: Final = """
    WITH calls AS (
        SELECT reservation.id, reservation.reference, record.project_id, record.model, record.dispatched_at AS at,
            GREATEST(COALESCE(reservation.resolved_at, record.recorded_at), record.dispatched_at) AS settled_at,
            date_trunc('{window}', record.dispatched_at, 'UTC') AS window_start, {bound} AS bound, {actual} AS actual
        FROM billing_usagerecord record JOIN billing_reservation reservation ON reservation.id = record.reservation_id
        WHERE record.organization_id = %(organization)s AND record.booked_at >= %(from)s AND record.booked_at < %(end)s
            AND record.dispatched_at >= %(from)s {owner}
    ), events AS (
        SELECT *, true AS is_dispatch, at AS happens_at, bound AS change FROM calls WHERE bound <= %(limit)s
        UNION ALL
        SELECT *, false, settled_at, actual - bound FROM calls WHERE bound <= %(limit)s
    ), running AS (
        SELECT *, sum(change) OVER so_far AS needed,
            sum(actual) FILTER (WHERE is_dispatch) OVER so_far - actual + bound AS needed_when_settled
        FROM events
        WINDOW so_far AS (
            PARTITION BY window_start ORDER BY happens_at, is_dispatch DESC, id
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        )
    ), refused AS MATERIALIZED (
        SELECT id, reference, project_id, model, at, window_start, needed, bound, false AS too_large,
            needed_when_settled > %(limit)s AS is_spent
        FROM running WHERE is_dispatch AND needed > %(limit)s AND at >= %(start)s
        UNION ALL
        SELECT id, reference, project_id, model, at, window_start, bound, bound, true, false
        FROM calls WHERE bound > %(limit)s AND at >= %(start)s
    )
    SELECT (SELECT count(*) FROM calls WHERE at >= %(start)s),
        count(*) FILTER (WHERE too_large), count(*) FILTER (WHERE is_spent),
        count(*) FILTER (WHERE NOT too_large AND NOT is_spent), count(DISTINCT window_start),
        (SELECT json_agg(json_build_array(reference, project_id, model, at, needed::text, bound::text,
                CASE WHEN too_large THEN 'never' WHEN is_spent THEN 'next_window' ELSE 'soon' END))
         FROM (SELECT * FROM refused ORDER BY at, id LIMIT {shown}) AS first),
        (SELECT json_agg(json_build_array(project_id, calls))
         FROM (SELECT project_id, count(*) AS calls FROM refused
               GROUP BY project_id ORDER BY calls DESC, project_id LIMIT {projects}) AS most)
    FROM refused
"""


@dataclass(frozen=True, slots=True)
class RefusedCall:
    """A call that would not have been let go when it was. `outcome`: never, next_window or soon."""

    attempt: UUID
    project_id: UUID
    project_name: str
    model: str
    at: datetime
    needed: Decimal  # spent, held and its own bound together
    bound: Decimal
    over: Decimal  # by how much that is more than the limit
    outcome: str


@dataclass(frozen=True, slots=True)
class Preview:
    """What the limit would have done in a month; amounts in its measure."""

    month: Window
    limit: Decimal
    measure: Measure
    is_hard: bool
    calls: int  # all of the scope
    too_large: int  # whose bound alone is above the limit: refused when they are submitted
    next_window: int  # that would have waited for the next window
    soon: int  # that would have waited until calls in flight were settled
    windows: int  # in how many windows that was
    first: Sequence[RefusedCall]  # the earliest, in order
    projects: Sequence[tuple[str, int]]  # whose calls it were, the most first

    @property
    def refused(self) -> int:
        return self.too_large + self.next_window + self.soon


def last_month(now: datetime) -> Window:
    """The calendar month before the one that an instant lies in."""
    return month_of(month_of(now).start - timedelta(microseconds=1))


def preview(quota: Quota, limit: Decimal, month: Window) -> Preview:
    """What this quota, stored or not, would have done with this limit in a month. Nothing is written.

    Raises ValidationError for a fixed window, and PreviewTooLarge.
    """
    if quota.window not in _WINDOWS:
        raise ValidationError({"window": "A fixed window is replayed by no month. Preview days, weeks or months."})
    window = WindowKind(quota.window)
    # A week that began in the month before was partly used when the month began.
    begin = week_of(month.start).start if window == WindowKind.WEEK else month.start
    relieved = is_relieved(quota.measure, quota.scope, quota.pk)
    bound, actual = _RELIEVED if relieved else _AMOUNTS[Measure(quota.measure)]
    owner, values = _owner(quota)
    statement = _REPLAY.format(
        window=_WINDOWS[window],
        bound=bound,
        actual=actual,
        owner=owner,
        shown=SHOWN_CALLS,
        projects=SHOWN_PROJECTS,
    )
    values |= {
        "organization": quota.organization_id,
        "limit": limit,
        "from": begin,
        "start": month.start,
        "end": month.end,
    }
    calls, too_large, next_window, soon, windows, first, most = _ask(statement, values)
    first, most = (json.loads(part) if isinstance(part, str) else part or [] for part in (first, most))
    names = _names([UUID(row[1]) for row in first] + [UUID(row[0]) for row in most])
    return Preview(
        month,
        limit,
        Measure(quota.measure),
        quota.is_hard,
        calls,
        too_large,
        next_window,
        soon,
        windows,
        first=[_call(row, limit, names) for row in first],
        projects=[(names[UUID(pk)], calls) for pk, calls in most],
    )


def _owner(quota: Quota) -> tuple[str, dict[str, Any]]:
    """The condition by which usage records are those that the quota counts, with its values."""
    parts: list[str] = []
    values: dict[str, Any] = {}
    if quota.scope in _OWNERS:
        parts.append(f"AND record.{_OWNERS[Scope(quota.scope)]} = %(owner)s")
        values["owner"] = quota.team_id or quota.project_id or quota.member_id or quota.api_key_id
    if quota.model:
        parts.append("AND record.model = %(model)s")
        values["model"] = quota.model
    return " ".join(parts), values


def _ask(statement: str, values: dict[str, Any]) -> tuple[Any, ...]:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [PATIENCE])
            cursor.execute(statement, values)
            row: tuple[Any, ...] = cursor.fetchone()
            cursor.execute("SELECT set_config('statement_timeout', '0', true)")
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            raise PreviewTooLarge from error
        raise
    return row


def _names(project_ids: Sequence[UUID]) -> dict[UUID, str]:
    return dict(Project.objects.filter(pk__in=set(project_ids)).values_list("pk", "name"))


def _call(row: Sequence[Any], limit: Decimal, names: dict[UUID, str]) -> RefusedCall:
    attempt, project, model, at, needed, bound, outcome = row
    return RefusedCall(
        attempt=UUID(attempt),
        project_id=UUID(project),
        project_name=names[UUID(project)],
        model=model,
        at=datetime.fromisoformat(at),
        needed=Decimal(needed),
        bound=Decimal(bound),
        over=Decimal(needed) - limit,
        outcome=outcome,
    )
