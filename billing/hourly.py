"""Hours of the days before today, noted in the background for organizations with limits of a day.

A forecast of such a limit has to know how a day goes. No settlement pays for that: a day is read once, when it is over.
"""

from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from django.db import connection, transaction

from billing.clock import database_now
from billing.models import HourRollup, Quota, UsageRecord, WindowKind
from billing.outlook.pace import HISTORY_DAYS

# So many days of organizations are read a run; a new quota has its history after one or two.
MOST_AT_ONCE = 100
# Days that usage may still come to late: compared by their calls, while older ones have only to be there.
UNSETTLED_DAYS = 3

_OF_DAY = "organization_id = day_.organization_id AND hour >= day_.start AND hour < day_.start + interval '1 day'"
_UNNOTED = f"""
    SELECT organization_id, day FROM (
        SELECT organization_id, day, sum(calls) AS calls, day::timestamp AT TIME ZONE 'UTC' AS start
        FROM billing_dayrollup WHERE organization_id = ANY(%s) AND day >= %s AND day < %s GROUP BY organization_id, day
    ) AS day_
    WHERE NOT EXISTS (SELECT FROM billing_hourrollup WHERE {_OF_DAY})
        OR day >= %s AND calls <> (SELECT sum(calls) FROM billing_hourrollup WHERE {_OF_DAY})
    ORDER BY day DESC, organization_id LIMIT %s
"""  # noqa: S608
_OWNER = ", ".join(HourRollup.OWNER)
_SUMS = ", ".join(f"sum({name})" for name in HourRollup.TOTALS[1:])
_NOTE = f"""
    INSERT INTO {HourRollup._meta.db_table} (hour, {_OWNER}, {", ".join(HourRollup.TOTALS)})
    SELECT date_trunc('hour', booked_at, 'UTC'), {_OWNER}, count(*), {_SUMS} FROM {UsageRecord._meta.db_table}
    WHERE organization_id = %s AND booked_at >= %s AND booked_at < %s GROUP BY 1, {_OWNER}
"""  # noqa: S608


def note_days() -> int:
    """Notes the hours of days that are over; returns of how many. Forgets those that no forecast reads any more."""
    today = database_now().astimezone(UTC).date()
    HourRollup.objects.filter(hour__lt=_midnight(today - timedelta(days=HISTORY_DAYS + 1))).delete()
    unnoted = _unnoted(today)
    for organization_id, day in unnoted:
        note_day(organization_id, day)
    return len(unnoted)


@transaction.atomic
def note_day(organization_id: UUID, day: date) -> None:
    """Makes the hours of an organization's day anew from its usage records."""
    start, end = _midnight(day), _midnight(day + timedelta(days=1))
    HourRollup.objects.filter(organization=organization_id, hour__gte=start, hour__lt=end).delete()
    with connection.cursor() as cursor:
        cursor.execute(_NOTE, [organization_id, start, end])


def _unnoted(today: date) -> list[tuple[UUID, date]]:
    organizations = list(
        Quota.objects.filter(window=WindowKind.DAY).order_by().values_list("organization", flat=True).distinct()
    )
    first, unsettled = today - timedelta(days=HISTORY_DAYS), today - timedelta(days=UNSETTLED_DAYS)
    with connection.cursor() as cursor:
        cursor.execute(_UNNOTED, [organizations, first, today, unsettled, MOST_AT_ONCE])
        return list(cursor.fetchall())


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
