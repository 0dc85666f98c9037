"""What a limit counts: what was used and is held in a window."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

from django.db.models import F, Sum

from billing.amounts import Amounts, at_most
from billing.limits import counts_corrections, is_relieved
from billing.models import LedgerEntry, Measure, Quota, Reservation, Scope, UsageRecord
from billing.models.budgets import ReservationStatus
from billing.models.entries import EntryKind
from billing.periods import Window, day_of
from billing.spend import rows_between


class Counted(Protocol):
    """As much of a limit as counting needs."""

    @property
    def scope(self) -> Scope: ...
    @property
    def organization_id(self) -> UUID: ...
    @property
    def quota_id(self) -> UUID | None: ...
    @property
    def project_id(self) -> UUID | None: ...
    @property
    def measure(self) -> Measure: ...
    @property
    def model(self) -> str: ...


def bound_of(reservation: Reservation) -> Amounts:
    return at_most(
        reservation.amount_usd,
        input_tokens=reservation.input_tokens,
        output_tokens=reservation.output_tokens,
        likely_usd=reservation.likely_usd,
    )


def held_in(limit: Counted, window: Window) -> dict[UUID, Amounts]:
    """The open reservations of a limit's owner that were made in a window, with what each holds."""
    rows = Reservation.objects.filter(
        **_of_owner(limit),
        status=ReservationStatus.OPEN,
        reserved_at__gte=window.start,
        reserved_at__lt=window.end,
    )
    if limit.measure == Measure.RESERVE:
        rows = rows.filter(likely_usd__isnull=False)
    return {reservation.pk: bound_of(reservation) for reservation in rows}


# The columns that each measure sums, in rollups and usage records alike; jobs are counted.
_COLUMNS = {
    Measure.USD: F("total_usd"),
    Measure.TOKENS: F("input_tokens") + F("output_tokens"),
    Measure.OUTPUT_TOKENS: F("output_tokens"),
    Measure.REASONING_TOKENS: F("reasoning_tokens"),
}


def sum_of(measure: Measure) -> Sum:
    """What a measure counts, of rollups at whatever grain."""
    return Sum(_COLUMNS.get(measure, F("calls")))


def spent_in(limit: Counted, window: Window) -> Decimal:
    """What a limit's owner has used in a window, in the limit's measure.

    By whole days from the rollup, where they are.
    """
    owner = _of_owner(limit)
    if limit.measure == Measure.RESERVE:
        return paid_from_reserves(window, **owner)
    if _is_whole_days(window):
        rows: Any = rows_between(window.start.date(), window.end.date(), **owner)
        used = rows.aggregate(sum=sum_of(limit.measure))["sum"]
    else:
        rows = UsageRecord.objects.filter(booked_at__gte=window.start, booked_at__lt=window.end, **owner)
        used = rows.aggregate(sum=Sum(_COLUMNS[limit.measure]))["sum"] if limit.measure in _COLUMNS else rows.count()
    if is_relieved(limit.measure, limit.scope, limit.quota_id):
        used = (used or 0) - paid_from_reserves(window, **owner)
    return Decimal(used or 0) + _adjusted_in(limit, window)


def paid_from_reserves(window: Window, **owner: Any) -> Decimal:
    """What reserves have paid for an owner's calls in a window. Few calls have any of it, and an index finds them."""
    rows = UsageRecord.objects.filter(**owner, reserve_usd__gt=0, booked_at__gte=window.start, booked_at__lt=window.end)
    return rows.aggregate(sum=Sum("reserve_usd"))["sum"] or Decimal(0)


def _adjusted_in(limit: Counted, window: Window) -> Decimal:
    """The sum of the corrections in a window, as far as the limit counts them; by the team that a project then had."""
    if not counts_corrections(limit.measure, limit.scope, limit.model):
        return Decimal(0)
    rows = LedgerEntry.objects.filter(
        **_of_owner(limit), kind=EntryKind.ADJUST, recorded_at__gte=window.start, recorded_at__lt=window.end
    )
    return rows.aggregate(sum=Sum("spent_change_usd"))["sum"] or Decimal(0)


def _of_owner(limit: Counted) -> dict[str, Any]:
    """The columns by which rows (reservations, usage records, rollups, corrections) are those that a limit counts."""
    owner: dict[str, Any] = {"organization_id": limit.organization_id}
    if limit.model:
        owner["model"] = limit.model
    columns = {Scope.TEAM: "team_id", Scope.MEMBER: "member_id", Scope.KEY: "api_key_id"}
    if limit.scope == Scope.PROJECT:
        owner["project_id"] = limit.project_id
    elif limit.scope in columns:
        column = columns[limit.scope]
        owner[column] = Quota.objects.filter(pk__in=[limit.quota_id]).values_list(column, flat=True).get()
    return owner


def _is_whole_days(window: Window) -> bool:
    def is_midnight(instant: datetime) -> bool:
        return day_of(instant).start == instant

    return is_midnight(window.start) and is_midnight(window.end)
