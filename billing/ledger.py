"""The one door to money: reserve before a call, settle or release after it, mark in doubt, adjust.

Every function here runs inside the caller's transaction, so that money and the caller's own rows change together or not
at all. An organization's money has one lock, its book (`billing.books`), taken before anything of it is read. What is
decided is pure (`billing.grants`, `billing.settlements`); what is read and written goes through `billing.storage`.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import connection, transaction
from uuid_utils.compat import uuid7

from accounts.models import Project, User
from billing import storage
from billing.chain import Head, Line
from billing.errors import AlreadyReleased, NoSuchReservation
from billing.grants import Claim, Refusal, grant
from billing.limits import Limit, Owner, counts_corrections
from billing.models import LedgerEntry, UsageRecord
from billing.models.budgets import ReservationStatus
from billing.models.entries import EntryKind
from billing.money import usd
from billing.periods import month_of
from billing.prices import terms_of
from billing.pricing import Tokens
from billing.settlements import Move, Reserved, Settlement, clock, line, moves, settlement

__all__ = ["Claim", "Refusal", "adjust", "mark_in_doubt", "release", "reserve", "settle"]


def reserve(claims: Sequence[Claim]) -> list[Refusal]:
    """Holds what every claim may come to, if it fits into all of its budgets, in order; returns those that do not fit.

    1. The organizations' books are locked, in order: from here on their money stands still.
    2. The limits are read under the lock, so that one that was changed before is seen, and their budgets are opened.
    3. Each claim is granted on all of its budgets or on none.
    4. Each budget is raised once, by an UPDATE that itself refuses to cross the limit.
    """
    _require_transaction()
    if not claims:
        return []
    heads = storage.lock(claim.owner.organization.pk for claim in claims)
    now = storage.now()
    limits = _limits((claim.owner for claim in claims), heads, now)
    accounts = storage.open_accounts(limit for binding in limits.values() for limit in binding)
    grants = grant(claims, limits, accounts)
    if storage.raise_holds(grants.raises) != len(grants.raises):
        raise AssertionError("The holds granted do not fit into their budgets; nothing was held.")
    made = [(_reserved(claim, heads, now), claim, holds) for claim, holds in grants.granted]
    storage.insert_reservations(made)
    storage.append(heads, [line(row, EntryKind.RESERVE, heads[row.organization_id], now) for row, _, _ in made])
    return grants.refusals


def settle(reference: UUID, tokens: Tokens, *, snapshot: str, is_empty: bool = False) -> UsageRecord:
    """Replaces the hold by the actual cost, at the price that was in force when the call was reserved; once.

    Settling again returns the record of the first time. A cost above the bound is booked in full, flagged as an
    overrun, and pauses the project: the bound was a promise, and somebody should look before more is spent on it.
    A call of a closed month is booked now, with that month's name. Raises NoSuchReservation; AlreadyReleased where the
    hold was given back before.
    """
    _require_transaction()
    row, heads = _locked_reservation(reference)
    if row.status == ReservationStatus.SETTLED:
        return storage.usage_record(row)
    if row.status == ReservationStatus.RELEASED:
        raise AlreadyReleased
    now = storage.now()
    head = heads[row.organization_id]
    settled = settlement(row, tokens, head, now)
    storage.move(_moves(settled))
    _resolve(row, ReservationStatus.SETTLED, now, settled.total_usd)
    storage.append(heads, [line(row, EntryKind.SETTLE, head, now, spent=settled.total_usd)])
    record = storage.record_usage(settled, snapshot=snapshot, is_empty=is_empty, now=now)
    if settled.is_overrun:
        _pause_after_overrun(settled, now)
    return record


def release(reference: UUID, *, reason: str) -> None:
    """Gives the hold back: nothing was billed. Releasing again changes nothing; what is settled stays settled.

    Raises NoSuchReservation.
    """
    _require_transaction()
    row, heads = _locked_reservation(reference)
    if not row.is_open:
        return
    now = storage.now()
    storage.move(moves(row))
    _resolve(row, ReservationStatus.RELEASED, now)
    storage.append(heads, [line(row, EntryKind.RELEASE, heads[row.organization_id], now, reason=reason)])


def mark_in_doubt(reference: UUID, *, reason: str) -> None:
    """Notes that the outcome of a call is not known; its hold stays until it is. Raises NoSuchReservation."""
    _require_transaction()
    row, heads = _locked_reservation(reference)
    if not row.is_open or row.is_in_doubt:
        return
    storage.doubt(row)
    head = heads[row.organization_id]
    storage.append(heads, [line(row, EntryKind.IN_DOUBT, head, storage.now(), reason=reason)])


def adjust(
    project: Project, amount_usd: Decimal, *, reason: str, actor: User, corrects: datetime | None = None
) -> LedgerEntry:
    """Corrects the spend of the open month by a new entry, with the reason and the person.

    A correction may be negative. Late truth is booked even where it crosses a limit: the money is gone, and new holds
    stop instead. `corrects` names the month that the truth is about, by any instant in it, where that is another.
    """
    _require_transaction()
    heads = storage.lock([project.organization_id])
    now = storage.now()
    head = heads[project.organization_id]
    owner = Owner(project, project.team_id)
    accounts = storage.open_accounts(limit for limit in _limits([owner], heads, now)[owner] if _is_corrected(limit))
    storage.move({account.budget_id: Move(Decimal(0), amount_usd) for account in accounts.values()})
    month = month_of(clock(head, now)).start
    about = month_of(corrects).start if corrects else month
    entry = Line(
        organization=project.organization_id,
        kind=EntryKind.ADJUST.value,
        project=project.pk,
        team=project.team_id,
        reservation=None,
        held_change_usd=Decimal(0),
        spent_change_usd=amount_usd,
        window_start=month,
        recorded_at=clock(head, now),
        reason=reason,
        actor=actor.pk,
        corrects=about if about != month else None,
    )
    storage.append(heads, [entry])
    return storage.entry(project.organization_id, entry.sequence)


def _require_transaction() -> None:
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("Money moves inside the caller's transaction only.")


def _limits(owners: Iterable[Owner], heads: Mapping[UUID, Head], now: datetime) -> dict[Owner, tuple[Limit, ...]]:
    """The limits that bind owners now, by the clocks of their books."""
    by_instant: dict[datetime, list[Owner]] = {}
    for owner in dict.fromkeys(owners):
        by_instant.setdefault(clock(heads[owner.organization.pk], now), []).append(owner)
    found: dict[Owner, tuple[Limit, ...]] = {}
    for instant, own in by_instant.items():
        found |= storage.limits(own, instant)
    return found


def _reserved(claim: Claim, heads: Mapping[UUID, Head], now: datetime) -> Reserved:
    """The reservation of a granted claim."""
    organization_id = claim.owner.organization.pk
    return Reserved(
        id=uuid7(),
        reference=claim.reference,
        status=ReservationStatus.OPEN,
        is_in_doubt=False,
        amount_usd=claim.amount_usd,
        organization_id=organization_id,
        project_id=claim.owner.project.pk,
        team_id=claim.owner.team_id,
        member_id=claim.owner.member_id,
        api_key_id=claim.owner.api_key_id,
        model=claim.owner.model or "",
        service_tier=claim.service_tier,
        price_id=claim.price.pk,
        terms=terms_of(claim.price),
        reserved_at=clock(heads[organization_id], now),
    )


def _locked_reservation(reference: UUID) -> tuple[Reserved, Mapping[UUID, Head]]:
    """A reservation behind the lock of its organization's book: whoever comes second finds it resolved."""
    organization_id = storage.organization_of(reference)
    if organization_id is None:
        raise NoSuchReservation
    heads = storage.lock([organization_id])
    return storage.reserved(reference), heads


def _moves(settled: Settlement) -> dict[UUID, Move]:
    """What a settlement does to the budgets; late truth counts on those that bind its owner at the time of booking."""
    if not settled.is_late:
        return moves(settled.reserved, settled)
    owner = storage.owner_of(settled.reserved)
    late = storage.limits([owner], settled.booked_at)[owner]
    accounts = storage.open_accounts(late)
    # Read again: a budget that was just opened counts this call among those that hold on it.
    held = storage.reserved(settled.reserved.reference)
    return moves(held, settled, late, accounts)


def _is_corrected(limit: Limit) -> bool:
    return counts_corrections(limit.measure, limit.scope, limit.model)


def _resolve(row: Reserved, status: ReservationStatus, now: datetime, settled_usd: Decimal | None = None) -> None:
    if storage.resolve(row, status, now, settled_usd) != 1:
        raise AssertionError(f"Reservation {row.id} was resolved twice.")


def _pause_after_overrun(settled: Settlement, now: datetime) -> None:
    row = settled.reserved
    cost = usd(settled.total_usd)
    storage.raise_overrun(settled)
    storage.pause(row.project_id, now, f"A call of {row.model} cost {cost} USD, more than the bound held for it.")
