from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction

from accounts.models import Project
from billing import ledger
from billing.ledger import Claim, Refusal
from billing.models import Budget, LedgerEntry, Quota, SpendRollup, UsageRecord
from billing.pricing import Tokens
from tests.conftest import make_claim


@dataclass
class Book:
    """The ledger as one project's jobs use it: each call in a transaction of its own."""

    project: Project

    def claim(self, usd: str, project: Project | None = None, **more: Any) -> Claim:
        return make_claim(project or self.project, usd, **more)

    def reserve(self, *claims: Claim) -> list[Refusal]:
        with transaction.atomic():
            return ledger.reserve(claims)

    def hold(self, usd: str, **more: Any) -> UUID:
        claim = self.claim(usd, **more)
        assert self.reserve(claim) == []
        return claim.reference

    def settle(self, reference: UUID, *, output: int, reasoning: int = 0, empty: bool = False) -> UsageRecord:
        with transaction.atomic():
            return ledger.settle(
                reference, Tokens(0, 0, output, reasoning), snapshot="o1-preview-2024-09-12", is_empty=empty
            )

    def release(self, reference: UUID) -> None:
        with transaction.atomic():
            ledger.release(reference, reason="for the test")

    def doubt(self, reference: UUID) -> None:
        with transaction.atomic():
            ledger.mark_in_doubt(reference, reason="for the test")

    def budgets(self) -> list[tuple[Decimal, Decimal]]:
        """(held, spent) of the organization and of the project."""
        rows = Budget.objects.filter(organization=self.project.organization, quota__isnull=True).order_by("scope")
        return [(row.held, row.spent) for row in rows]

    def quota(self, usd: str = "1", **more: Any) -> Quota:
        """A monthly limit of the project in dollars, unless told otherwise."""
        fields = {"organization": self.project.organization, "project": self.project, "limit": Decimal(usd), **more}
        return Quota.objects.create(**fields)

    def used(self, quota: Quota) -> tuple[Decimal, Decimal]:
        """(held, spent) of a quota in its window."""
        budget = Budget.objects.get(quota=quota)
        return budget.held, budget.spent

    def assert_sums_agree(self) -> None:
        """Budgets are the sums of the entries; usage records and rollups are the sums of what was settled."""
        entries = LedgerEntry.objects.filter(organization=self.project.organization)
        held = sum((entry.held_change_usd for entry in entries), Decimal(0))
        spent = sum((entry.spent_change_usd for entry in entries), Decimal(0))
        for row in Budget.objects.filter(organization=self.project.organization, quota__isnull=True):
            mine = [e for e in entries if row.project_id in (None, e.project_id)]
            assert row.held == sum((e.held_change_usd for e in mine), Decimal(0))
            assert row.spent == sum((e.spent_change_usd for e in mine), Decimal(0))
        adjusted = sum((e.spent_change_usd for e in entries if e.kind == "adjust"), Decimal(0))
        records = UsageRecord.objects.filter(organization=self.project.organization)
        assert sum((r.total_usd for r in records), Decimal(0)) == spent - adjusted
        rollups = SpendRollup.objects.filter(organization=self.project.organization)
        assert sum((r.total_usd for r in rollups), Decimal(0)) == spent - adjusted
        assert held >= 0


BOOKS = "billing_ledgerentry, billing_usagerecord, billing_closedmonth"


def as_owner(statement: str) -> None:
    """Changes rows as whoever owns the database may, with the rights given back and every trigger asleep."""
    with connection.cursor() as cursor:
        cursor.execute(f"GRANT UPDATE, DELETE, TRUNCATE ON {BOOKS} TO CURRENT_USER")
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(statement)
        cursor.execute("SET session_replication_role = DEFAULT")
        cursor.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON {BOOKS} FROM CURRENT_USER")
        cursor.execute(f"GRANT UPDATE (id) ON {BOOKS} TO CURRENT_USER")


@pytest.fixture
def book(project: Project) -> Book:
    return Book(project)
