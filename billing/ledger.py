"""The one door to money: reserve before a call, settle or release after it, mark in doubt, adjust.

Every function here runs inside the caller's transaction, so that money and the caller's own rows change together or not
at all. Locks are taken in one order everywhere: the reservation, then its budgets by scope and owner.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F

from accounts.models import Project, User
from billing import rollups
from billing.budgets import BudgetState, Limit, apply_limit, limits_of, lock_budgets
from billing.clock import database_now
from billing.errors import AlreadyReleased, NoSuchReservation
from billing.models import Budget, Hold, LedgerEntry, Price, Reservation, UsageRecord
from billing.models.budgets import ReservationStatus
from billing.models.entries import EntryKind
from billing.money import usd
from billing.periods import Window, month_of
from billing.prices import terms_of
from billing.pricing import Tokens, cost


@dataclass(frozen=True, slots=True)
class Claim:
    """What one call may cost, and whom it belongs to."""

    reference: UUID
    amount_usd: Decimal
    project: Project
    model: str
    service_tier: str
    price: Price
    team_id: UUID | None = None
    member_id: int | None = None
    api_key_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A claim that was not granted, and the first budget that it did not fit into."""

    claim: Claim
    budget: BudgetState

    def describe(self) -> dict[str, object]:
        return self.budget.describe(required_usd=self.claim.amount_usd)


def reserve(claims: Sequence[Claim]) -> list[Refusal]:
    """Holds the amount of every claim that fits into all of its budgets, in order; returns those that do not fit.

    All budgets are locked first, in one order; then each grant is checked against what is already granted; then each
    budget is raised once, by an UPDATE that itself refuses to cross the limit.
    """
    _require_transaction()
    now = database_now()
    window = month_of(now)
    projects = {claim.project.pk: claim.project for claim in claims}
    budgets = lock_budgets([limit for project in projects.values() for limit in limits_of(project, now)], window)
    # Read again under the locks: a limit that changed in between is seen, and one that changes now has to wait.
    limits = {pk: limits_of(project, now) for pk, project in projects.items()}
    for limit in {limit for binding in limits.values() for limit in binding}:
        apply_limit(budgets[limit.organization_id, limit.project_id], limit)

    granted: list[Claim] = []
    refusals: list[Refusal] = []
    taken: dict[UUID, Decimal] = {budget.pk: Decimal(0) for budget in budgets.values()}
    for claim in claims:
        binding = [(limit, budgets[limit.organization_id, limit.project_id]) for limit in limits[claim.project.pk]]
        full = next((b for b in binding if not _fits(claim.amount_usd, b[1], taken[b[1].pk])), None)
        if full is not None:
            refusals.append(Refusal(claim, _state(*full, window, taken[full[1].pk])))
            continue
        granted.append(claim)
        for _, budget in binding:
            taken[budget.pk] += claim.amount_usd
    _raise_holds(taken)
    _record_grants(granted, limits, budgets, window, now)
    return refusals


