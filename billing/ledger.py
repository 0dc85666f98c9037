"""The one door to money: reserve before a call, settle or release after it, mark in doubt, adjust.

Every function here runs inside the caller's transaction, so that money and the caller's own rows change together or not
at all. An organization's money has one lock, its book (`billing.books`), taken before anything of it is read. What is
decided is pure (`billing.grants`, `billing.settlements`); what is read and written goes through `billing.storage`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import connection, transaction
from uuid_utils.compat import uuid7

from accounts.models import Project, User
from billing import storage
from billing.chain import Head, Line
from billing.errors import AlreadyReleased, NoSuchReservation
from billing.grants import Claim, Granted, Likely, Refusal, grant
from billing.limits import Limit, Owner, counts_corrections
from billing.models import LedgerEntry, UsageRecord
from billing.models.budgets import ReservationStatus
from billing.models.entries import EntryKind
from billing.money import usd
from billing.periods import month_of
from billing.prices import terms_of
from billing.pricing import Tokens, cost
from billing.settlements import (
    Move,
    Reserved,
    Settlement,
    Usage,
    clock,
    is_another_model,
    line,
    moves,
    settlement,
    total,
)

__all__ = [
    "Claim",
    "Likely",
    "Refusal",
    "Usage",
    "adjust",
    "correct",
    "mark_in_doubt",
    "mark_in_doubt_all",
    "release",
    "release_all",
    "reserve",
    "settle",
    "settle_all",
]


def reserve(claims: Sequence[Claim]) -> list[Refusal]:
    """Holds what every claim may come to, if it fits into all of its budgets, in order; returns those that do not fit.

    1. The organizations' books are locked, in order: from here on their money stands still.
    2. The limits are read under the lock, so that one that was changed before is seen, and their budgets are opened.
    3. Each claim is granted on all of its budgets or on none: with its bound or, where the organization keeps a reserve
       that has room, with what is likely on its quotas and the rest on the reserve.
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
    made = [(_reserved(granted, heads, now), granted) for granted in grants.granted]
    storage.insert_reservations(made)
    storage.append(heads, [line(row, EntryKind.RESERVE, heads[row.organization_id], now) for row, _ in made])
    storage.note_exhausted(accounts[r.budget.limit.key].budget_id for r in grants.refusals if r.is_final)
    return grants.refusals


def settle(reference: UUID, tokens: Tokens, *, snapshot: str, is_empty: bool = False) -> UsageRecord:
    """Settles one reservation, as `settle_all` does many."""
    (record,) = settle_all([Usage(reference, tokens, snapshot, is_empty)])
    return record


def settle_all(usages: Sequence[Usage]) -> list[UsageRecord]:
    """Replaces each hold by the actual cost, at the price that was in force when the call was reserved; once.

    Where another model answered than was asked, it is that one's, if it is known: the provider bills who worked.
    Returns the usage records, in order. What was settled before, or is named twice, gets the record of the first time.
    A cost above the bound is booked in full, flagged as an overrun, and pauses the project: the bound was a promise,
    and somebody should look before more is spent on it. A call of a closed month is booked now, with that month's name.
    Raises NoSuchReservation; AlreadyReleased where a hold was given back before. Then nothing of the batch is written.
    """
    _require_transaction()
    rows, heads = _locked_reservations(usage.reference for usage in usages)
    if any(row.status == ReservationStatus.RELEASED for row in rows.values()):
        raise AlreadyReleased
    records = storage.usage_records([row for row in rows.values() if row.status == ReservationStatus.SETTLED])
    # In reverse, so that of two that name one reservation the first is what remains.
    fresh = {usage.reference: usage for usage in reversed(usages) if rows[usage.reference].is_open}
    if fresh:
        records |= _settle([(row, fresh[row.reference]) for row in rows.values() if row.is_open], heads)
    return [records[usage.reference] for usage in usages]


def release(reference: UUID, *, reason: str, actor: User | None = None) -> None:
    """Gives one hold back, as `release_all` does many."""
    release_all({reference: reason}, actor=actor)


def release_all(reasons: Mapping[UUID, str], *, actor: User | None = None) -> None:
    """Gives holds back, each for its reason: nothing was billed. `actor`: the person who says so, if one does.

    Releasing again changes nothing; what is settled stays settled. Raises NoSuchReservation; then none was given back.
    """
    _require_transaction()
    rows, heads = _locked_reservations(reasons)
    held = [row for row in rows.values() if row.is_open]
    if not held:
        return
    now = storage.now()
    storage.move(total(moves(row) for row in held))
    _resolve([(row, None) for row in held], ReservationStatus.RELEASED, now)
    by = actor.pk if actor else None
    lines = [
        line(row, EntryKind.RELEASE, heads[row.organization_id], now, reason=reasons[row.reference], actor_id=by)
        for row in held
    ]
    storage.append(heads, lines)


def mark_in_doubt(reference: UUID, *, reason: str) -> None:
    """Notes one doubt, as `mark_in_doubt_all` does many."""
    mark_in_doubt_all({reference: reason})


