"""`verify_ledger` finds what was changed behind the door, and repairs what can be derived."""

from datetime import timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from accounts.models import Team
from billing import ledger
from billing.clock import database_now
from billing.models import Budget, LedgerEntry, SpendRollup
from billing.verification import repair, verify
from tests.billing.conftest import as_owner

D = Decimal


@pytest.fixture
def organization(book, owner):
    """A month of every kind of entry, under limits of several measures."""
    book.quota("5000", measure="jobs", window="day")
    book.quota("5000000", measure="reasoning_tokens", window="week", scope="organization", project=None)
    for number in range(9):
        reference = book.hold("1", model="o1-preview" if number % 2 else "o1-mini")
        match number % 3:
            case 0:
                book.release(reference)
            case 1:
                book.settle(reference, output=100 * number, reasoning=64, empty=number > 5)
            case 2:
                book.doubt(reference)
    with transaction.atomic():
        ledger.adjust(book.project, D("-0.01"), reason="a refund", actor=owner)
    return book.project.organization


def test_books_that_nobody_touched_agree(organization):
    assert verify(organization) == []


@pytest.mark.parametrize(
    ("statement", "check"),
    [
        ("UPDATE billing_ledgerentry SET reason = 'x' WHERE sequence = 3", "chain"),
        ("DELETE FROM billing_ledgerentry WHERE kind = 'settle'", "chain"),
        (
            "UPDATE billing_reservation SET status = 'open', resolved_at = NULL WHERE status = 'released'",
            "reservations",
        ),
        ("UPDATE billing_reservation SET amount_usd = amount_usd + 1 WHERE status = 'settled'", "reservations"),
        ("DELETE FROM billing_usagerecord", "usage records"),
        ("UPDATE billing_usagerecord SET output_tokens = output_tokens + 1", "usage records"),
        ("UPDATE billing_spendrollup SET total_usd = total_usd + 0.000000000001", "rollups"),
        ("UPDATE billing_spendrollup SET empty_calls = empty_calls + 1", "rollups"),
        ("DELETE FROM billing_spendrollup", "rollups"),
        ("UPDATE billing_budget SET held = held + 1", "budgets"),
        ("UPDATE billing_budget SET spent = spent + 1 WHERE measure = 'jobs'", "budgets"),
    ],
)
def test_each_change_is_found_by_its_check(organization, statement, check):
    as_owner(statement)
    assert check in [difference.check for difference in verify(organization)]


def test_derived_rows_are_made_anew_and_the_truth_is_left_alone(organization):
    entries = list(LedgerEntry.objects.order_by("sequence").values())
    as_owner("DELETE FROM billing_spendrollup")
    as_owner("UPDATE billing_budget SET held = held + 1, spent = 0")
    assert {difference.is_derived for difference in verify(organization)} == {True}
    assert repair(organization) == []
    assert list(LedgerEntry.objects.order_by("sequence").values()) == entries
    assert SpendRollup.objects.count() == 2
    assert Budget.objects.get(measure="jobs").spent == 3


def test_what_is_no_derived_row_is_not_repaired(organization):
    as_owner("UPDATE billing_ledgerentry SET reason = 'x' WHERE sequence = 3")
    (difference,) = repair(organization)
    assert (difference.check, difference.place, difference.is_derived) == ("chain", "line 3", False)


def test_the_command_says_what_agrees_and_what_differs(organization):
    out = StringIO()
    call_command("verify_ledger", stdout=out)
    assert out.getvalue().startswith(
        "alice: 19 lines, chain, closed months, reservations, usage records, rollups, budgets agree"
    )
    as_owner("UPDATE billing_spendrollup SET total_usd = total_usd + 1")
    with pytest.raises(SystemExit) as exit_:
        call_command("verify_ledger", organization="alice", stdout=out)
    assert exit_.value.code == 1
    assert "--repair makes it anew" in out.getvalue()
    call_command("verify_ledger", repair=True, stdout=out)
    with pytest.raises(CommandError, match="nobody"):
        call_command("verify_ledger", organization="nobody", stdout=out)


def test_without_a_book_there_is_nothing_to_verify(db):
    out = StringIO()
    call_command("verify_ledger", stdout=out)
    assert "no book yet" in out.getvalue()


def test_a_quota_that_ended_in_mid_window_has_counted_nothing_since(book, monkeypatch, owner):
    now = database_now()
    book.quota("5", window="day", expires_at=now + timedelta(seconds=1))
    book.settle(book.hold("1"), output=1000)
    monkeypatch.setattr(ledger.storage, "now", lambda: now + timedelta(seconds=2))
    book.settle(book.hold("1"), output=1000)
    with transaction.atomic():
        ledger.adjust(book.project, D(1), reason="late truth", actor=owner)
    assert verify(book.project.organization) == []


def test_a_correction_stays_with_the_team_that_the_project_had(book, owner):
    first, second = (Team.objects.create(organization=book.project.organization, name=name) for name in "AB")
    book.project.team = first
    book.project.save()
    of_first = book.quota("5", scope="team", project=None, team=first)
    with transaction.atomic():
        ledger.adjust(book.project, D(1), reason="late truth", actor=owner)
    book.project.team = second
    book.project.save()
    of_second = book.quota("5", scope="team", project=None, team=second)
    book.hold("2", team_id=second.pk)
    assert (book.used(of_first), book.used(of_second)) == ((D(0), D(1)), (D(2), D(0)))
    assert verify(book.project.organization) == []
