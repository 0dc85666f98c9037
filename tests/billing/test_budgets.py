"""Which budgets bind a project, and the locks on them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from threading import Barrier, Event

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction
from django.utils import timezone

from accounts.models import Project
from billing import budgets, ledger, rollups
from billing.budgets import limits_of, lock_budgets, refresh_limits, state_of, states_of
from billing.clock import database_now
from billing.models import Budget, Hold, LedgerEntry, Price, Quota, Reservation, Scope, UsageRecord
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


# --- What binds -------------------------------------------------------------------------------------------------------
def test_a_project_is_bound_by_its_tier_and_by_its_quota(project):
    of_organization, of_project = limits_of(project, timezone.now())
    assert (of_organization.scope, of_organization.limit_usd, of_organization.origin) == (
        Scope.ORGANIZATION,
        D(50_000),
        "usage tier 5",
    )
    assert (of_project.scope, of_project.limit_usd, of_project.origin) == (Scope.PROJECT, D(50_000), "usage tier 5")
    Quota.objects.create(project=project, limit_usd=D(7))
    assert limits_of(project, timezone.now())[1].limit_usd == D(7)
    assert limits_of(project, timezone.now())[1].origin == "quota"


def test_a_quota_of_nothing_is_a_limit_of_nothing(project, book):
    Quota.objects.create(project=project, limit_usd=D(0))
    assert len(book.reserve(book.claim("0.000000000001"))) == 1
    assert book.reserve(book.claim("0")) == []


def test_an_untouched_budget_is_empty_and_makes_no_row(project):
    states = states_of(project, timezone.now())
    assert [(state.spent_usd, state.held_usd, state.remaining_usd) for state in states] == [(D(0), D(0), D(50_000))] * 2
    assert [state.describe()["scope"] for state in states] == ["organization", "project"]
    assert "required_usd" not in states[0].describe()
    assert states[0].describe()["id"] == str(project.organization_id)
    assert not Budget.objects.exists()


def test_what_was_spent_last_month_binds_nothing_this_month(book):
    book.settle(book.hold("2.5"), output=1000)
    later = month_of(timezone.now()).end
    assert [state.spent_usd for state in states_of(book.project, later)] == [D(0), D(0)]
    assert state_of(limits_of(book.project, later)[0], month_of(timezone.now())).spent_usd == D("0.06")


def test_limits_of_an_idle_organization_are_shown_as_they_are_configured(project):
    Quota.objects.create(project=project, limit_usd=D(7))
    refresh_limits(project.organization, timezone.now())
    assert list(Budget.objects.order_by("scope").values_list("limit_usd", flat=True)) == [D(50_000), D(7)]
    refresh_limits(project.organization, timezone.now())
    assert Budget.objects.count() == 2


def test_an_organization_without_projects_has_no_budgets_yet(bob):
    bob.project.api_keys.all().delete()
    bob.project.delete()
    refresh_limits(bob.organization, timezone.now())
    assert not Budget.objects.exists()


# --- Locks ------------------------------------------------------------------------------------------------------------
def test_budgets_are_locked_by_scope_and_then_by_owner_in_whatever_order_they_are_asked_for(project, bob, monkeypatch):
    projects = [project, bob.project, Project.objects.create(organization=project.organization, name="B", slug="b")]
    now = timezone.now()
    asked = [limit for one in projects for limit in limits_of(one, now)]
    orders = []
    locked = budgets._locked

    def noting(limit, window):
        orders[-1].append((limit.scope.rank, limit.project_id or limit.organization_id))
        return locked(limit, window)

    monkeypatch.setattr(budgets, "_locked", noting)
    for limits in (asked, asked[::-1], asked + asked):
        orders.append([])
        lock_budgets(limits, month_of(now))
    assert orders[0] == orders[1] == orders[2] == sorted(set(orders[0]))
    assert len(orders[0]) == 5


@racing
def test_a_locked_budget_is_waited_for(project):
    window, limits = month_of(timezone.now()), limits_of(project, timezone.now())

    def second() -> None:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '200ms'")
            lock_budgets(limits, window)

    with transaction.atomic():
        lock_budgets(limits, window)
    with transaction.atomic():
        lock_budgets(limits, window)
        with pytest.raises(OperationalError, match="lock timeout"):
            in_a_thread(second)
    in_a_thread(second)


@racing
def test_a_budget_that_several_need_first_is_made_once(project):
    window, limits = month_of(timezone.now()), limits_of(project, timezone.now())
    barrier = Barrier(8)

    def make(_: int) -> set:
        try:
            barrier.wait(10)
            with transaction.atomic():
                return {budget.pk for budget in lock_budgets(limits, window).values()}
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(make, range(8)))
    assert all(keys == found[0] for keys in found)
    assert Budget.objects.count() == 2


@racing
def test_a_quota_lowered_meanwhile_is_seen_by_whoever_waited_for_the_lock(book):
    quota = Quota.objects.create(project=book.project, limit_usd=D(10))
    book.hold("1")
    locked, may_end = Event(), Event()

    def lowers() -> None:
        with transaction.atomic():
            Quota.objects.filter(pk=quota.pk).update(limit_usd=D(2))
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
        may_end.set()
        lowering.result(10)
        assert holding.result(10) == 1
    assert Budget.objects.get(scope="project").held_usd == D(1)


# --- What stands behind the sums --------------------------------------------------------------------------------------
def test_a_mistaken_sum_is_stopped_by_the_update_itself(book):
    Quota.objects.create(project=book.project, limit_usd=D(1))
    book.hold("0.9")
    budget = Budget.objects.get(scope="project")
    with pytest.raises(AssertionError, match="do not fit"):
        ledger._raise_holds({budget.pk: D("0.100000000001")})
    budget.refresh_from_db()
    assert budget.held_usd == D("0.9")
    ledger._raise_holds({budget.pk: D("0.1")})


def test_a_hold_is_not_granted_on_a_mistaken_check_either(book, monkeypatch):
    Quota.objects.create(project=book.project, limit_usd=D(1))
    monkeypatch.setattr(ledger, "_fits", lambda *args: True)
    with pytest.raises(AssertionError, match="nothing was held"):
        book.reserve(book.claim("0.6"), book.claim("0.6"))
    assert not Reservation.objects.exists()
    assert not LedgerEntry.objects.exists()


def test_a_reservation_is_not_resolved_twice_behind_the_lock(book):
    reference = book.hold("1")
    reservation = Reservation.objects.get(reference=reference)
    book.release(reference)
    with pytest.raises(AssertionError, match="resolved twice"):
        ledger._resolve(reservation, "settled", timezone.now(), settled_usd=D(1))


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


def test_rebuilding_without_records_leaves_no_rollup(db):
    assert rollups.rebuild() == 0


def test_rows_say_what_they_are(book):
    quota = Quota.objects.create(project=book.project, limit_usd=D(10))
    record = book.settle(book.hold("2.5"), output=1000)
    assert str(quota) == "10.00 USD a month for Alice research"
    assert {str(row) for row in Budget.objects.all()} == {
        f"{name}, {record.window_start:%Y-%m}" for name in ("Alice", "Alice research")
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
