"""Which budgets bind a project, and the locks on them."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from threading import Barrier, Event

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction
from django.utils import timezone

from accounts.models import Organization
from billing import books, grants, ledger, rollups
from billing.budgets import limits_of, refresh_limits, states_of
from billing.clock import database_now
from billing.limits import Owner
from billing.models import Book, Budget, Hold, LedgerEntry, Price, Quota, Reservation, Scope, UsageRecord
from billing.periods import month_of

D = Decimal
racing = pytest.mark.django_db(transaction=True, serialized_rollback=True)


def in_a_thread(work):
    """Runs work on a connection of its own."""

    def run():
        try:
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result(20)


def wait_until_somebody_waits_for_a_lock() -> None:
    for _ in range(500):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if cursor.fetchone()[0]:
                return
        time.sleep(0.01)
    pytest.fail("nobody waits for a lock")


# --- What binds -------------------------------------------------------------------------------------------------------
def test_a_project_is_bound_by_its_tier_and_by_its_quota(project):
    of_tier = [(Scope.ORGANIZATION, D(50_000), "usage tier 5"), (Scope.PROJECT, D(50_000), "usage tier 5")]
    limits = limits_of(Owner(project), timezone.now())
    assert [(limit.scope, limit.amount, limit.origin) for limit in limits] == of_tier
    Quota.objects.create(organization=project.organization, project=project, limit=D(7))
    limits = limits_of(Owner(project), timezone.now())
    assert [(limit.scope, limit.amount, limit.origin) for limit in limits] == [*of_tier, ("project", D(7), "quota")]


def test_a_quota_of_nothing_is_a_limit_of_nothing(book):
    book.quota("0")
    assert len(book.reserve(book.claim("0.000000000001"))) == 1
    assert book.reserve(book.claim("0")) == []


def test_an_untouched_budget_is_empty_and_makes_no_row(project):
    states = states_of(Owner(project), timezone.now())
    assert [(state.spent, state.held, state.remaining) for state in states] == [(D(0), D(0), D(50_000))] * 2
    assert [state.describe()["scope"] for state in states] == ["organization", "project"]
    assert "required" not in states[0].describe()
    assert states[0].describe()["id"] == str(project.organization_id)
    assert not Budget.objects.exists()


def test_what_was_spent_last_month_binds_nothing_this_month(book):
    book.settle(book.hold("2.5"), output=1000)
    later = month_of(timezone.now()).end
    assert [state.spent for state in states_of(Owner(book.project), later)] == [D(0), D(0)]


def test_changed_limits_are_written_onto_open_budgets(book):
    quota = book.quota("7")
    book.hold("1")
    Quota.objects.filter(pk=quota.pk).update(limit=D(5))
    refresh_limits(book.project.organization, timezone.now())
    assert Budget.objects.get(quota=quota).limit == D(5)
    assert set(Budget.objects.filter(quota__isnull=True).values_list("limit", flat=True)) == {D(50_000)}


# --- Locks ------------------------------------------------------------------------------------------------------------
@racing
def test_an_organizations_money_stands_still_behind_its_book(book, bob):
    organization = book.project.organization

    def impatient(pk) -> None:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '200ms'")
            books.lock([pk])

    with transaction.atomic():
        books.lock([organization.pk])
    with transaction.atomic():
        books.lock([organization.pk])
        with pytest.raises(OperationalError, match="lock timeout"):
            in_a_thread(lambda: impatient(organization.pk))
        in_a_thread(lambda: impatient(bob.organization.pk))  # another organization's does not
    in_a_thread(lambda: impatient(organization.pk))


@racing
def test_books_are_locked_in_order_however_they_are_asked_for_and_stored(alice, bob):
    """Whoever waits for the first book holds no later one, so that nobody can wait for each other in a circle."""
    first, second = sorted([alice.organization.pk, bob.organization.pk])
    for pk, name in ((second, "Abe"), (first, "Zoe")):  # stored and called the other way round
        Organization.objects.filter(pk=pk).update(name=name)
        with transaction.atomic():
            books.lock([pk])
    waits = Event()

    def both() -> None:
        with transaction.atomic():
            waits.set()
            books.lock([second, first])

    def is_free(pk) -> bool:
        with transaction.atomic():
            return Book.objects.select_for_update(skip_locked=True).filter(pk=pk).exists()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            books.lock([first])
            waiting = pool.submit(lambda: (both(), connection.close()))
            assert waits.wait(10)
            time.sleep(0.5)
            assert in_a_thread(lambda: is_free(second))
            assert not waiting.done()
        waiting.result(10)


@racing
def test_a_budget_that_several_need_first_is_made_once(book):
    barrier = Barrier(8)

    def hold(_: int) -> int:
        try:
            barrier.wait(10)
            return len(book.reserve(book.claim("0.1")))
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(hold, range(8))) == 0
    assert book.budgets() == [(D("0.8"), D(0))] * 2


@racing
def test_a_quota_lowered_meanwhile_is_seen_by_whoever_waited_for_the_lock(book):
    quota = book.quota("10")
    book.hold("1")
    locked, may_end = Event(), Event()

    def lowers() -> None:
        with transaction.atomic():
            Quota.objects.filter(pk=quota.pk).update(limit=D(2))
            refresh_limits(book.project.organization, timezone.now())
            locked.set()
            may_end.wait(10)

    def hold() -> int:
        try:
            return len(book.reserve(book.claim("5")))
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        lowering = pool.submit(lambda: (lowers(), connection.close()))
        assert locked.wait(10)
        holding = pool.submit(hold)
        wait_until_somebody_waits_for_a_lock()
        may_end.set()
        lowering.result(10)
        assert holding.result(10) == 1
    assert book.used(quota) == (D(1), D(0))


# --- What stands behind the sums --------------------------------------------------------------------------------------
def test_a_hold_is_not_granted_on_a_mistaken_check_either(book, monkeypatch):
    book.quota("1")
    monkeypatch.setattr(grants, "fits", lambda *args: True)
    with pytest.raises(AssertionError, match="nothing was held"):
        book.reserve(book.claim("0.6"), book.claim("0.6"))
    assert not Reservation.objects.exists()
    assert not LedgerEntry.objects.exists()


def test_a_reservation_is_not_resolved_twice_behind_the_lock(book):
    reference = book.hold("1")
    row = ledger.storage.reservations([reference])[reference]
    book.release(reference)
    with pytest.raises(AssertionError, match="resolved before"):
        ledger._resolve([(row, D(1))], "settled", timezone.now())


def test_one_reference_is_reserved_once(book):
    claim = book.claim("1")
    assert book.reserve(claim) == []
    with pytest.raises(IntegrityError):
        book.reserve(claim)
    assert book.budgets() == [(D(1), D(0))] * 2


def test_no_claims_hold_nothing(book):
    assert book.reserve() == []
    assert not Budget.objects.exists()


def test_a_correction_may_give_back(book, owner):
    book.settle(book.hold("2.5"), output=1000)
    with transaction.atomic():
        entry = ledger.adjust(book.project, D("-0.01"), reason="a refund of the provider", actor=owner)
    assert book.budgets() == [(D(0), D("0.05"))] * 2
    assert (str(entry), entry.reservation) == ("adjust -0.01 USD", None)
    book.assert_sums_agree()


def test_rebuilding_without_records_leaves_no_rollup(organization):
    assert rollups.rebuild(organization) == 0


def test_rows_say_what_they_are(book):
    quota = book.quota("10")
    record = book.settle(book.hold("2.5"), output=1000)
    assert str(quota) == "10.00 USD a month for Alice research"
    assert {str(row) for row in Budget.objects.all()} == {
        f"{name}, from {record.window_start:%Y-%m-%d}" for name in ("Alice", "Alice research", quota)
    }
    assert str(Reservation.objects.get()).startswith("settled 2.50 USD")
    assert " USD on Alice" in str(Hold.objects.first())
    assert str(UsageRecord.objects.get()).startswith("o1-preview: 0.06")
    assert str(Price.objects.filter(model="o1-mini").first()).startswith("o1-mini ")


# --- The clock --------------------------------------------------------------------------------------------------------
def test_within_a_transaction_the_clock_of_money_stands_still(db):
    assert database_now() == database_now()
    assert abs(database_now() - timezone.now()) < timedelta(minutes=5)


@racing
def test_between_transactions_it_goes_on_and_is_aware_of_its_zone():
    first, second = database_now(), database_now()
    assert second > first
    assert first.utcoffset() == timedelta(0)
    with transaction.atomic():
        begun = database_now()
        assert begun == database_now() > second
