from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.models import Payment, Project
from billing import ledger, rollups
from billing.budgets import refresh_limits, states_of
from billing.errors import AlreadyReleased, NoSuchReservation
from billing.limits import Owner
from billing.models import Budget, LedgerEntry, Reservation, SpendRollup, UsageRecord

D = Decimal


def test_a_hold_is_kept_on_the_organization_and_on_the_project(book):
    book.hold("2.5")
    assert book.budgets() == [(D("2.5"), D(0)), (D("2.5"), D(0))]
    book.assert_sums_agree()


def test_settling_replaces_the_hold_by_the_cost(book):
    reference = book.hold("2.5")
    record = book.settle(reference, output=1279, reasoning=1024)
    assert record.total_usd == D("0.07674")
    assert book.budgets() == [(D(0), D("0.07674"))] * 2
    assert [e.kind for e in LedgerEntry.objects.order_by("id")] == ["reserve", "settle"]
    book.assert_sums_agree()


def test_settling_twice_books_once(book):
    reference = book.hold("2.5")
    first = book.settle(reference, output=1000)
    assert book.settle(reference, output=2000) == first
    assert UsageRecord.objects.count() == 1
    book.assert_sums_agree()


def test_releasing_gives_the_hold_back_once(book):
    reference = book.hold("2.5")
    book.release(reference)
    book.release(reference)
    assert book.budgets() == [(D(0), D(0))] * 2
    assert [e.kind for e in LedgerEntry.objects.order_by("id")] == ["reserve", "release"]


def test_what_is_settled_is_not_released(book):
    reference = book.hold("2.5")
    book.settle(reference, output=1000)
    book.release(reference)
    assert book.budgets() == [(D(0), D("0.06"))] * 2


def test_what_is_released_is_not_settled_in_silence(book):
    reference = book.hold("2.5")
    book.release(reference)
    with pytest.raises(AlreadyReleased):
        book.settle(reference, output=1000)
    assert book.budgets() == [(D(0), D(0))] * 2


def test_doubt_keeps_the_hold_and_says_so_once(book):
    reference = book.hold("2.5")
    book.doubt(reference)
    book.doubt(reference)
    assert book.budgets() == [(D("2.5"), D(0))] * 2
    assert Reservation.objects.get().is_in_doubt
    assert [e.kind for e in LedgerEntry.objects.order_by("id")] == ["reserve", "in_doubt"]
    book.settle(reference, output=1000)
    assert not Reservation.objects.get().is_in_doubt
    book.assert_sums_agree()


def test_an_unknown_reference_is_named_as_such(book):
    with pytest.raises(NoSuchReservation):
        book.release(uuid4())


def test_the_limit_is_reached_to_the_last_digit_and_never_crossed(book):
    quota = book.quota("1")
    book.hold("0.999999999999")
    assert len(book.reserve(book.claim("0.000000000002"))) == 1
    book.hold("0.000000000001")
    assert len(book.reserve(book.claim("0.000000000001"))) == 1
    assert book.used(quota) == (D(1), D(0))


def test_a_refusal_names_scope_limit_spent_held_required_and_reset(book):
    book.quota("1")
    book.settle(book.hold("0.5"), output=1000)
    book.hold("0.9")
    (refusal,) = book.reserve(book.claim("0.25"))
    told = refusal.describe()
    assert told.pop("window_start") < told.pop("resets_at")
    assert told == {
        "scope": "project",
        "id": str(book.project.pk),
        "name": "Alice research",
        "origin": "quota",
        "measure": "usd",
        "model": None,
        "is_hard": True,
        "limit": "1.00",
        "spent": "0.06",
        "held": "0.90",
        "remaining": "0.04",
        "required": "0.25",
    }


def test_a_batch_grants_in_order_what_fits_and_refuses_the_rest(book):
    quota = book.quota("1")
    claims = [book.claim(usd) for usd in ("0.6", "0.6", "0.3", "0.2", "0.1")]
    refused = [refusal.claim for refusal in book.reserve(*claims)]
    assert refused == [claims[1], claims[3]]
    assert book.used(quota) == (D(1), D(0))
    book.assert_sums_agree()


def test_a_refused_project_leaves_no_hold_on_its_organization(book):
    book.quota("1")
    sibling = Project.objects.create(organization=book.project.organization, name="Sibling", slug="sibling")
    assert len(book.reserve(book.claim("2"), book.claim("2", project=sibling))) == 1
    organization = Budget.objects.get(scope="organization")
    assert organization.held == D(2)


def test_the_tier_limits_all_projects_together(book):
    Payment.objects.all().delete()  # back to the Free tier: $100 a month
    sibling = Project.objects.create(organization=book.project.organization, name="Sibling", slug="sibling")
    book.hold("60")
    (refusal,) = book.reserve(book.claim("60", project=sibling))
    assert refusal.describe()["scope"] == "organization"
    assert refusal.describe()["limit"] == "100.00"


def test_a_raised_quota_admits_at_once_and_a_lowered_one_breaks_nothing(book):
    quota = book.quota("1")
    assert len(book.reserve(book.claim("1.5"))) == 1
    quota.limit = D(2)
    quota.save()
    book.hold("1.5")
    quota.limit = D("0.5")
    quota.save()
    assert len(book.reserve(book.claim("0.01"))) == 1
    refresh_limits(book.project.organization, timezone.now())
    state = states_of(Owner(book.project), timezone.now())[2]
    assert (state.limit.amount, state.held, state.remaining) == (D("0.5"), D("1.5"), D(0))


def test_a_bill_above_its_bound_is_booked_in_full_flagged_and_pauses_the_project(book):
    record = book.settle(book.hold("0.01"), output=1000)
    assert record.is_overrun
    assert book.budgets() == [(D(0), D("0.06"))] * 2
    book.project.refresh_from_db()
    assert book.project.paused_at is not None
    assert "more than the bound" in book.project.paused_reason


def test_an_adjustment_needs_a_reason_and_a_person_and_may_cross_the_limit(book, owner):
    book.quota("1")
    with transaction.atomic():
        ledger.adjust(book.project, D("1.5"), reason="the provider's bill of March", actor=owner)
    assert book.budgets() == [(D(0), D("1.5"))] * 2
    assert len(book.reserve(book.claim("0.000000000001"))) == 1
    with pytest.raises(IntegrityError), transaction.atomic():
        ledger.adjust(book.project, D("1"), reason="", actor=owner)
    book.assert_sums_agree()


def test_a_call_belongs_to_the_month_in_which_it_was_dispatched(book, monkeypatch):
    last_month = timezone.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0) - timedelta(microseconds=1)
    monkeypatch.setattr(ledger.storage, "now", lambda: last_month)
    reference = book.hold("2.5")
    monkeypatch.undo()
    record = book.settle(reference, output=1000)
    assert record.window_start.month == last_month.month
    assert {row.window_start for row in Budget.objects.all()} == {record.window_start}
    assert SpendRollup.objects.get().day == last_month.date()
    assert not [s for s in states_of(Owner(book.project), timezone.now()) if s.spent or s.held]


def test_rollups_can_be_dropped_and_come_back_the_same(book):
    book.settle(book.hold("2.5"), output=1279, reasoning=1024)
    book.settle(book.hold("2.5"), output=300, reasoning=300, empty=True)
    before = SpendRollup.objects.values().get()
    assert rollups.rebuild(book.project.organization) == 2
    after = SpendRollup.objects.values().get()
    before.pop("id"), after.pop("id")
    assert after == before
    assert (after["calls"], after["empty_calls"], after["empty_usd"]) == (2, 1, D("0.018"))
