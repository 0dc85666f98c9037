"""The dearest calls of a period, found day by day from the top of an index, however many calls there were."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import connection

from billing.dashboard.daily import Scope
from billing.dashboard.period import Period

MOST = 10
# As in `usage.UTC_DAY`, by which the index is made.
_DAY = "(record.booked_at AT TIME ZONE 'UTC')::date"
_COLUMNS = {"project": "project_id", "team_id": "team_id", "model": "model", "member_id": "member_id"}


@dataclass(frozen=True, slots=True)
class DearCall:
    """One call by the reference of its reservation, and what it cost. US dollars."""

    reference: UUID
    model: str
    project_id: UUID
    total_usd: Decimal
    output_tokens: int
    reasoning_tokens: int
    is_empty: bool
    booked_at: datetime


def dearest(scope: Scope, period: Period) -> list[DearCall]:
    """The dearest calls of a period in one query, the dearest first."""
    where = ["record.organization_id = %(organization)s", f"{_DAY} = day.first::date"]
    values: dict[str, Any] = {
        "organization": scope.organization.pk,
        "first": period.first_day,
        "last": period.end_day - timedelta(days=1),
        "most": MOST,
    }
    for name, value in scope.filters.items():
        where.append(f"record.{_COLUMNS[name]} = %({name})s")
        values[name] = value
    if scope.projects is not None:
        where.append("record.project_id = ANY(%(projects)s::uuid[])")
        values["projects"] = list(scope.projects)
    # Names of columns only; every value is a parameter.
    statement = f"""SELECT reservation.reference, found.model, found.project_id, found.total_usd, found.output_tokens,
            found.reasoning_tokens, found.is_empty, found.booked_at
        FROM (
            SELECT of_day.* FROM generate_series(%(first)s::date, %(last)s::date, interval '1 day') AS day (first)
            CROSS JOIN LATERAL (
                SELECT * FROM billing_usagerecord record
                WHERE {" AND ".join(where)} ORDER BY record.total_usd DESC LIMIT %(most)s
            ) AS of_day
            ORDER BY of_day.total_usd DESC, of_day.id LIMIT %(most)s
        ) AS found JOIN billing_reservation reservation ON reservation.id = found.reservation_id
        ORDER BY found.total_usd DESC, found.id
    """  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return [DearCall(*row) for row in cursor.fetchall()]
