"""Reserves: a quota holds what is likely, the reserve the rest, and no limit is crossed by either."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from threading import Event, Thread
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.db.models import F
from hypothesis import given
from hypothesis import strategies as st

from accounts.audit import SERVICE
from accounts.models import Organization, Project, Team
from billing.amounts import actual, at_most
from billing.clock import database_now
from billing.grants import Account, Claim, Granted, Likely, grant, ways_to_hold
from billing.limits import Limit, Owner
from billing.models import Budget, LedgerEntry, Measure, Price, Quota, Reservation, Scope, UsageRecord, WindowKind
from billing.periods import month_of
from billing.pricing import Tokens
from billing.quotas import changes
from billing.quotas.preview import preview
from billing.reserves import Experience, experience, risk_of
from billing.settlements import paid_by_reserve
from billing.verification import repair, verify
from tests.billing.conftest import as_owner
from tests.billing.test_closing import APRIL, Clock, clock, close
from tests.billing.test_ledger_races import all_at_once

__all__ = ["clock"]

D = Decimal
RISK = D("0.01")
MEASURE = Measure.RESERVE
OWNER, PRICE = Owner(Project(organization=Organization())), Price()


def reserve_of(book, usd: str = "5", risk: Decimal = RISK, **more: Any) -> Quota:
    fields = {"organization": book.project.organization, "scope": Scope.ORGANIZATION, "measure": Measure.RESERVE}
    return Quota.objects.create(**fields, limit=D(usd), risk=risk, **more)


def claimed(book, bound: str, likely: str | None, risk: Decimal = RISK, **more: Any):
    claim = book.claim(bound, **more)
    return replace(claim, likely=None if likely is None else Likely(D(likely), risk))


def hold(book, bound: str = "1.5", likely: str = "0.1", **more: Any):
    claim = claimed(book, bound, likely, **more)
    assert book.reserve(claim) == []
    return claim.reference


# --- How a call is held -----------------------------------------------------------------------------------------------
@pytest.mark.django_db
def test_a_quota_holds_what_is_likely_and_the_reserve_the_rest(book):
    quota, reserve = book.quota("1"), reserve_of(book)
    reference = hold(book)
    assert book.used(quota) == (D("0.1"), 0)
    assert book.used(reserve) == (D("1.4"), 0)
    # The organization, and the tier's limit on the project, hold all of it; so does the ledger.
    assert book.budgets() == [(D("1.5"), 0)] * 2
    assert LedgerEntry.objects.get().held_change_usd == D("1.5")
    assert Reservation.objects.get(reference=reference).likely_usd == D("0.1")
    assert verify(book.project.organization) == []


@pytest.mark.django_db
def test_where_the_reserve_has_no_room_the_bound_is_held(book):
    quota, reserve = book.quota("2"), reserve_of(book, "1.3")
    reference = hold(book)
    assert book.used(quota) == (D("1.5"), 0)
    assert Reservation.objects.get(reference=reference).likely_usd is None
    book.settle(reference, output=10_000)
    assert book.used(quota) == (0, D("0.6"))
    assert book.used(reserve) == (0, 0)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("output", "of_quota", "of_reserve"),
    [
        (1000, "0.06", "0"),  # as likely
        (20_000, "0.1", "1.1"),  # beyond it
        (25_000, "0.1", "1.4"),  # the bound
        (30_000, "0.4", "1.4"),  # above the bound, which the reserve never held
    ],
)
def test_the_reserve_pays_what_is_beyond_the_likely_up_to_the_bound(book, output, of_quota, of_reserve):
    quota, reserve = book.quota("1"), reserve_of(book)
    record = book.settle(hold(book), output=output)
    assert book.used(quota) == (0, D(of_quota))
    assert book.used(reserve) == (0, D(of_reserve))
    assert record.reserve_usd == D(of_reserve)
    assert UsageRecord.objects.get().reserve_usd == D(of_reserve)
    total = output * D("0.00006")
    assert book.budgets() == [(0, total)] * 2
    assert D(of_quota) + D(of_reserve) == total
    book.assert_sums_agree()
    assert verify(book.project.organization) == []


@pytest.mark.django_db
def test_what_is_given_back_leaves_nothing_held_anywhere(book):
    quota, reserve = book.quota("1"), reserve_of(book)
    reference = hold(book)
    book.doubt(reference)
    assert (book.used(quota), book.used(reserve)) == ((D("0.1"), 0), (D("1.4"), 0))
    book.release(reference)
    assert (book.used(quota), book.used(reserve)) == ((0, 0), (0, 0))


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("bound", "likely", "risk", "reserve"),
    [
        ("1.5", "0.1", "0.01", "1.3"),  # the reserve is too small
        ("1.5", "1.1", "0.01", "5"),  # the quota has no room for what is likely
        ("1.5", "0.1", "0.05", "5"),  # a larger risk than the reserve takes
        ("1.5", None, "0.01", "5"),  # nobody knows what is likely
        ("1.5", "1.5", "0.01", "5"),  # the bound is no more than is likely
        ("101", "0.1", "0.01", "1000"),  # the organization has no room for the bound
    ],
)
def test_a_call_is_refused_as_without_a_reserve(book, bound, likely, risk, reserve):
    quota, kept = book.quota("1"), reserve_of(book, reserve)
    Quota.objects.create(organization=book.project.organization, scope=Scope.ORGANIZATION, limit=D(100))
    (refusal,) = book.reserve(claimed(book, bound, likely, D(risk)))
    assert (refusal.budget.limit.measure, refusal.is_final) == (Measure.USD, True)
    assert refusal.describe()["required"] == f"{D(bound):.2f}"
    assert {book.used(row) for row in (quota, kept)} == {(0, 0)}


@pytest.mark.django_db
def test_a_refusal_is_not_final_where_calls_under_way_hold_the_reserve(book):
    book.quota("1")
    reserve_of(book, "2")
    hold(book)
    (refusal,) = book.reserve(claimed(book, "1.5", "0.1"))
    assert not refusal.is_final
    (other,) = book.reserve(claimed(book, "1.5", None))
    assert other.is_final


@pytest.mark.django_db
def test_limits_of_other_measures_and_of_the_organization_hold_everything(book):
    tokens = book.quota("40000", measure=Measure.TOKENS)
    own = Quota.objects.create(organization=book.project.organization, scope=Scope.ORGANIZATION, limit=D(100))
    team = Team.objects.create(organization=book.project.organization, name="Readers")
    book.project.team = team
    book.project.save()
    of_team = book.quota("1", scope=Scope.TEAM, project=None, team=team)
    reserve_of(book)
    reference = hold(book, team_id=team.pk)
    assert book.used(tokens) == (40_000, 0)
    assert book.used(own) == (D("1.5"), 0)
    assert book.used(of_team) == (D("0.1"), 0)
    book.settle(reference, output=20_000)
    assert (book.used(tokens), book.used(own), book.used(of_team)) == ((0, 20_000), (0, D("1.2")), (0, D("0.1")))


@pytest.mark.django_db
def test_two_reserves_both_hold_and_the_smaller_risk_counts(book):
    book.quota("1")
    monthly, daily = reserve_of(book, "5"), reserve_of(book, "2", D("0.05"), window=WindowKind.DAY)
    assert len(book.reserve(claimed(book, "1.5", "0.1", D("0.05")))) == 1
    reference = hold(book)
    assert book.used(monthly) == book.used(daily) == (D("1.4"), 0)
    assert len(book.reserve(claimed(book, "1.5", "0.1"))) == 1  # the day's has no room for two
    book.settle(reference, output=20_000)
    assert book.used(monthly) == book.used(daily) == (0, D("1.1"))
    assert risk_of(book.project.organization_id) == RISK


# --- Quotas and reserves that come and go -----------------------------------------------------------------------------
@pytest.mark.django_db
def test_a_quota_that_is_made_later_counts_what_the_reserve_leaves_it(book):
    first, reserve = book.quota("1"), reserve_of(book)
    settled, open_ = hold(book), hold(book)
    book.settle(settled, output=20_000)
    later = book.quota("3")
    book.reserve(claimed(book, "0.01", None))
    assert book.used(later) == (D("0.11"), D("0.1"))
    assert book.used(first) == (D("0.11"), D("0.1"))
    again = reserve_of(book, "9")
    book.reserve(claimed(book, "0.01", None))
    assert book.used(again) == book.used(reserve) == (D("1.4"), D("1.1"))
    book.settle(open_, output=1000)
    assert book.used(again) == book.used(reserve) == (0, D("1.1"))
    assert verify(book.project.organization) == []


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_reserve_that_ends_takes_no_more_and_pays_for_what_it_holds(book):
    quota, reserve = book.quota("1"), reserve_of(book)
    reference = hold(book)
    assert changes.remove(reserve, by=SERVICE) is not None
    assert len(book.reserve(claimed(book, "1.5", "0.1"))) == 1
    book.settle(reference, output=20_000)
    assert (book.used(quota), book.used(reserve)) == ((0, D("0.1")), (0, D("1.1")))
    assert verify(book.project.organization) == []


@pytest.mark.django_db
def test_a_late_answer_counts_on_the_quotas_and_reserves_of_the_open_month(book, clock: Clock):
    quota, reserve = book.quota("1"), reserve_of(book)
    late = hold(book)
    clock.now = APRIL
    close(book)
    book.settle(late, output=20_000)
    used = {(row.quota_id, row.window_start.month): (row.held, row.spent) for row in Budget.objects.exclude(quota=None)}
    assert used == {
        (quota.pk, 3): (0, 0),
        (quota.pk, 4): (0, D("0.1")),
        (reserve.pk, 3): (0, 0),
        (reserve.pk, 4): (0, D("1.1")),
    }
    assert verify(book.project.organization) == []


@pytest.mark.django_db
def test_a_tampered_share_of_the_reserve_is_found_and_budgets_are_repaired(book):
    quota, reserve = book.quota("1"), reserve_of(book)
    book.settle(hold(book), output=20_000)
    hold(book, likely="0.2")
    Budget.objects.filter(quota=reserve).update(spent=0, held=0)
    Budget.objects.filter(quota=quota).update(spent=0, held=0)
    assert [difference.check for difference in verify(book.project.organization)] == ["budgets"]
    assert repair(book.project.organization) == []
    assert (book.used(quota), book.used(reserve)) == ((D("0.2"), D("0.1")), (D("1.3"), D("1.1")))
    as_owner("UPDATE billing_usagerecord SET reserve_usd = reserve_usd - 1")
    found = verify(book.project.organization)
    assert "its reserve_usd is 0.1" in next(each.detail for each in found if each.check == "usage records")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"risk": None}, "risk"),
        ({"risk": D("0.0001")}, "risk"),
        ({"risk": D("0.6")}, "risk"),
        ({"scope": Scope.PROJECT}, "scope"),
        ({"model": "o1-preview"}, "model"),
        ({"is_hard": False}, "is_hard"),
        ({"measure": Measure.USD}, "risk"),
    ],
)
def test_a_reserve_is_the_organizations_hard_and_says_its_risk(book, wrong, field):
    fields = {"organization": book.project.organization, "scope": Scope.ORGANIZATION, "measure": Measure.RESERVE}
    fields |= {"limit": D(5), "risk": RISK, **wrong}
    if fields["scope"] == Scope.PROJECT:
        fields["project"] = book.project
    with pytest.raises(ValidationError) as refused:
        changes.create(Quota(**fields), by=SERVICE)
    assert list(refused.value.message_dict) == [field]
    with pytest.raises(IntegrityError), transaction.atomic():
        Quota.objects.create(**fields)


@pytest.mark.django_db
def test_a_reserve_stays_one_and_its_risk_can_be_changed(book):
    quota, reserve = book.quota("1"), reserve_of(book)
    for row, measure in ((quota, Measure.RESERVE), (reserve, Measure.USD)):
        with pytest.raises(ValidationError, match="stays one"):
            changes.change(row, {"measure": measure}, by=SERVICE)
    changes.change(reserve, {"risk": D("0.001")}, by=SERVICE)
    assert len(book.reserve(claimed(book, "1.5", "0.1"))) == 1
    assert str(reserve) == "5.00 USD of reserve a month for Alice"


@pytest.mark.django_db
def test_what_became_of_calls_is_said_beside_the_risk(book):
    book.quota("1")
    reserve_of(book, "50")
    for output in (1000, 1000, 20_000):
        book.settle(hold(book), output=output)
    hold(book)
    month = month_of(database_now())
    assert experience(book.project.organization_id, month) == Experience(3, 1, D("1.1"))


@pytest.mark.django_db
def test_a_preview_replays_what_a_quota_held_and_counted(book):
    quota, reserve = book.quota("1"), reserve_of(book)
    book.settle(hold(book), output=20_000)
    month = month_of(database_now())
    assert preview(quota, D("0.1"), month).refused == 0
    assert preview(quota, D("0.09"), month).too_large == 1
    assert preview(reserve, D("1.4"), month).refused == 0
    assert preview(reserve, D("1.39"), month).too_large == 1


# --- No limit is crossed ----------------------------------------------------------------------------------------------
WINDOW = month_of(datetime(2024, 9, 12, tzinfo=UTC))
CENTS = st.integers(0, 300).map(lambda cents: D(cents) / 100)


def limit(number: int, scope: Scope, amount: Decimal, measure: Measure = Measure.USD) -> Limit:
    return Limit(
        scope=scope,
        organization_id=UUID(int=1),
        quota_id=UUID(int=number),
        project_id=None,
        owner_id="",
        name="",
        origin="quota",
        measure=measure,
        model="",
        amount=amount,
        window=WINDOW,
        risk=RISK if measure == Measure.RESERVE else None,
    )


@given(
    amounts=st.tuples(CENTS, CENTS, CENTS, CENTS),
    calls=st.lists(st.tuples(CENTS, CENTS, CENTS, st.booleans()), max_size=12),
)
def test_whatever_is_held_and_settled_no_limit_is_crossed(amounts, calls):
    """Calls with a bound, a likely and an actual cost; on an organization, a team, a key and a reserve."""
    scopes = (Scope.ORGANIZATION, Scope.TEAM, Scope.KEY)
    limits = [limit(n, scope, amounts[n]) for n, scope in enumerate(scopes)]
    limits.append(limit(3, Scope.ORGANIZATION, amounts[3], Measure.RESERVE))
    accounts = {one.key: Account(UUID(int=n), one.amount, D(0), D(0)) for n, one in enumerate(limits)}
    total = D(0)

    def settle(granted: Granted, cost: Decimal) -> Decimal:
        """As `settlements.moves` does, of a bill within its bound."""
        bound = granted.claim.amount_usd
        paid = paid_by_reserve(min(cost, bound), bound, granted.likely_usd)
        counted = actual(min(cost, bound), Tokens(0, 0, 0, 0), paid)
        for one in limits:
            account = accounts[one.key]
            account.held -= granted.holds.get(account.budget_id, D(0))
            account.spent += one.counts(counted)
        return counted.usd

    open_: list[tuple[Granted, Decimal]] = []
    for bound, likely, cost, at_once in calls:
        claim = Claim(uuid4(), bound, 0, 0, OWNER, "standard", PRICE, Likely(likely, RISK))
        found = grant([claim], {OWNER: limits}, accounts)
        for granted in found.granted:
            if at_once:
                total += settle(granted, cost)
            else:
                open_.append((granted, cost))
        assert all(account.spent + account.held <= account.limit for account in accounts.values())
    for granted, cost in open_:
        total += settle(granted, cost)
        assert all(account.spent + account.held <= account.limit for account in accounts.values())
    whole, team, key, reserve = (accounts[one.key] for one in limits)
    assert whole.spent == total == team.spent + reserve.spent == key.spent + reserve.spent
    assert {account.held for account in accounts.values()} == {0}


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_of_concurrent_holds_on_quotas_and_a_reserve_exactly_those_that_fit_are_granted(book):
    quota, reserve = book.quota("1"), reserve_of(book, "7.1")
    refused = all_at_once(book.reserve, [claimed(book, "1.5", "0.1") for _ in range(100)], threads=32)
    # Five times the rest of 1.4 fits into 7.1. The other half of the quota is too little for a bound.
    assert sum(not each for each in refused) == 5
    assert (book.used(quota), book.used(reserve)) == ((D("0.5"), 0), (D(7), 0))
    assert verify(book.project.organization) == []


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_while_calls_come_and_go_no_limit_is_crossed(book):
    book.quota("1")
    reserve_of(book, "7.1")
    over, done = [], Event()

    def watch() -> None:
        while not done.wait(0.01):
            over.extend(Budget.objects.filter(limit__lt=F("spent") + F("held")))
        connection.close()

    def client(seed: int) -> int:
        dice, granted = Random(seed), 0
        for _ in range(12):
            bound, likely = D(dice.randrange(10, 160)) / 100, D(dice.randrange(1, 30)) / 100
            claim = claimed(book, str(bound), str(likely))
            if not book.reserve(claim):
                granted += 1
                if dice.random() < 0.8:
                    book.release(claim.reference)
                else:
                    book.settle(claim.reference, output=dice.randrange(int(bound / D("0.00006")) + 1) // 4)
        return granted

    watching = Thread(target=watch)
    watching.start()
    try:
        assert sum(all_at_once(client, list(range(16)))) > 0
    finally:
        done.set()
        watching.join()
    assert over == []
    assert Reservation.objects.filter(likely_usd__isnull=False).exists()
    assert verify(book.project.organization) == []


@pytest.mark.parametrize("quotas", [(), (Scope.ORGANIZATION,)])
def test_where_no_quota_is_relieved_a_reserve_holds_nothing(quotas):
    limits = [*(limit(n, scope, D(1)) for n, scope in enumerate(quotas)), limit(9, Scope.ORGANIZATION, D(5), MEASURE)]
    bound = at_most(D("1.5"), input_tokens=0, output_tokens=1)
    assert ways_to_hold(bound, Likely(D("0.1"), RISK), limits) == (bound,)
