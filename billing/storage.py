"""What the ledger reads and writes, in PostgreSQL. Decisions are made elsewhere; nothing here chooses.

Every function runs behind the lock of the books that it touches, and many rows go in one statement.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import connection

from accounts.models import Project
from billing import alerts, rollups
from billing.arrays import columns
from billing.books import append, lock
from billing.budgets import limits_of_all as limits
from billing.budgets import open_accounts
from billing.clock import database_now as now
from billing.grants import Claim, Raise
from billing.limits import Owner
from billing.models import LedgerEntry, Reservation, UsageRecord
from billing.models.budgets import ReservationStatus
from billing.periods import month_of
from billing.prices import terms_of
from billing.rollups import OWNER
from billing.settlements import Hold, Move, Reserved, Settlement

__all__ = ["append", "limits", "lock", "now", "open_accounts"]

_RAISE = """
    UPDATE billing_budget AS budget SET held = budget.held + new.amount
    FROM unnest(%s::uuid[], %s::numeric[], %s::boolean[]) AS new (id, amount, is_hard)
    WHERE budget.id = new.id AND (NOT new.is_hard OR budget."limit" >= budget.spent + budget.held + new.amount)
"""
_MOVE = """
    UPDATE billing_budget AS budget SET held = budget.held + new.held, spent = budget.spent + new.spent
    FROM unnest(%s::uuid[], %s::numeric[], %s::numeric[]) AS new (id, held, spent) WHERE budget.id = new.id
"""
_RESERVE = f"""
    INSERT INTO billing_reservation (id, reference, status, is_in_doubt, amount_usd, input_tokens, output_tokens,
        organization_id, project_id, team_id, member_id, api_key_id, model, service_tier, price_id, window_start,
        reserved_at)
    SELECT id, reference, '{ReservationStatus.OPEN}', false, amount_usd, input_tokens, output_tokens, organization,
        project, team, member, api_key, model, service_tier, price, window_start, reserved_at
    FROM unnest(%s::uuid[], %s::uuid[], %s::numeric[], %s::bigint[], %s::bigint[], %s::uuid[], %s::uuid[], %s::uuid[],
        %s::bigint[], %s::uuid[], %s::text[], %s::text[], %s::bigint[], %s::timestamptz[], %s::timestamptz[])
        AS new (id, reference, amount_usd, input_tokens, output_tokens, organization, project, team, member, api_key,
        model, service_tier, price, window_start, reserved_at)
"""  # noqa: S608
_HOLD = (
    "INSERT INTO billing_hold (reservation_id, budget_id, amount) "
    "SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::numeric[])"
)


def raise_holds(raises: Sequence[Raise]) -> int:
    """Adds to each budget what was granted on it, unless that would cross its limit; returns how many were raised.

    The condition repeats the decision where no mistake in it can reach.
    """
    if not raises:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_RAISE, columns([(r.budget_id, r.amount, r.is_hard) for r in raises]))
        raised: int = cursor.rowcount
    return raised


def move(moves: Mapping[UUID, Move]) -> None:
    """Moves each budget's held and spent."""
    with connection.cursor() as cursor:
        cursor.execute(_MOVE, columns([(pk, moved.held, moved.spent) for pk, moved in moves.items()]))


def insert_reservations(granted: Sequence[tuple[Reserved, Claim, Mapping[UUID, Decimal]]]) -> None:
    """Writes open reservations and their holds."""
    if not granted:
        return
    rows = [
        (
            *(r.id, r.reference, r.amount_usd, claim.input_tokens, claim.output_tokens, r.organization_id),
            *(r.project_id, r.team_id, r.member_id, r.api_key_id, r.model, r.service_tier, r.price_id),
            *(month_of(r.reserved_at).start, r.reserved_at),
        )
        for r, claim, _ in granted
    ]
    holds = [(r.id, budget_id, amount) for r, _, own in granted for budget_id, amount in own.items()]
    with connection.cursor() as cursor:
        cursor.execute(_RESERVE, columns(rows))
        cursor.execute(_HOLD, columns(holds))


