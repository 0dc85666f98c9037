"""What buckets are made of: tokens and money by instant and owner, from rollups by day and from records below that.

Days come from the rollups, like those of `GET /api/v1/spend`; hours and minutes from the usage records, a page of which
is a week at most. What was adjusted stands in the ledger alone, and belongs to a project and to nobody else.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any
from uuid import UUID

from django.db.models import Count, QuerySet, Sum
from django.db.models.functions import Trunc, TruncDate

from billing.api.spend import within
from billing.models import LedgerEntry, UsageRecord
from billing.models.entries import EntryKind
from billing.models.prices import ServiceTier
from billing.models.rollups import SUMMED
from billing.periods import month_of
from billing.provider_api.asked import SECONDS, Asked, uuids, whole_numbers
from billing.reach import Reach
from billing.spend import rows_between

# The provider's names for what Bursar's columns hold.
COLUMNS = {"project_id": "project_id", "user_id": "member_id", "api_key_id": "api_key_id", "model": "model"}
TIER_COLUMN = "service_tier"
_FILTERS = {"api_key_ids": "api_key_id__in", "user_ids": "member_id__in", "models": "model__in"}
_KINDS = {60: "minute", 3600: "hour"}


@dataclass(frozen=True, slots=True)
class Row:
    """Sums of one bucket and owner: `start` is the bucket's first second."""

    start: int
    owner: Mapping[str, Any]
    totals: Mapping[str, Any]


def usage(asked: Asked, reach: Reach, columns: Sequence[str]) -> Iterator[Row]:
    """The settled calls of the page that may be seen, by bucket and by these columns."""
    conditions = _conditions(asked, reach)
    sums = {name: Sum(name) for name in SUMMED}
    rows: QuerySet[Any]
    if asked.width == SECONDS["1d"]:
        rows = rows_between(asked.begin.date(), asked.until.date(), ["day", *_groupings(columns)], **conditions)
        rows = rows.order_by().values("day", *columns).annotate(calls=Sum("calls"), **sums)
        bucket = "day"
    else:
        bucket = "bucket"
        within_page = UsageRecord.objects.filter(booked_at__gte=asked.begin, booked_at__lt=asked.until, **conditions)
        truncated = Trunc("booked_at", _KINDS[asked.width], tzinfo=UTC)
        rows = within_page.order_by().annotate(bucket=truncated).values("bucket", *columns)
        rows = rows.annotate(calls=Count("pk"), **sums)
    for row in rows:
        yield Row(_second(row[bucket]), {name: row[name] for name in columns}, row)


def adjustments(asked: Asked, reach: Reach, *, by_project: bool) -> Iterator[Row]:
    """What was corrected by entries of the ledger, by day and project: `total_usd`, which may be negative."""
    if set(asked.lists) & {"api_key_ids", "user_ids"}:
        return
    projects = _projects(asked, reach)
    entries = LedgerEntry.objects.filter(
        organization=reach.organization_id,
        kind=EntryKind.ADJUST,
        # The month is in the index; the instant tells the days of it apart.
        window_start__gte=month_of(asked.begin).start,
        window_start__lt=asked.until,
        recorded_at__gte=asked.begin,
        recorded_at__lt=asked.until,
        **({} if projects is None else {"project_id__in": projects}),
    )
    columns = ["project_id"] if by_project else []
    days = entries.order_by().annotate(day=TruncDate("recorded_at", tzinfo=UTC)).values("day", *columns)
    for row in days.annotate(total_usd=Sum("spent_change_usd")):
        yield Row(_second(row["day"]), {name: row[name] for name in columns}, row)


def _conditions(asked: Asked, reach: Reach) -> dict[str, Any]:
    conditions: dict[str, Any] = {"organization": reach.organization_id}
    projects = _projects(asked, reach)
    if projects is not None:
        # One by equality, which is what the narrowest index answers.
        conditions |= {"project": projects[0]} if len(projects) == 1 else {"project_id__in": projects}
    for name, column in _FILTERS.items():
        if name in asked.lists:
            conditions[column] = {"api_key_ids": uuids, "user_ids": whole_numbers}.get(name, list)(asked.lists[name])
    if "batch" in asked.flags:
        tiers = [tier for tier in ServiceTier if (tier == ServiceTier.BATCH) is asked.flags["batch"]]
        conditions["service_tier__in"] = tiers
    return conditions


def _projects(asked: Asked, reach: Reach) -> list[UUID] | None:
    """The projects that are asked for, as far as they are within reach; None: all of the organization."""
    asked_for = uuids(asked.lists.get("project_ids", ()))
    return [] if "project_ids" in asked.lists and not asked_for else within(asked_for, reach)


def _groupings(columns: Sequence[str]) -> list[str]:
    """The columns by the names of `billing.spend`, which finds the smallest table that has them all."""
    named = {"project_id": "project", "member_id": "member", "api_key_id": "key"}
    return [named.get(column, column) for column in columns]


def _second(instant: datetime | date) -> int:
    moment = instant if isinstance(instant, datetime) else datetime.combine(instant, time(), UTC)
    return int(moment.timestamp())
