"""Closing a month: from then on its lines, its total and its hash stay what they are.

Months of a book are closed in order and without a gap, from the first that has a line. A month closes by itself some
days after its end, so that calls which ran over its edge are still booked in it; a person may close it earlier.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Min, Sum

from accounts import audit
from accounts.audit import Who
from accounts.models import AuditAction, Organization, User
from billing import books
from billing.chain import GENESIS, Head
from billing.clock import database_now
from billing.errors import MonthStillOpen
from billing.models import Book, ClosedMonth, LedgerEntry, Reservation
from billing.models.budgets import ReservationStatus
from billing.money import usd
from billing.periods import Window, month_of


@dataclass(frozen=True, slots=True)
class Statement:
    """What a month's lines come to."""

    lines: int
    spent_usd: Decimal
    seal: str


def close_due() -> list[ClosedMonth]:
    """Closes every month that ended long enough ago, of every organization; returns what was closed."""
    now = database_now()
    ended = now - timedelta(days=settings.CLOSE_MONTHS_AFTER_DAYS)
    due = Book.objects.filter(head_sequence__gt=0).exclude(closed_until__gte=month_of(ended).start)
    closed = []
    for organization in Organization.objects.filter(book__in=due).order_by("pk"):
        closed += close_until(organization, ended)
    return closed


def close_over(organization: Organization, *, by: User | None = None, who: Who | None = None) -> list[ClosedMonth]:
    """Closes the months of an organization that are over, without waiting."""
    return close_until(organization, database_now(), by=by, who=who)


@transaction.atomic
def close_until(
    organization: Organization, instant: datetime, *, by: User | None = None, who: Who | None = None
) -> list[ClosedMonth]:
    """Closes the months that ended by an instant and are open still, oldest first; returns them.

    Raises MonthStillOpen where the instant lies in the future: what is not over can not be closed.
    """
    now = database_now()
    if instant > now:
        raise MonthStillOpen(instant, now)
    head = books.lock([organization.pk])[organization.pk]
    closed = [_close(organization, head, month, now, by) for month in _open_months(head, month_of(instant).start)]
    for month in closed:
        after = {"lines": month.lines, "spent_usd": usd(month.spent_usd), "held_usd": usd(month.held_usd)}
        audit.record_about(month, AuditAction.CREATED, by=who or Who(user=by), after={**after, "seal": month.seal})
    return closed


def statement(organization_id: UUID, month: Window, previous: str) -> Statement:
    """The lines of a month, added up and hashed after the seal of the closed month before it."""
    lines = LedgerEntry.objects.filter(organization=organization_id, window_start=month.start)
    digest, count = hashlib.sha256(previous.encode()), 0
    for seal in lines.order_by("sequence").values_list("seal", flat=True).iterator(chunk_size=5000):
        digest.update(seal.encode())
        count += 1
    spent = lines.aggregate(sum=Sum("spent_change_usd"))["sum"] or Decimal(0)
    return Statement(count, spent, digest.hexdigest())


def _open_months(head: Head, until: datetime) -> Iterator[Window]:
    """The months of a book that are not closed and end by an instant, in order."""
    begin = head.closed_until
    if begin == books.NEVER:
        first = LedgerEntry.objects.filter(organization=head.organization).aggregate(at=Min("window_start"))["at"]
        if first is None:
            return
        begin = first
    month = month_of(begin)
    while month.end <= until:
        yield month
        month = month_of(month.end)


def _close(organization: Organization, head: Head, month: Window, now: datetime, by: User | None) -> ClosedMonth:
    before = ClosedMonth.objects.filter(organization=organization).order_by("-starts_at").first()
    said = statement(organization.pk, month, before.seal if before else GENESIS)
    held = Reservation.objects.filter(
        organization=organization,
        status=ReservationStatus.OPEN,
        reserved_at__gte=month.start,
        reserved_at__lt=month.end,
    )
    closed = ClosedMonth.objects.create(
        organization=organization,
        starts_at=month.start,
        ends_at=month.end,
        lines=said.lines,
        spent_usd=said.spent_usd,
        held_usd=held.aggregate(sum=Sum("amount_usd"))["sum"] or Decimal(0),
        seal=said.seal,
        closed_at=now,
        closed_by=by,
    )
    head.closed_until = month.end
    Book.objects.filter(organization=organization).update(closed_until=month.end)
    return closed