def organization_of(reference: UUID) -> UUID | None:
    """The organization of a reservation, which never changes; None where there is no such reservation."""
    return Reservation.objects.filter(reference=reference).values_list("organization_id", flat=True).first()


def reserved(reference: UUID) -> Reserved:
    """A reservation with its holds, as it stands behind the lock."""
    row = Reservation.objects.select_related("price").get(reference=reference)
    holds = row.holds.values_list("budget_id", "budget__measure", "amount")
    return Reserved(
        id=row.pk,
        reference=row.reference,
        status=row.status,
        is_in_doubt=row.is_in_doubt,
        amount_usd=row.amount_usd,
        **{name: getattr(row, name) for name in OWNER},
        price_id=row.price_id,
        terms=terms_of(row.price),
        reserved_at=row.reserved_at,
        holds=tuple(Hold(*hold) for hold in holds),
    )


def owner_of(row: Reserved) -> Owner:
    """Whom a reservation's call belongs to: the team is the project's at the time."""
    project = Project.objects.select_related("organization").get(pk=row.project_id)
    return Owner(project, row.team_id, row.member_id, row.api_key_id, row.model)


def resolve(row: Reserved, status: ReservationStatus, now: datetime, settled_usd: Decimal | None = None) -> int:
    """Ends an open reservation; returns 1, or 0 where it was not open."""
    return Reservation.objects.filter(pk=row.id, status=ReservationStatus.OPEN).update(
        status=status, settled_usd=settled_usd, resolved_at=now, is_in_doubt=False
    )


def doubt(row: Reserved) -> None:
    """Notes that the outcome is not known."""
    Reservation.objects.filter(pk=row.id).update(is_in_doubt=True)


def record_usage(settled: Settlement, *, snapshot: str, is_empty: bool, now: datetime) -> UsageRecord:
    """Writes the usage record of a settlement and adds it to its day's rollup."""
    row, terms = settled.reserved, settled.reserved.terms
    record = UsageRecord.objects.create(
        reservation_id=row.id,
        **{name: getattr(row, name) for name in OWNER},
        snapshot=snapshot,
        input_tokens=settled.tokens.input,
        cached_input_tokens=settled.tokens.cached_input,
        output_tokens=settled.tokens.output,
        reasoning_tokens=settled.tokens.reasoning,
        price_id=row.price_id,
        input_usd_per_million=terms.input,
        cached_input_usd_per_million=terms.cached_input,
        output_usd_per_million=terms.output,
        **asdict(settled.cost),
        total_usd=settled.total_usd,
        is_empty=is_empty,
        is_overrun=settled.is_overrun,
        window_start=month_of(settled.booked_at).start,
        dispatched_at=row.reserved_at,
        booked_at=settled.booked_at,
        recorded_at=now,
    )
    rollups.add(record)
    return record


def usage_record(row: Reserved) -> UsageRecord:
    """The usage record of a settled reservation."""
    return UsageRecord.objects.get(reservation=row.id)


def entry(organization_id: UUID, sequence: int) -> LedgerEntry:
    """A line of a book."""
    return LedgerEntry.objects.get(organization=organization_id, sequence=sequence)


def raise_overrun(settled: Settlement) -> None:
    """Alerts of a bill above the bound that was held for it."""
    row = settled.reserved
    alerts.raise_overrun(
        organization_id=row.organization_id,
        project_id=row.project_id,
        reference=row.reference,
        model=row.model,
        total_usd=settled.total_usd,
        bound_usd=row.amount_usd,
    )


def pause(project_id: UUID, now: datetime, reason: str) -> None:
    """Stops new calls of a project, unless they are stopped already."""
    Project.objects.filter(pk=project_id, paused_at__isnull=True).update(paused_at=now, paused_reason=reason)