def settle(reference: UUID, tokens: Tokens, *, snapshot: str, is_empty: bool = False) -> UsageRecord:
    """Replaces the hold by the actual cost, at the price that was in force when the call was reserved; once.

    Settling again returns the record of the first time. A cost above the bound is booked in full, flagged as an
    overrun, and pauses the project: the bound was a promise, and somebody should look before more is spent on it.
    Raises NoSuchReservation; AlreadyReleased where the hold was given back before.
    """
    _require_transaction()
    reservation = _locked_reservation(reference)
    if reservation.status == ReservationStatus.SETTLED:
        return reservation.usage_record
    if reservation.status == ReservationStatus.RELEASED:
        raise AlreadyReleased
    now = database_now()
    price = reservation.price
    parts = cost(tokens, terms_of(price))
    _move(reservation, held=-reservation.amount_usd, spent=parts.total_usd)
    _resolve(reservation, ReservationStatus.SETTLED, now, settled_usd=parts.total_usd)
    _write(reservation, EntryKind.SETTLE, now, held=-reservation.amount_usd, spent=parts.total_usd)
    record = UsageRecord.objects.create(
        reservation=reservation,
        organization_id=reservation.organization_id,
        project_id=reservation.project_id,
        team_id=reservation.team_id,
        member_id=reservation.member_id,
        api_key_id=reservation.api_key_id,
        model=reservation.model,
        snapshot=snapshot,
        service_tier=reservation.service_tier,
        input_tokens=tokens.input,
        cached_input_tokens=tokens.cached_input,
        output_tokens=tokens.output,
        reasoning_tokens=tokens.reasoning,
        price=price,
        input_usd_per_million=price.input_usd_per_million,
        cached_input_usd_per_million=price.cached_input_usd_per_million,
        output_usd_per_million=price.output_usd_per_million,
        input_usd=parts.input_usd,
        cached_input_usd=parts.cached_input_usd,
        output_usd=parts.output_usd,
        reasoning_usd=parts.reasoning_usd,
        total_usd=parts.total_usd,
        is_empty=is_empty,
        is_overrun=parts.total_usd > reservation.amount_usd,
        window_start=reservation.window_start,
        dispatched_at=reservation.reserved_at,
        recorded_at=now,
    )
    rollups.add(record)
    if record.is_overrun:
        _pause_after_overrun(record, now)
    return record


def release(reference: UUID, *, reason: str) -> None:
    """Gives the hold back: nothing was billed. Releasing again changes nothing; what is settled stays settled.

    Raises NoSuchReservation.
    """
    _require_transaction()
    reservation = _locked_reservation(reference)
    if reservation.status != ReservationStatus.OPEN:
        return
    now = database_now()
    _move(reservation, held=-reservation.amount_usd, spent=Decimal(0))
    _resolve(reservation, ReservationStatus.RELEASED, now)
    _write(reservation, EntryKind.RELEASE, now, held=-reservation.amount_usd, reason=reason)


def mark_in_doubt(reference: UUID, *, reason: str) -> None:
    """Notes that the outcome of a call is not known; its hold stays until it is. Raises NoSuchReservation."""
    _require_transaction()
    reservation = _locked_reservation(reference)
    if reservation.status != ReservationStatus.OPEN or reservation.is_in_doubt:
        return
    Reservation.objects.filter(pk=reservation.pk).update(is_in_doubt=True)
    _write(reservation, EntryKind.IN_DOUBT, database_now(), reason=reason)


def adjust(project: Project, amount_usd: Decimal, *, reason: str, actor: User) -> LedgerEntry:
    """Corrects the spend of the open month by a new entry, with the reason and the person.

    A correction may be negative.

    Late truth is booked even where it crosses a limit: the money is gone, and new holds stop instead.
    """
    _require_transaction()
    now = database_now()
    window = month_of(now)
    budgets = lock_budgets(limits_of(project, now), window)
    for budget in budgets.values():
        Budget.objects.filter(pk=budget.pk).update(spent_usd=F("spent_usd") + amount_usd)
    return LedgerEntry.objects.create(
        organization_id=project.organization_id,
        project=project,
        kind=EntryKind.ADJUST,
        held_change_usd=Decimal(0),
        spent_change_usd=amount_usd,
        window_start=window.start,
        recorded_at=now,
        reason=reason,
        actor=actor,
    )


def _require_transaction() -> None:
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("Money moves inside the caller's transaction only.")


def _fits(amount_usd: Decimal, budget: Budget, taken_usd: Decimal) -> bool:
    return budget.spent_usd + budget.held_usd + taken_usd + amount_usd <= budget.limit_usd


def _state(limit: Limit, budget: Budget, window: Window, taken_usd: Decimal) -> BudgetState:
    return BudgetState(limit, window, spent_usd=budget.spent_usd, held_usd=budget.held_usd + taken_usd)


