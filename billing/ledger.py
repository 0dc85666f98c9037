"""The one door to money: reserve before a call, settle or release after it, mark in doubt, adjust.

Every function here runs inside the caller's transaction, so that money and the caller's own rows change together or not
at all. An organization's money has one lock, its book (`billing.books`), taken before anything of it is read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F

from accounts.models import Project, User
from billing import books, rollups
from billing.budgets import BudgetState, Key, Limit, Owner, limits_of, limits_of_all, open_budgets
from billing.clock import database_now
from billing.counting import Amounts, actual, at_most
from billing.errors import AlreadyReleased, NoSuchReservation
from billing.models import Book, Budget, Hold, LedgerEntry, Measure, Price, Reservation, Scope, UsageRecord
from billing.models.budgets import ReservationStatus
from billing.models.entries import EntryKind
from billing.money import usd
from billing.periods import month_of
from billing.prices import terms_of
from billing.pricing import Tokens, cost
from billing.rollups import OWNER

Books = Mapping[UUID, Book]


@dataclass(frozen=True, slots=True)
class Claim:
    """What one call may come to at most, and whom it belongs to."""

    reference: UUID
    amount_usd: Decimal
    input_tokens: int
    output_tokens: int
    owner: Owner  # with the model
    service_tier: str
    price: Price

    @property
    def amounts(self) -> Amounts:
        return at_most(self.amount_usd, input_tokens=self.input_tokens, output_tokens=self.output_tokens)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A claim that was not granted, and the first budget that it did not fit into."""

    claim: Claim
    budget: BudgetState

    def describe(self) -> dict[str, object]:
        return self.budget.describe(required=self.claim.amounts.of(self.budget.limit.measure))


def reserve(claims: Sequence[Claim]) -> list[Refusal]:
    """Holds what every claim may come to, if it fits into all of its budgets, in order; returns those that do not fit.

    1. The organizations' books are locked, in order: from here on their money stands still.
    2. The limits are read under the lock, so that one that was changed before is seen, and their budgets are opened.
    3. Each claim is granted on all of its budgets or on none.
    4. Each budget is raised once, by an UPDATE that itself refuses to cross the limit.
    """
    _require_transaction()
    now = database_now()
    locked = books.lock(claim.owner.organization.pk for claim in claims)
    limits = limits_of_all((claim.owner for claim in claims), now)
    budgets = open_budgets(limit for binding in limits.values() for limit in binding)

    granted: list[Claim] = []
    refusals: list[Refusal] = []
    taken: dict[Key, Decimal] = dict.fromkeys(budgets, Decimal(0))
    for claim in claims:
        binding = limits[claim.owner]
        full = next((limit for limit in binding if not _fits(claim, limit, budgets, taken)), None)
        if full is not None:
            budget = budgets[full.key]
            refusals.append(Refusal(claim, BudgetState(full, budget.spent, budget.held + taken[full.key])))
            continue
        granted.append(claim)
        for limit in binding:
            taken[limit.key] += claim.amounts.of(limit.measure)
    _raise_holds(budgets, taken, {limit.key: limit for binding in limits.values() for limit in binding})
    _record_grants(granted, limits, budgets, locked, now)
    return refusals


