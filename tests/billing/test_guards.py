"""The races beside known bugs of locking: each is planted alone, and the test of the race has to see it.

One thread alone sees none of these; what one thread can see is in `tests/simulation/test_seeded_bugs.py`.
"""

import pytest
from django.db import IntegrityError, OperationalError

from billing import books, ledger, storage
from tests.billing import test_budgets, test_ledger_races
from tests.billing.conftest import Book

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)


def _unlocked(monkeypatch) -> None:
    monkeypatch.setattr(books, "_LOCK", books._LOCK.replace("FOR UPDATE", ""))


def _holds_race(book: Book) -> None:
    book.hold("0.10", model="o1-mini")  # the book is there, as it is for all but the first call ever
    test_ledger_races.test_of_a_thousand_concurrent_holds_exactly_those_that_fit_are_granted(book)


def test_books_that_are_locked_in_the_order_asked_for_are_seen(alice, bob, monkeypatch):
    lock = books.lock
    monkeypatch.setattr(books, "lock", lambda pks: {pk: head for asked in pks for pk, head in lock([asked]).items()})
    with pytest.raises(AssertionError):
        test_budgets.test_books_are_locked_in_order_however_they_are_asked_for_and_stored(alice, bob)


def test_books_that_batches_lock_in_an_order_of_their_own_are_seen(book, bob, monkeypatch):
    lock = books.lock
    monkeypatch.setattr(storage, "lock", lambda pks: {pk: lock([pk])[pk] for pk in pks})
    with pytest.raises(OperationalError, match="deadlock"):
        test_ledger_races.test_batches_of_crossing_organizations_settle_and_release_without_a_deadlock(book, bob)


def test_a_book_that_is_not_locked_is_seen(book, monkeypatch):
    _unlocked(monkeypatch)
    with pytest.raises((AssertionError, IntegrityError)):
        _holds_race(book)


def test_a_book_that_is_not_locked_and_a_raise_without_its_condition_are_seen(book, monkeypatch):
    """Nothing is left but the chain, in which no two lines have one place."""
    _unlocked(monkeypatch)
    monkeypatch.setattr(storage, "_RAISE", storage._RAISE.partition("AND (NOT")[0])
    with pytest.raises((AssertionError, IntegrityError)):
        _holds_race(book)


def test_limits_that_are_read_before_the_lock_are_seen(book, monkeypatch):
    """A quota that is lowered meanwhile is not seen by whoever waits for the lock."""
    limits, lock, kept = storage.limits, storage.lock, {}

    def early(pks):
        pks = list(pks)
        kept.update(limits([book.claim("5").owner], storage.now()))
        return lock(pks)

    monkeypatch.setattr(storage, "lock", early)
    monkeypatch.setattr(storage, "limits", lambda owners, now: {owner: kept[owner] for owner in owners})
    with pytest.raises(AssertionError):
        test_budgets.test_a_quota_lowered_meanwhile_is_seen_by_whoever_waited_for_the_lock(book)


def test_a_reservation_that_is_read_before_the_lock_is_seen(book, monkeypatch):
    def early(references):
        rows = storage.reservations(list(references))
        return rows, storage.lock(row.organization_id for row in rows.values())

    monkeypatch.setattr(ledger, "_locked_reservations", early)
    with pytest.raises((AssertionError, IntegrityError)):
        test_ledger_races.test_concurrent_settlements_of_one_hold_book_it_once(book)