def mark_in_doubt_all(reasons: Mapping[UUID, str]) -> None:
    """Notes that the outcomes of calls are not known; their holds stay until they are. Raises NoSuchReservation."""
    _require_transaction()
    rows, heads = _locked_reservations(reasons)
    doubted = [row for row in rows.values() if row.is_open and not row.is_in_doubt]
    if not doubted:
        return
    now = storage.now()
    storage.doubt(doubted)
    lines = [
        line(row, EntryKind.IN_DOUBT, heads[row.organization_id], now, reason=reasons[row.reference]) for row in doubted
    ]
    storage.append(heads, lines)


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


def correct(reference: UUID, tokens: Tokens, *, reason: str, actor: User) -> Decimal:
    """Adjusts what was booked for a call to the tokens that it turns out to have used; returns by how much.

    Its usage record stays as it was written. Raises NoSuchReservation.
    """
    _require_transaction()
    rows, _ = _locked_reservations([reference])
    row = rows[reference]
    assert not row.is_open, "an open reservation is settled, not corrected"
    difference = cost(tokens, row.terms).total_usd - storage.settled_usd(row)
    if difference:
        project = Project.objects.select_related("organization").get(pk=row.project_id)
        adjust(project, difference, reason=reason, actor=actor, corrects=row.reserved_at)
    return difference


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


def _reserved(granted: Granted, heads: Mapping[UUID, Head], now: datetime) -> Reserved:
    """The reservation of a granted claim."""
    claim = granted.claim
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
        reserved_at=clock(heads[organization_id], now),
        terms=terms_of(claim.price),
        likely_usd=granted.likely_usd,
    )


def _locked_reservations(references: Iterable[UUID]) -> tuple[dict[UUID, Reserved], Mapping[UUID, Head]]:
    """Reservations, in order, behind the locks of their organizations' books: whoever comes second finds them resolved.

    Raises NoSuchReservation where one is not there.
    """
    wanted = list(dict.fromkeys(references))
    organizations = storage.organizations_of(wanted)
    if len(organizations) < len(wanted):
        raise NoSuchReservation
    heads = storage.lock(organizations.values())
    found = storage.reservations(wanted)
    return {reference: found[reference] for reference in wanted}, heads


def _settle(answered: Sequence[tuple[Reserved, Usage]], heads: Mapping[UUID, Head]) -> dict[UUID, UsageRecord]:
    """Books the usage of open reservations; returns the records by reference."""
    now = storage.now()
    answered = [(_at_price_of(usage.snapshot, row), usage) for row, usage in answered]
    settled = [settlement(row, usage.tokens, heads[row.organization_id], now) for row, usage in answered]
    storage.move(_moves(settled, heads, now))
    _resolve([(each.reserved, each.total_usd) for each in settled], ReservationStatus.SETTLED, now)
    lines = [
        line(
            *(row, EntryKind.SETTLE, heads[row.organization_id], now),
            spent=each.total_usd,
            reason=usage.reason,
            actor_id=usage.actor_id,
        )
        for each, (row, usage) in zip(settled, answered, strict=True)
    ]
    storage.append(heads, lines)
    records = storage.record_usages([(each, usage) for each, (_, usage) in zip(settled, answered, strict=True)], now)
    for each in settled:
        if each.is_overrun:
            _pause_after_overrun(each, now)
    return records


def _at_price_of(answered: str, row: Reserved) -> Reserved:
    """The reservation; where another model answered than was asked, at the price of that one, if it is known."""
    if not is_another_model(row.model, answered):
        return row
    price = storage.price_of(answered, row)
    return row if price is None else replace(row, price_id=price.pk, terms=terms_of(price))


def _moves(settled: Sequence[Settlement], heads: Mapping[UUID, Head], now: datetime) -> dict[UUID, Move]:
    """What settlements do to the budgets; late truth counts on those that bind its owner at the time of booking."""
    late = [each.reserved for each in settled if each.is_late]
    if not late:
        return total(moves(each.reserved, each) for each in settled)
    owners = storage.owners_of(late)
    limits = _limits(owners.values(), heads, now)
    accounts = storage.open_accounts(limit for binding in limits.values() for limit in binding)
    # Read again: a budget that was just opened counts these calls among those that hold on it.
    held = storage.reservations([each.reserved.reference for each in settled])
    found = []
    for each in settled:
        reference = each.reserved.reference
        binding = limits[owners[reference]] if each.is_late else ()
        found.append(moves(held[reference], each, binding, accounts))
    return total(found)


def _is_corrected(limit: Limit) -> bool:
    return counts_corrections(limit.measure, limit.scope, limit.model)


def _resolve(rows: Sequence[tuple[Reserved, Decimal | None]], status: ReservationStatus, now: datetime) -> None:
    if storage.resolve(rows, status, now) != len(rows):
        raise AssertionError(f"A reservation was {status} that was resolved before; nothing was written.")


def _pause_after_overrun(settled: Settlement, now: datetime) -> None:
    row = settled.reserved
    cost = usd(settled.total_usd)
    storage.raise_overrun(settled)
    storage.pause(row.project_id, now, f"A call of {row.model} cost {cost} USD, more than the bound held for it.")
