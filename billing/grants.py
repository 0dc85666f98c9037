"""Which claims are granted on their budgets, and what that holds. Pure, and exact to the last digit."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from uuid import UUID

from billing.amounts import Amounts, at_most
from billing.limits import BudgetState, Key, Limit, Owner
from billing.models import Price


@dataclass(frozen=True, slots=True)
class Likely:
    """What a call will probably not exceed. `risk`: the share of such calls that will, as far as is known."""

    usd: Decimal
    risk: Decimal


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
    likely: Likely | None = None  # what a reserve lets quotas hold instead

    @property
    def amounts(self) -> Amounts:
        return at_most(self.amount_usd, input_tokens=self.input_tokens, output_tokens=self.output_tokens)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A claim that was not granted, and the first budget that its bound did not fit into.

    `is_final`: it would not fit if nothing else were held either; only another limit or window helps.
    """

    claim: Claim
    budget: BudgetState
    is_final: bool

    def describe(self) -> dict[str, object]:
        return self.budget.describe(required=self.claim.amounts.of(self.budget.limit.measure))


@dataclass(slots=True)
class Account:
    """A budget as it stands behind the lock of its organization's book."""

    budget_id: UUID
    limit: Decimal
    held: Decimal
    spent: Decimal


@dataclass(frozen=True, slots=True)
class Raise:
    """What is added to the holds of one budget by a batch."""

    budget_id: UUID
    amount: Decimal
    is_hard: bool


@dataclass(frozen=True, slots=True)
class Granted:
    """A claim with its holds by budget. `likely_usd`: what quotas hold of it, where a reserve holds the rest."""

    claim: Claim
    likely_usd: Decimal | None
    holds: dict[UUID, Decimal]


@dataclass(slots=True)
class Grants:
    """What became of a batch: what was granted, each refusal, and what each budget gains."""

    granted: list[Granted] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    raises: list[Raise] = field(default_factory=list)


def grant(claims: Sequence[Claim], limits: Mapping[Owner, Sequence[Limit]], accounts: Mapping[Key, Account]) -> Grants:
    """Grants each claim, in order, on all of its budgets or on none; the accounts are raised as it goes.

    A refusal shows the budget with what was granted before it in the same batch.
    """
    grants = Grants()
    before = [account.held for account in accounts.values()]
    bound = {
        owner: [(limit, accounts[limit.key], limit.is_relieved) for limit in binding]
        for owner, binding in limits.items()
    }
    hard = {account.budget_id for binding in bound.values() for limit, account, _ in binding if limit.is_hard}
    for claim in claims:
        binding = bound[claim.owner]
        ways = ways_to_hold(claim.amounts, claim.likely, limits[claim.owner])
        for way in ways:
            wanted = _wanted(way, binding)
            if _first_full(wanted, binding) is None:
                likely_usd = claim.amount_usd - way.reserve_usd if way.reserve_usd else None
                grants.granted.append(Granted(claim, likely_usd, _held(wanted, binding)))
                break
        else:
            grants.refusals.append(_refusal(claim, ways, binding))
    grants.raises = [
        Raise(account.budget_id, account.held - held, account.budget_id in hard)
        for account, held in zip(accounts.values(), before, strict=True)
        if account.held != held
    ]
    return grants


def ways_to_hold(bound: Amounts, likely: Likely | None, limits: Iterable[Limit]) -> tuple[Amounts, ...]:
    """How a call may be held, the best first: what is likely, and the rest on reserves; last, its bound on every limit.

    A reserve takes no larger risk than it says, and nothing where there is no quota that it relieves.
    """
    if likely is None or likely.usd >= bound.usd:
        return (bound,)
    limits = list(limits)
    risks = [limit.risk for limit in limits if limit.is_reserve and limit.risk is not None]
    if not risks or likely.risk > min(risks) or not any(limit.is_relieved for limit in limits):
        return (bound,)
    return replace(bound, reserve_usd=bound.usd - likely.usd), bound


def first_short(ways: Iterable[Amounts], rooms: Sequence[tuple[Limit, Decimal]]) -> Limit | None:
    """The first hard limit whose room is too small for a call's bound; None where there is a way to hold it."""
    short = None
    for way in ways:
        short = next((limit for limit, room in rooms if limit.is_hard and limit.counts(way) > room), None)
        if short is None:
            return None
    return short


def fits(amount: Decimal, limit: Limit, account: Account) -> bool:
    """Whether an amount fits beside all that is spent and held. A soft limit never refuses."""
    return not limit.is_hard or account.spent + account.held + amount <= account.limit


# Each limit, the account of it, and whether a reserve relieves it.
_Binding = Sequence[tuple[Limit, Account, bool]]


def _wanted(way: Amounts, binding: _Binding) -> list[Decimal]:
    """What a call wants of each limit."""
    return [way.counted(limit.measure, is_relieved=is_relieved) for limit, _, is_relieved in binding]


def _first_full(wanted: Sequence[Decimal], binding: _Binding) -> tuple[Limit, Account] | None:
    for amount, (limit, account, _) in zip(wanted, binding, strict=True):
        if not fits(amount, limit, account):
            return limit, account
    return None


def _held(wanted: Sequence[Decimal], binding: _Binding) -> dict[UUID, Decimal]:
    """Raises the accounts of a call; returns what is held on each. A reserve that is not needed holds nothing."""
    holds = {}
    for amount, (limit, account, _) in zip(wanted, binding, strict=True):
        if amount or not limit.is_reserve:
            account.held += amount
            holds[account.budget_id] = amount
    return holds


def _refusal(claim: Claim, ways: Sequence[Amounts], binding: _Binding) -> Refusal:
    full = _first_full(_wanted(ways[-1], binding), binding)
    assert full is not None, "only of what was refused"
    limit, account = full
    rooms = [(each, each.amount - own.spent) for each, own, _ in binding]
    is_final = account.spent + limit.counts(ways[-1]) > limit.amount and first_short(ways, rooms) is not None
    return Refusal(claim, BudgetState(limit, account.spent, account.held), is_final)
