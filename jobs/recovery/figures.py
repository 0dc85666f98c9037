"""Doubts in figures, for whoever watches the service."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import Count, Min, Sum

from billing.models import Reservation
from billing.models.budgets import ReservationStatus
from jobs.models import Doubt
from jobs.states import DoubtStatus


@dataclass(frozen=True, slots=True)
class Figures:
    """How many doubts there are in each status, how old the oldest open one is, and what they hold together.

    `unfindable` of the open ones cannot be looked up, or not any more: only a policy or a person ends them.
    """

    by_status: dict[DoubtStatus, int]
    unfindable: int
    oldest_seconds: float
    held_usd: Decimal


def figures(now: datetime) -> Figures:
    """The figures of all organizations together."""
    counted = dict(Doubt.objects.order_by().values_list("status").annotate(count=Count("pk")))
    still_open = Doubt.objects.filter(status=DoubtStatus.OPEN)
    oldest = still_open.aggregate(oldest=Min("opened_at"))["oldest"]
    held = Reservation.objects.filter(
        status=ReservationStatus.OPEN, is_in_doubt=True, reference__in=still_open.values("pk")
    )
    return Figures(
        by_status={status: counted.get(status, 0) for status in DoubtStatus},
        unfindable=still_open.filter(next_look_at__isnull=True).count(),
        oldest_seconds=(now - oldest).total_seconds() if oldest else 0.0,
        held_usd=held.aggregate(sum=Sum("amount_usd"))["sum"] or Decimal(0),
    )
