"""Reserves: what the quotas below an organization share, so that they need not hold the worst case of every call.

A call is held there at its likely cost, and the rest of its bound on the reserve, which is a hard limit of its own;
where that has no room, at its bound. When it settles, the quota counts what it held at most, and the reserve pays the
rest. Nothing is ever unheld, and the organization's own limits hold every bound in full.
"""

from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from django.db.models import Count, F, Min, Q

from accounts.remembered import remembered
from billing.budgets import quotas_at
from billing.clock import nearly_now
from billing.counting import paid_from_reserves
from billing.models import Measure, Reservation
from billing.models.budgets import ReservationStatus
from billing.periods import Window


@dataclass(frozen=True, slots=True)
class Experience:
    """What became of the calls of a window that a reserve took part in: those settled, those beyond the likely."""

    calls: int
    beyond: int
    paid_usd: Decimal


@remembered()
def risk_of(organization_id: UUID) -> Decimal | None:
    """The risk that an organization's reserves take; None without a reserve. A second old at most.

    It says what is offered to the ledger, which takes no larger risk than its reserves say when it holds.
    """
    reserves = quotas_at([organization_id], nearly_now()).filter(measure=Measure.RESERVE).order_by()
    risk: Decimal | None = reserves.aggregate(least=Min("risk"))["least"]
    return risk


def experience(organization_id: UUID, window: Window) -> Experience:
    """How often calls came to more than was likely, of those that were held so in a window."""
    within = Q(organization=organization_id, reserved_at__gte=window.start, reserved_at__lt=window.end)
    held = Reservation.objects.filter(within, likely_usd__isnull=False, status=ReservationStatus.SETTLED)
    counts = held.aggregate(calls=Count("id"), beyond=Count("id", filter=Q(settled_usd__gt=F("likely_usd"))))
    paid = paid_from_reserves(window, organization=organization_id)
    return Experience(counts["calls"], counts["beyond"], paid)
