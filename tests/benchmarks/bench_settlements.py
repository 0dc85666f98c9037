"""Settlements: `ledger.settle_all` against the very same statements, sent by PostgreSQL's own pgbench.

Measured as holds are (`bench_holds.py`), and besides in time of the processors, here and in the backend: that is what a
job's settlement costs, whoever waits for it.
"""

from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from django.db import transaction

from accounts.models import Payment
from billing import ledger
from billing.ledger import Claim, Usage
from billing.limits import Owner
from billing.models import UsageRecord
from billing.prices import price_on
from billing.pricing import Tokens
from tests.benchmarks.bench_holds import project_of_three_levels
from tests.benchmarks.pgbench import REPEATS
from tests.conftest import SEPTEMBER_2024

pytestmark = [pytest.mark.benchmark, pytest.mark.django_db(transaction=True, serialized_rollback=True)]

SETTLEMENTS = 1000
TOKENS = Tokens(43, 0, 900, 512)


@pytest.mark.parametrize("organizations", [1, 100])
@pytest.mark.parametrize("batch", [1, 10, 50])
def test_settlements_per_second(organizations, batch, report_against_pgbench):
    projects = [project_of_three_levels(number) for number in range(organizations)]
    Payment.objects.update(amount_usd=1_000_000)
    price = price_on(["o1-preview"], "standard", SEPTEMBER_2024)
    owners = [Owner(project, project.team_id, None, None, "o1-preview") for project in projects]
    number = SETTLEMENTS if batch > 1 else SETTLEMENTS // 10

    def batches() -> list[list[UUID]]:
        """References of calls that were just reserved."""
        claims = [
            Claim(uuid4(), Decimal("0.1"), 43, 1000, owners[n % organizations], "standard", price)
            for n in range(number)
        ]
        for at in range(0, number, 50):
            with transaction.atomic():
                assert ledger.reserve(claims[at : at + 50]) == []
        return [[claim.reference for claim in claims[at : at + batch]] for at in range(0, number, batch)]

    def settle(work: list[list[UUID]]) -> None:
        for references in work:
            with transaction.atomic():
                ledger.settle_all([Usage(reference, TOKENS, "o1-preview-2024-09-12") for reference in references])

    settle(batches())  # makes the rollups' first rows
    report_against_pgbench(
        f"settlements, {organizations} organizations, {batch} a transaction", settle, batches, number
    )
    assert UsageRecord.objects.count() == number * (1 + 2 * REPEATS)
