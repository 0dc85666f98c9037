from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from django.db import transaction

from accounts.models import Project
from billing import ledger
from billing.ledger import Claim, Refusal
from billing.models import Budget, LedgerEntry, Price, SpendRollup, UsageRecord
from billing.prices import price_on
from billing.pricing import Tokens
from tests.conftest import SEPTEMBER_2024


@dataclass
class Book:
    """The ledger as one project's jobs use it: each call in a transaction of its own."""

    project: Project
    price: Price

    def claim(self, usd: str, project: Project | None = None) -> Claim:
        return Claim(
            reference=uuid4(),
            amount_usd=Decimal(usd),
            project=project or self.project,
            model="o1-preview",
            service_tier="standard",
            price=self.price,
        )

    def reserve(self, *claims: Claim) -> list[Refusal]:
        with transaction.atomic():
            return ledger.reserve(claims)

    def hold(self, usd: str) -> UUID:
        claim = self.claim(usd)
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
        rows = Budget.objects.filter(organization=self.project.organization).order_by("scope")
        return [(row.held_usd, row.spent_usd) for row in rows]

    def assert_sums_agree(self) -> None:
        """Budgets are the sums of the entries; usage records and rollups are the sums of what was settled."""
        entries = LedgerEntry.objects.filter(organization=self.project.organization)
        held = sum((entry.held_change_usd for entry in entries), Decimal(0))
        spent = sum((entry.spent_change_usd for entry in entries), Decimal(0))
        for row in Budget.objects.filter(organization=self.project.organization):
            mine = [e for e in entries if row.project_id in (None, e.project_id)]
            assert row.held_usd == sum((e.held_change_usd for e in mine), Decimal(0))
            assert row.spent_usd == sum((e.spent_change_usd for e in mine), Decimal(0))
        adjusted = sum((e.spent_change_usd for e in entries if e.kind == "adjust"), Decimal(0))
        records = UsageRecord.objects.filter(organization=self.project.organization)
        assert sum((r.total_usd for r in records), Decimal(0)) == spent - adjusted
        rollups = SpendRollup.objects.filter(organization=self.project.organization)
        assert sum((r.total_usd for r in rollups), Decimal(0)) == spent - adjusted
        assert held >= 0


@pytest.fixture
def book(project: Project) -> Book:
    return Book(project, price_on(["o1-preview"], "standard", SEPTEMBER_2024))
