"""The money core on plain dictionaries instead of PostgreSQL: the same decisions, a million times faster to try.

It stands in for `billing.storage`, function by function; whatever decides (grants, limits, settlements, the chain, the
order of it all in the ledger) is the product's own. That PostgreSQL keeps what it is told is the other simulation's
business (`product.py`).
"""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from billing import chain
from billing.amounts import Amounts, at_most
from billing.books import NEVER
from billing.grants import Account
from billing.limits import Owner, binding, is_relieved
from billing.settlements import Hold

ZERO = Decimal(0)


def _same(account: Account) -> Account:
    return Account(account.budget_id, account.limit, account.held, account.spent)


class Memory:
    """Books, budgets, reservations and usage records of a small world."""

    def __init__(self, world: Any, now: datetime):
        self.world, self.instant = world, now
        self.heads: dict[Any, chain.Head] = {}
        self.lines: list[tuple[chain.Line, str]] = []
        self.rows: dict[Any, Any] = {}  # reservations by reference
        self.bounds: dict[Any, Any] = {}  # their claims
        self.usage: dict[Any, Any] = {}  # settlements by reference
        self.accounts: dict[Any, Account] = {}
        self.paused: set[Any] = set()
        self.quotas: dict[str, Any] = {}
        self.tiers: dict[Any, Any] = {}

    def snapshot(self) -> "Memory":
        """A copy that goes its own way: rows are never changed in place, but for heads and accounts."""
        other = Memory(self.world, self.instant)
        other.lines, other.paused = self.lines.copy(), self.paused.copy()
        other.rows, other.bounds, other.usage = self.rows.copy(), self.bounds.copy(), self.usage.copy()
        other.quotas, other.tiers = self.quotas.copy(), self.tiers.copy()
        other.heads = {
            key: chain.Head(key, head.sequence, head.seal, head.closed_until) for key, head in self.heads.items()
        }
        other.accounts = {key: _same(account) for key, account in self.accounts.items()}
        return other

    # --- What the ledger calls ----------------------------------------------------------------------------------------
    def now(self) -> datetime:
        return self.instant

    def lock(self, organization_ids: Any) -> dict[Any, chain.Head]:
        wanted = sorted(set(organization_ids))
        for pk in wanted:
            if pk not in self.heads:
                self.heads[pk] = chain.Head(pk, 0, chain.GENESIS, NEVER)
        return {pk: self.heads[pk] for pk in wanted}

    def limits(self, owners: Any, instant: datetime) -> dict[Owner, Any]:
        in_force = [
            quota
            for quota in self.quotas.values()
            if (quota.starts_at is None or quota.starts_at <= instant)
            and (quota.expires_at is None or quota.expires_at > instant)
        ]
        return {owner: binding(owner, in_force, self.tiers[owner.organization.pk], instant) for owner in owners}

    def open_accounts(self, limits: Any) -> dict[Any, Account]:
        found = {}
        for limit in limits:
            key = limit.key
            account = self.accounts.get(key)
            if account is None:
                account = self.accounts[key] = self._opened(limit)
            account.limit = limit.amount
            found[key] = _same(account)  # what is decided on it is written by `raise_holds`
        return found

    def raise_holds(self, raises: Any) -> int:
        by_id = {account.budget_id: account for account in self.accounts.values()}
        fitting = []
        for raised in raises:
            account = by_id[raised.budget_id]
            if not raised.is_hard or account.limit >= account.spent + account.held + raised.amount:
                fitting.append((account, raised.amount))
        for account, amount in fitting:
            account.held += amount
        return len(fitting)

    def move(self, moves: Any) -> None:
        by_id = {account.budget_id: account for account in self.accounts.values()}
        for budget_id, moved in moves.items():
            account = by_id[budget_id]
            account.held += moved.held
            account.spent += moved.spent
            assert account.held >= 0, "a constraint refuses a budget that holds less than nothing"

    def note_exhausted(self, budget_ids: Any) -> None:
        """Alerts follow from the books and are no part of them."""

    def insert_reservations(self, granted: Any) -> None:
        for row, own in granted:
            assert row.reference not in self.rows, "a constraint refuses a reference that is there already"
            keys = {account.budget_id: key for key, account in self.accounts.items()}
            kept = tuple(self._hold(pk, keys[pk], amount) for pk, amount in own.holds.items())
            self.rows[row.reference] = replace(row, holds=kept)
            self.bounds[row.reference] = own.claim

    def append(self, heads: Any, lines: Any) -> None:
        for line in lines:
            head = heads[line.organization]
            assert line.window_start >= head.closed_until or head.closed_until == NEVER, "a trigger refuses it"
            self.lines += chain.extend(head, [line])

    def organizations_of(self, references: Any) -> Any:
        return {reference: self.rows[reference].organization_id for reference in references if reference in self.rows}

    def reservations(self, references: Any) -> Any:
        return {reference: self.rows[reference] for reference in references}

    def owners_of(self, rows: Any) -> dict[Any, Owner]:
        return {
            row.reference: Owner(
                self.world.projects[row.project_id], row.team_id, row.member_id, row.api_key_id, row.model
            )
            for row in rows
        }

    def price_of(self, model: str, row: Any) -> None:
        """No model of this world is known under another name, so that every call costs what it was reserved at."""

    def resolve(self, rows: Any, status: Any, now: datetime) -> int:
        opened = [row.reference for row, _ in rows if self.rows[row.reference].status == "open"]
        for reference in opened:
            self.rows[reference] = replace(self.rows[reference], status=status, is_in_doubt=False)
        return len(opened)

    def doubt(self, rows: Any) -> None:
        for row in rows:
            self.rows[row.reference] = replace(row, is_in_doubt=True)

    def record_usages(self, settled: Any, now: datetime) -> Any:
        for each, _ in settled:
            assert each.reserved.reference not in self.usage, "a constraint refuses a second usage record"
            self.usage[each.reserved.reference] = each
        return {each.reserved.reference: each for each, _ in settled}

    def usage_records(self, rows: Any) -> Any:
        return {row.reference: self.usage[row.reference] for row in rows}

    def entry(self, organization_id: Any, sequence: int) -> Any:
        return SimpleNamespace(sequence=sequence)

    def raise_overrun(self, settled: Any) -> None:
        """Nobody is told."""

    def pause(self, project_id: Any, now: datetime, reason: str) -> None:
        self.paused.add(project_id)

    # --- Counting, as SQL does it in the product --------------------------------------------------------------------
    def _hold(self, budget_id: Any, key: Any, amount: Decimal) -> Hold:
        if not key[1]:
            return Hold(budget_id, "usd", amount)
        quota = next(quota for quota in self.quotas.values() if quota.pk == key[1])
        return Hold(budget_id, quota.measure, amount, is_relieved(quota.measure, quota.scope, quota.pk))

    def _opened(self, limit: Any) -> Account:
        account = Account((limit.key, len(self.accounts)), limit.amount, ZERO, ZERO)  # type: ignore[arg-type]
        window = limit.counted
        for reference, row in self.rows.items():
            if not self._is_of(row, limit):
                continue
            if row.status == "open" and window.start <= row.reserved_at < window.end:
                amount = limit.counts(self._bound(row))
                account.held += amount
                hold = self._hold(account.budget_id, limit.key, amount)
                self.rows[reference] = replace(row, holds=(*row.holds, hold))
            settled = self.usage.get(reference)
            if settled is not None and window.start <= settled.booked_at < window.end:
                account.spent += limit.counts(settled.amounts)
        for line, _ in self.lines:
            if line.kind == "adjust" and window.start <= line.recorded_at < window.end and self._corrects(line, limit):
                account.spent += line.spent_change_usd
        return account

    def _bound(self, row: Any) -> Amounts:
        claim = self.bounds[row.reference]
        tokens = {"input_tokens": claim.input_tokens, "output_tokens": claim.output_tokens}
        return at_most(row.amount_usd, **tokens, likely_usd=row.likely_usd)

    def _is_of(self, row: Any, limit: Any) -> bool:
        if row.organization_id != limit.organization_id or limit.model not in ("", row.model):
            return False
        owned = {"team": row.team_id, "project": row.project_id, "member": row.member_id, "key": row.api_key_id}
        return limit.scope == "organization" or str(owned[limit.scope]) == limit.owner_id

    def _corrects(self, line: Any, limit: Any) -> bool:
        if limit.measure != "usd" or limit.model or line.organization != limit.organization_id:
            return False
        owned = {"organization": line.organization, "team": line.team, "project": line.project}
        return str(owned.get(limit.scope)) == limit.owner_id
