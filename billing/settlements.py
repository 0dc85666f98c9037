"""What resolving a reservation does to money: which budgets move, and what is written into the book. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from billing.amounts import Amounts, actual
from billing.chain import Head, Line
from billing.grants import Account
from billing.limits import Key, Limit
from billing.models.budgets import ReservationStatus
from billing.models.entries import EntryKind
from billing.periods import month_of
from billing.pricing import Cost, PriceTerms, Tokens, cost

ZERO = Decimal(0)
SNAPSHOT_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")


@dataclass(frozen=True, slots=True)
class Usage:
    """What the provider says that the call of a reservation used, and which model answered.

    `is_empty`: it was paid for, and there is no visible answer. `reason` and `actor_id` where the provider did not say
    it: the tokens are presumed.
    """

    reference: UUID
    tokens: Tokens
    snapshot: str
    is_empty: bool = False
    reason: str = ""
    actor_id: int | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """What a reservation keeps on one budget, in the unit of the budget's measure."""

    budget_id: UUID
    measure: str
    amount: Decimal
    is_relieved: bool = False


@dataclass(frozen=True, slots=True)
class Reserved:
    """A reservation as it stands behind the lock of its organization's book."""

    id: UUID
    reference: UUID
    status: str
    is_in_doubt: bool
    amount_usd: Decimal
    organization_id: UUID
    project_id: UUID
    team_id: UUID | None
    member_id: int | None
    api_key_id: UUID | None
    model: str
    service_tier: str
    price_id: int
    reserved_at: datetime
    terms: PriceTerms
    holds: tuple[Hold, ...] = ()
    likely_usd: Decimal | None = None  # what quotas hold of the amount, where a reserve holds the rest

    @property
    def is_open(self) -> bool:
        return self.status == ReservationStatus.OPEN


@dataclass(frozen=True, slots=True)
class Move:
    """What one budget gains and loses."""

    held: Decimal
    spent: Decimal


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a call came to, and when its money counts: at its dispatch, or later where that month is closed."""

    reserved: Reserved
    tokens: Tokens
    cost: Cost
    total_usd: Decimal
    booked_at: datetime

    @property
    def amounts(self) -> Amounts:
        return actual(self.total_usd, self.tokens, self.reserve_usd)

    @property
    def reserve_usd(self) -> Decimal:
        """What a reserve pays of it."""
        return paid_by_reserve(self.total_usd, self.reserved.amount_usd, self.reserved.likely_usd)

    @property
    def is_late(self) -> bool:
        return self.booked_at != self.reserved.reserved_at

    @property
    def is_overrun(self) -> bool:
        return self.total_usd > self.reserved.amount_usd


def paid_by_reserve(total_usd: Decimal, bound_usd: Decimal, likely_usd: Decimal | None) -> Decimal:
    """What a reserve pays of a call: all beyond the likely, up to the bound. What is above that, it never held."""
    return ZERO if likely_usd is None else max(min(total_usd, bound_usd) - likely_usd, ZERO)


def clock(head: Head, now: datetime) -> datetime:
    """The time of a book: the database's, but never in a closed month, even where that clock was set back into one."""
    return max(now, head.closed_until)


def booked_at(happened_at: datetime, head: Head, now: datetime) -> datetime:
    """When money counts: at the dispatch of its call, or by the book's clock if that month is closed."""
    return happened_at if happened_at >= head.closed_until else clock(head, now)


def undated(name: str) -> str:
    """A model's name without the date of a snapshot: o1-mini-2024-09-12 as o1-mini."""
    return SNAPSHOT_DATE.sub("", name)


def is_another_model(asked: str, answered: str) -> bool:
    """Whether neither the model that was asked for answered, nor a snapshot of it."""
    return undated(answered) != undated(asked)


def settlement(reserved: Reserved, tokens: Tokens, head: Head, now: datetime) -> Settlement:
    """What the call came to at the price of its reservation, booked where its month allows."""
    of_tokens = cost(tokens, reserved.terms)
    return Settlement(reserved, tokens, of_tokens, of_tokens.total_usd, booked_at(reserved.reserved_at, head, now))


def moves(
    reserved: Reserved,
    settled: Settlement | None = None,
    late: Sequence[Limit] = (),
    accounts: Mapping[Key, Account] | None = None,
) -> dict[UUID, Move]:
    """What resolving a reservation does to each budget: the holds are given back; what was settled is spent.

    It is spent on the budgets that held it; where its month is closed, on those that bind its owner now, `late`.
    """
    amounts = settled.amounts if settled else None
    spent_here = settled is not None and not settled.is_late
    found = {
        hold.budget_id: Move(-hold.amount, _spent_on(hold, amounts) if amounts and spent_here else ZERO)
        for hold in reserved.holds
    }
    for limit in late:
        assert amounts is not None
        assert accounts is not None
        budget_id = accounts[limit.key].budget_id
        before = found.get(budget_id, Move(ZERO, ZERO))
        found[budget_id] = Move(before.held, before.spent + limit.counts(amounts))
    return found


def _spent_on(hold: Hold, amounts: Amounts) -> Decimal:
    return amounts.counted(hold.measure, is_relieved=hold.is_relieved)


def total(found: Iterable[Mapping[UUID, Move]]) -> dict[UUID, Move]:
    """The sum of moves on each budget."""
    sums: dict[UUID, Move] = {}
    for each in found:
        for budget_id, move in each.items():
            before = sums.get(budget_id)
            sums[budget_id] = Move(before.held + move.held, before.spent + move.spent) if before else move
    return sums


def line(
    reserved: Reserved,
    kind: EntryKind,
    head: Head,
    now: datetime,
    *,
    spent: Decimal = ZERO,
    reason: str = "",
    actor_id: int | None = None,
) -> Line:
    """What happened to a reservation, as a line of the month of its dispatch or, if that is closed, of the open one."""
    of_call = month_of(reserved.reserved_at).start
    booked = month_of(booked_at(reserved.reserved_at, head, now)).start
    held = {EntryKind.RESERVE: reserved.amount_usd, EntryKind.IN_DOUBT: ZERO}.get(kind, -reserved.amount_usd)
    return Line(
        organization=reserved.organization_id,
        kind=kind.value,
        project=reserved.project_id,
        team=reserved.team_id,
        reservation=reserved.id,
        held_change_usd=held,
        spent_change_usd=spent,
        window_start=booked,
        recorded_at=clock(head, now),
        reason=reason,
        actor=actor_id,
        corrects=of_call if booked != of_call else None,
    )
