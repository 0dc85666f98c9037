"""Holds on one hot organization: `ledger.reserve` against the SQL that it cannot do without, by plain psycopg."""

from decimal import Decimal
from uuid import uuid4

import psycopg
import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import Payment
from billing import books, ledger
from billing.budgets import Owner, limits_of, open_budgets
from billing.models import Budget, Reservation
from billing.prices import price_on
from tests.conftest import SEPTEMBER_2024, make_claim

pytestmark = [pytest.mark.benchmark, pytest.mark.django_db(transaction=True, serialized_rollback=True)]

HOLDS = 200
AMOUNT = "0.000001"


@pytest.fixture
def price(project):
    Payment.objects.update(amount_usd=1_000_000)
    return price_on(["o1-preview"], "standard", SEPTEMBER_2024)


@pytest.mark.parametrize("batch", [1, 10, 50])
def test_holds_per_second(project, price, per_second, report, batch):
    def reserve() -> None:
        for _ in range(HOLDS // batch):
            with transaction.atomic():
                assert ledger.reserve([make_claim(project, AMOUNT) for _ in range(batch)]) == []

    with transaction.atomic():
        books.lock([project.organization_id])
        budgets = list(open_budgets(limits_of(Owner(project), timezone.now())).values())
    with psycopg.connect(**connection.get_connection_params() | {"autocommit": True}) as plain:
        bare = per_second(lambda: plain_holds(plain, project, price, budgets, batch), HOLDS)
    ours = per_second(reserve, HOLDS)
    report(f"holds, {batch} a transaction", ours, bare, "the same rows, psycopg")
    assert {budget.held for budget in Budget.objects.all()} == {2 * 4 * HOLDS * Decimal(AMOUNT)}
    assert Reservation.objects.count() == 2 * 4 * HOLDS


def plain_holds(plain: psycopg.Connection, project, price, budgets: list[Budget], batch: int) -> None:
    """Lock both budgets, raise both, write reservation, holds and entry: five statements a transaction."""
    for _ in range(HOLDS // batch):
        with plain.transaction(), plain.cursor() as cursor:
            now = timezone.now()
            ids = [uuid4() for _ in range(batch)]
            for budget in budgets:
                cursor.execute('SELECT "limit" FROM billing_budget WHERE id = %s FOR UPDATE', [budget.pk])
            for budget in budgets:
                cursor.execute(
                    'UPDATE billing_budget SET held = held + %s WHERE id = %s AND "limit" >= spent + held',
                    [Decimal(AMOUNT) * batch, budget.pk],
                )
            cursor.execute(
                "INSERT INTO billing_reservation (id, reference, status, is_in_doubt, amount_usd, input_tokens, "
                "output_tokens, organization_id, project_id, model, service_tier, price_id, window_start, reserved_at) "
                "SELECT id, id, 'open', false, %s, 0, 40000, %s, %s, 'o1-preview', 'standard', %s, %s, %s "
                "FROM unnest(%s::uuid[]) id",
                [AMOUNT, project.organization_id, project.pk, price.pk, budgets[0].window_start, now, ids],
            )
            cursor.execute(
                "INSERT INTO billing_hold (reservation_id, budget_id, amount) "
                "SELECT r, b, %s FROM unnest(%s::uuid[]) r, unnest(%s::uuid[]) b",
                [AMOUNT, ids, [budget.pk for budget in budgets]],
            )
            cursor.execute(
                "INSERT INTO billing_ledgerentry (organization_id, project_id, reservation_id, kind, held_change_usd, "
                "spent_change_usd, window_start, recorded_at, reason, sequence, seal) "
                # Its own places, below those of the book that the ledger writes.
                "SELECT %s, %s, r, 'reserve', %s, 0, %s, %s, '', "
                "(SELECT COALESCE(MIN(sequence), 0) FROM billing_ledgerentry) - row_number() OVER (), repeat('0', 64) "
                "FROM unnest(%s::uuid[]) r",
                [project.organization_id, project.pk, AMOUNT, budgets[0].window_start, now, ids],
            )