def _raise_holds(taken: dict[UUID, Decimal]) -> None:
    """Adds to each budget what was granted on it.

    The condition repeats the check where no mistake above can reach it.
    """
    for budget_id, amount_usd in taken.items():
        if not amount_usd:
            continue
        raised = Budget.objects.filter(pk=budget_id, limit_usd__gte=F("spent_usd") + F("held_usd") + amount_usd).update(
            held_usd=F("held_usd") + amount_usd
        )
        if raised != 1:
            raise AssertionError(f"The holds granted on budget {budget_id} do not fit into it; nothing was held.")


def _record_grants(
    granted: Sequence[Claim],
    limits: dict[UUID, tuple[Limit, ...]],
    budgets: dict[tuple[UUID, UUID | None], Budget],
    window: Window,
    now: datetime,
) -> None:
    reservations = [
        Reservation(
            reference=claim.reference,
            amount_usd=claim.amount_usd,
            organization_id=claim.project.organization_id,
            project=claim.project,
            team_id=claim.team_id,
            member_id=claim.member_id,
            api_key_id=claim.api_key_id,
            model=claim.model,
            service_tier=claim.service_tier,
            price=claim.price,
            window_start=window.start,
            reserved_at=now,
        )
        for claim in granted
    ]
    Reservation.objects.bulk_create(reservations)
    Hold.objects.bulk_create(
        Hold(
            reservation=reservation,
            budget=budgets[limit.organization_id, limit.project_id],
            amount_usd=reservation.amount_usd,
        )
        for reservation in reservations
        for limit in limits[reservation.project_id]
    )
    LedgerEntry.objects.bulk_create(
        _entry(reservation, EntryKind.RESERVE, now, held=reservation.amount_usd) for reservation in reservations
    )


def _locked_reservation(reference: UUID) -> Reservation:
    reservation = (
        Reservation.objects.select_for_update(of=("self",)).select_related("price").filter(reference=reference).first()
    )
    if reservation is None:
        raise NoSuchReservation
    return reservation


def _move(reservation: Reservation, *, held: Decimal, spent: Decimal) -> None:
    """Changes every budget that the reservation holds on, in the order in which budgets are locked everywhere."""
    holds = reservation.holds.select_related("budget")
    for hold in sorted(holds, key=lambda hold: (hold.budget.project_id is not None, hold.budget.project_id)):
        Budget.objects.filter(pk=hold.budget_id).update(held_usd=F("held_usd") + held, spent_usd=F("spent_usd") + spent)


def _resolve(
    reservation: Reservation, status: ReservationStatus, now: datetime, settled_usd: Decimal | None = None
) -> None:
    resolved = Reservation.objects.filter(pk=reservation.pk, status=ReservationStatus.OPEN).update(
        status=status, settled_usd=settled_usd, resolved_at=now, is_in_doubt=False
    )
    if resolved != 1:
        raise AssertionError(f"Reservation {reservation.pk} was resolved twice.")


def _entry(
    reservation: Reservation,
    kind: EntryKind,
    now: datetime,
    *,
    held: Decimal = Decimal(0),
    spent: Decimal = Decimal(0),
    reason: str = "",
) -> LedgerEntry:
    return LedgerEntry(
        organization_id=reservation.organization_id,
        project_id=reservation.project_id,
        reservation=reservation,
        kind=kind,
        held_change_usd=held,
        spent_change_usd=spent,
        window_start=reservation.window_start,
        recorded_at=now,
        reason=reason,
    )


def _write(
    reservation: Reservation,
    kind: EntryKind,
    now: datetime,
    *,
    held: Decimal = Decimal(0),
    spent: Decimal = Decimal(0),
    reason: str = "",
) -> None:
    _entry(reservation, kind, now, held=held, spent=spent, reason=reason).save()


def _pause_after_overrun(record: UsageRecord, now: datetime) -> None:
    Project.objects.filter(pk=record.project_id, paused_at__isnull=True).update(
        paused_at=now,
        paused_reason=f"A call of {record.model} cost {usd(record.total_usd)} USD, more than the bound held for it.",
    )
