"""The ledger under real concurrency: threads with connections of their own against PostgreSQL."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction

from billing import ledger
from billing.errors import AlreadyReleased
from billing.models import Budget, LedgerEntry, UsageRecord

D = Decimal
pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)


def all_at_once(work: Callable[[Any], Any], inputs: list[Any], threads: int = 16) -> list[Any]:
    def run(item: Any) -> Any:
        try:
            return work(item)
        finally:
            connection.close()

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, inputs))


def test_of_many_concurrent_holds_exactly_those_that_fit_are_granted(book):
    quota = book.quota("5")
    refusals = all_at_once(lambda _: book.reserve(book.claim("0.10")), list(range(200)))
    assert sum(1 for refused in refusals if not refused) == 50
    assert book.used(quota) == (D(5), D(0))
    book.assert_sums_agree()


def test_concurrent_settlements_of_one_hold_book_it_once(book):
    reference = book.hold("2.5")
    all_at_once(lambda _: book.settle(reference, output=1000), list(range(16)))
    assert UsageRecord.objects.count() == 1
    assert LedgerEntry.objects.filter(kind="settle").count() == 1
    assert book.budgets() == [(D(0), D("0.06"))] * 2


def test_settle_and_release_of_one_hold_race_and_one_wins(book):
    references = [book.hold("0.1") for _ in range(20)]

    def settle_or_release(turn):
        reference, is_settle = turn
        with suppress(AlreadyReleased):  # the release was first, and the cost is not booked in silence
            return book.settle(reference, output=10) if is_settle else book.release(reference)

    all_at_once(settle_or_release, [(ref, kind) for ref in references for kind in (True, False)])
    assert Budget.objects.get(scope="organization").held == 0
    assert LedgerEntry.objects.filter(kind__in=["settle", "release"]).count() == 20
    book.assert_sums_agree()


def test_batches_over_crossing_projects_do_not_deadlock(book, bob):
    organization = book.project.organization
    projects = [
        book.project,
        bob.project,
        *(organization.projects.create(name=f"p{i}", slug=f"p{i}") for i in range(4)),
    ]

    def batch(seed: int) -> int:
        order = projects[seed % 6 :] + projects[: seed % 6]
        return len(book.reserve(*(book.claim("0.01", project=p) for p in (order if seed % 2 else order[::-1]))))

    assert sum(all_at_once(batch, list(range(60)))) == 0
    assert Budget.objects.get(scope="organization", organization=organization).held == D("0.01") * 5 * 60


def test_money_moves_only_inside_the_callers_transaction(book):
    with pytest.raises(transaction.TransactionManagementError):
        ledger.reserve([book.claim("1")])