def settle(reference: UUID, tokens: Tokens, *, snapshot: str, is_empty: bool = False) -> UsageRecord:
    """Replaces the hold by the actual cost, at the price that was in force when the call was reserved; once.

    Settling again returns the record of the first time. A cost above the bound is booked in full, flagged as an
    overrun, and pauses the project: the bound was a promise, and somebody should look before more is spent on it.
    Raises NoSuchReservation; AlreadyReleased where the hold was given back before.
    """
    _require_transaction()
    reservation, locked = _locked_reservation(reference)
    if reservation.status == ReservationStatus.SETTLED:
        return reservation.usage_record
    if reservation.status == ReservationStatus.RELEASED:
        raise AlreadyReleased
    now = database_now()
    price = reservation.price
    parts = cost(tokens, terms_of(price))
    _settle_holds(reservation, actual(parts.total_usd, tokens))
    _resolve(reservation, ReservationStatus.SETTLED, now, settled_usd=parts.total_usd)
    entry = _entry(reservation, EntryKind.SETTLE, now, held=-reservation.amount_usd, spent=parts.total_usd)
    books.append(locked, [entry])
    record = UsageRecord.objects.create(
        reservation=reservation,
        **{name: getattr(reservation, name) for name in OWNER},
        snapshot=snapshot,
        input_tokens=tokens.input,
        cached_input_tokens=tokens.cached_input,
        output_tokens=tokens.output,
        reasoning_tokens=tokens.reasoning,
        price=price,
        input_usd_per_million=price.input_usd_per_million,
        cached_input_usd_per_million=price.cached_input_usd_per_million,
        output_usd_per_million=price.output_usd_per_million,
        **asdict(parts),
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
    reservation, locked = _locked_reservation(reference)
    if reservation.status != ReservationStatus.OPEN:
        return
    now = database_now()
    for hold in reservation.holds.all():
        Budget.objects.filter(pk=hold.budget_id).update(held=F("held") - hold.amount)
    _resolve(reservation, ReservationStatus.RELEASED, now)
    books.append(locked, [_entry(reservation, EntryKind.RELEASE, now, held=-reservation.amount_usd, reason=reason)])


def mark_in_doubt(reference: UUID, *, reason: str) -> None:
    """Notes that the outcome of a call is not known; its hold stays until it is. Raises NoSuchReservation."""
    _require_transaction()
    reservation, locked = _locked_reservation(reference)
    if reservation.status != ReservationStatus.OPEN or reservation.is_in_doubt:
        return
    Reservation.objects.filter(pk=reservation.pk).update(is_in_doubt=True)
    books.append(locked, [_entry(reservation, EntryKind.IN_DOUBT, database_now(), reason=reason)])


def adjust(project: Project, amount_usd: Decimal, *, reason: str, actor: User) -> LedgerEntry:
    """Corrects the spend of the open month by a new entry, with the reason and the person.

    A correction may be negative. Late truth is booked even where it crosses a limit: the money is gone, and new holds
    stop instead.
    """
    _require_transaction()
    now = database_now()
    locked = books.lock([project.organization_id])
    levels = {Scope.ORGANIZATION, Scope.TEAM, Scope.PROJECT}
    binding = [
        limit
        for limit in limits_of(Owner(project, project.team_id), now)
        if limit.measure == Measure.USD and limit.scope in levels and not limit.model
    ]
    for budget in open_budgets(binding).values():
        Budget.objects.filter(pk=budget.pk).update(spent=F("spent") + amount_usd)
    entry = LedgerEntry(
        organization_id=project.organization_id,
        project=project,
        team_id=project.team_id,
        kind=EntryKind.ADJUST,
        held_change_usd=Decimal(0),
        spent_change_usd=amount_usd,
        window_start=month_of(now).start,
        recorded_at=now,
        reason=reason,
        actor=actor,
    )
    books.append(locked, [entry])
    return entry


def _require_transaction() -> None:
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("Money moves inside the caller's transaction only.")


def _fits(claim: Claim, limit: Limit, budgets: Mapping[Key, Budget], taken: Mapping[Key, Decimal]) -> bool:
    """Whether a claim fits beside all that is used, held, and granted in this batch. A soft limit never refuses."""
    budget = budgets[limit.key]
    total = budget.spent + budget.held + taken[limit.key] + claim.amounts.of(limit.measure)
    return not limit.is_hard or total <= budget.limit


def _raise_holds(budgets: Mapping[Key, Budget], taken: Mapping[Key, Decimal], limits: Mapping[Key, Limit]) -> None:
    """Adds to each budget what was granted on it.

    The condition repeats the check where no mistake above can reach it.
    """
    for key, amount in taken.items():
        if not amount:
            continue
        rows = Budget.objects.filter(pk=budgets[key].pk)
        if limits[key].is_hard:
            rows = rows.filter(limit__gte=F("spent") + F("held") + amount)
        if rows.update(held=F("held") + amount) != 1:
            raise AssertionError(f"The holds granted on budget {budgets[key].pk} do not fit into it; nothing was held.")


def _record_grants(
    granted: Sequence[Claim],
    limits: Mapping[Owner, Sequence[Limit]],
    budgets: Mapping[Key, Budget],
    locked: Books,
    now: datetime,
) -> None:
    reservations = [
        Reservation(
            reference=claim.reference,
            amount_usd=claim.amount_usd,
            input_tokens=claim.input_tokens,
            output_tokens=claim.output_tokens,
            organization_id=claim.owner.organization.pk,
            project=claim.owner.project,
            team_id=claim.owner.team_id,
            member_id=claim.owner.member_id,
            api_key_id=claim.owner.api_key_id,
            model=claim.owner.model or "",
            service_tier=claim.service_tier,
            price=claim.price,
            window_start=month_of(now).start,
            reserved_at=now,
        )
        for claim in granted
    ]
    Reservation.objects.bulk_create(reservations)
    Hold.objects.bulk_create(
        Hold(reservation=reservation, budget=budgets[limit.key], amount=claim.amounts.of(limit.measure))
        for claim, reservation in zip(granted, reservations, strict=True)
        for limit in limits[claim.owner]
    )
    books.append(
        locked,
        [_entry(reservation, EntryKind.RESERVE, now, held=reservation.amount_usd) for reservation in reservations],
    )


def _locked_reservation(reference: UUID) -> tuple[Reservation, Books]:
    """A reservation behind the lock of its organization's book: whoever comes second finds it resolved."""
    organizations = Reservation.objects.filter(reference=reference).values_list("organization_id", flat=True)
    locked = books.lock(organizations)
    if not locked:
        raise NoSuchReservation
    return Reservation.objects.select_related("price").get(reference=reference), locked


def _settle_holds(reservation: Reservation, amounts: Amounts) -> None:
    """Replaces each hold by what the call came to, in the measure of its budget."""
    for hold in reservation.holds.select_related("budget"):
        spent = amounts.of(hold.budget.measure)
        Budget.objects.filter(pk=hold.budget_id).update(held=F("held") - hold.amount, spent=F("spent") + spent)


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
        team_id=reservation.team_id,
        reservation=reservation,
        kind=kind,
        held_change_usd=held,
        spent_change_usd=spent,
        window_start=reservation.window_start,
        recorded_at=now,
        reason=reason,
    )


def _pause_after_overrun(record: UsageRecord, now: datetime) -> None:
    Project.objects.filter(pk=record.project_id, paused_at__isnull=True).update(
        paused_at=now,
        paused_reason=f"A call of {record.model} cost {usd(record.total_usd)} USD, more than the bound held for it.",
    )
