"""Holds: `ledger.reserve` against the very same statements, sent by PostgreSQL's own pgbench.

What our path sends is listened to, statement by statement, and rolled back; then pgbench sends it all again. The ratio
is what is left of PostgreSQL's speed once Python has decided, sealed and composed it. Besides, the time of the
processors, here and in the backend.
"""

from decimal import Decimal
from uuid import uuid4

import pytest
from django.db import transaction

from accounts.models import Payment, Project, Team
from billing import ledger
from billing.ledger import Claim
from billing.limits import Owner
from billing.models import Quota, Reservation
from billing.prices import price_on
from tests.benchmarks.pgbench import REPEATS
from tests.conftest import SEPTEMBER_2024, make_tenant

pytestmark = [pytest.mark.benchmark, pytest.mark.django_db(transaction=True, serialized_rollback=True)]

HOLDS = 2000


def project_of_three_levels(number: int) -> Project:
    """A project of an organization of its own, in a team with a quota: three levels bind each call."""
    project = make_tenant(f"Tenant{number}").project
    project.team = Team.objects.create(organization=project.organization, name="readers")
    project.save()
    Quota.objects.create(organization=project.organization, scope="team", team=project.team, limit=1_000_000)
    return project


@pytest.mark.parametrize("organizations", [1, 100])
@pytest.mark.parametrize("batch", [1, 10, 50, 200])
def test_holds_per_second(organizations, batch, report_against_pgbench):
    projects = [project_of_three_levels(number) for number in range(organizations)]
    Payment.objects.update(amount_usd=1_000_000)
    price = price_on(["o1-preview"], "standard", SEPTEMBER_2024)
    owners = [Owner(project, project.team_id, None, None, "o1-preview") for project in projects]
    number = HOLDS if batch > 1 else HOLDS // 10

    def batches() -> list[list[Claim]]:
        claims = [
            Claim(uuid4(), Decimal("0.01"), 43, 1000, owners[n % organizations], "standard", price)
            for n in range(number)
        ]
        return [claims[at : at + batch] for at in range(0, number, batch)]

    def reserve(work: list[list[Claim]]) -> None:
        for claims in work:
            with transaction.atomic():
                assert ledger.reserve(claims) == []

    reserve(batches())  # opens the budgets
    report_against_pgbench(f"holds, {organizations} organizations, {batch} a transaction", reserve, batches, number)
    assert Reservation.objects.count() == number * (1 + 2 * REPEATS)
