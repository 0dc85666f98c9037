"""Totals kept beside the usage records, in the same transaction, so that no question has to read them all."""

from django.db import connection, transaction

from accounts.models import Organization
from billing.models import SpendRollup, UsageRecord

OWNER = ("organization_id", "project_id", "team_id", "member_id", "api_key_id", "model", "service_tier")
SUMMED_TOKENS = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens")
SUMMED_USD = ("input_usd", "cached_input_usd", "output_usd", "reasoning_usd", "total_usd")
TOTALS = ("calls", "empty_calls", *SUMMED_TOKENS, *SUMMED_USD, "empty_usd")

_TABLE = SpendRollup._meta.db_table
_COLUMNS = ("day", *OWNER, *TOTALS)
# Names of columns only; every value is a parameter.
_ADD = (
    f"INSERT INTO {_TABLE} ({', '.join(_COLUMNS)}) VALUES ({', '.join(['%s'] * len(_COLUMNS))}) "  # noqa: S608
    "ON CONFLICT (organization_id, day, project_id, team_id, member_id, api_key_id, model, service_tier) "
    "DO UPDATE SET " + ", ".join(f"{name} = {_TABLE}.{name} + EXCLUDED.{name}" for name in TOTALS)
)


def add(record: UsageRecord) -> None:
    """Adds a usage record to the totals of the day on which it was booked, UTC."""
    empty = int(record.is_empty)
    values = [
        record.booked_at.date(),
        *(getattr(record, name) for name in OWNER),
        1,
        empty,
        *(getattr(record, name) for name in SUMMED_TOKENS + SUMMED_USD),
        record.total_usd * empty,
    ]
    with connection.cursor() as cursor:
        cursor.execute(_ADD, values)


@transaction.atomic
def rebuild(organization: Organization) -> int:
    """Makes an organization's rollups anew from its usage records; returns how many there were. Its book is locked."""
    SpendRollup.objects.filter(organization=organization).delete()
    count = 0
    for record in UsageRecord.objects.filter(organization=organization).iterator(chunk_size=2000):
        add(record)
        count += 1
    return count
