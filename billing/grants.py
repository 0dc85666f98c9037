"""Which claims are granted on their budgets, and what that holds. Pure, and exact to the last digit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

from billing.amounts import Amounts, at_most
from billing.limits import BudgetState, Key, Limit, Owner
from billing.models import Price


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

    @property
    def is_final(self) -> bool:
        """Whether the claim would not fit if nothing else were held either: only another limit or window helps."""
        limit = self.budget.limit
        return self.budget.spent + self.claim.amounts.of(limit.measure) > limit.amount

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


@dataclass(slots=True)
class Grants:
    """What became of a batch: each granted claim with its holds by budget, each refusal, and what each budget gains."""

    granted: list[tuple[Claim, dict[UUID, Decimal]]] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    raises: list[Raise] = field(default_factory=list)


def grant(claims: Sequence[Claim], limits: Mapping[Owner, Sequence[Limit]], accounts: Mapping[Key, Account]) -> Grants:
    """Grants each claim, in order, on all of its budgets or on none; the accounts are raised as it goes.

    A refusal shows the budget with what was granted before it in the same batch.
    """
    grants = Grants()
    before = [account.held for account in accounts.values()]
    bound = {owner: [(limit, accounts[limit.key]) for limit in binding] for owner, binding in limits.items()}
    hard = {account.budget_id for binding in bound.values() for limit, account in binding if limit.is_hard}
    for claim in claims:
        binding, amounts = bound[claim.owner], claim.amounts
        wanted = [amounts.of(limit.measure) for limit, _ in binding]
        full = next((pair for pair, amount in zip(binding, wanted, strict=True) if not fits(amount, *pair)), None)
        if full is not None:
            limit, account = full
            grants.refusals.append(Refusal(claim, BudgetState(limit, account.spent, account.held)))
            continue
        holds = {}
        for (_, account), amount in zip(binding, wanted, strict=True):
            account.held += amount
            holds[account.budget_id] = amount
        grants.granted.append((claim, holds))
    grants.raises = [
        Raise(account.budget_id, account.held - held, account.budget_id in hard)
        for account, held in zip(accounts.values(), before, strict=True)
        if account.held != held
    ]
    return grants


def fits(amount: Decimal, limit: Limit, account: Account) -> bool:
    """Whether an amount fits beside all that is spent and held. A soft limit never refuses."""
    return not limit.is_hard or account.spent + account.held + amount <= account.limit
