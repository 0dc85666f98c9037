"""The seals of the book: whatever is done to its lines behind the door is found."""

import random
from dataclasses import replace
from decimal import Decimal
from uuid import uuid4

import pytest

from billing import books, chain
from billing.models import Book, LedgerEntry
from tests.billing.conftest import as_owner

D = Decimal


def read(organization) -> chain.Break | None:
    """Where the book of an organization breaks."""
    book = Book.objects.get(organization=organization)
    entries = LedgerEntry.objects.filter(organization=organization).order_by("sequence")
    lines = [(books.line_of(entry), entry.seal) for entry in entries]
    return chain.first_break(lines, head_sequence=book.head_sequence, head_seal=book.head_seal)


@pytest.fixture
def organization(book):
    """Sixteen lines of every kind but corrections; the tenth is a settlement."""
    for number in range(8):
        reference = book.hold("1")
        if number % 3 == 0:
            book.release(reference)
        elif number % 3 == 1:
            book.settle(reference, output=100 * number)
        else:
            book.doubt(reference)
    return book.project.organization


def test_an_untouched_book_holds(organization):
    assert Book.objects.get().head_sequence == LedgerEntry.objects.count() == 16
    assert read(organization) is None


@pytest.mark.parametrize(
    "change",
    [
        "spent_change_usd = spent_change_usd + 0.000000000001",
        "held_change_usd = held_change_usd - 0.000000000001",
        "reason = reason || ' '",
        "recorded_at = recorded_at + interval '1 microsecond'",
        "window_start = window_start - interval '1 month'",
        "reservation_id = NULL",
        "seal = repeat('0', 64)",
    ],
)
def test_a_changed_line_is_found_at_its_place(organization, change):
    as_owner(f"UPDATE billing_ledgerentry SET {change} WHERE sequence = 10")
    assert read(organization).sequence == 10


def test_a_deleted_line_is_found_at_its_place(organization):
    as_owner("DELETE FROM billing_ledgerentry WHERE sequence = 5")
    assert read(organization) == chain.Break(5, "line 5 is missing: line 6 stands in its place")


def test_lines_cut_off_the_end_are_found(organization):
    as_owner("DELETE FROM billing_ledgerentry WHERE sequence > 12")
    assert read(organization) == chain.Break(13, "the book ends at line 12, and its head says 16")


def test_swapped_lines_are_found(organization):
    as_owner("UPDATE billing_ledgerentry SET sequence = -1 WHERE sequence = 3")
    as_owner("UPDATE billing_ledgerentry SET sequence = 3 WHERE sequence = 4")
    as_owner("UPDATE billing_ledgerentry SET sequence = 4 WHERE sequence = -1")
    assert read(organization).sequence == 3


def test_an_emptied_book_is_found(organization):
    as_owner("DELETE FROM billing_ledgerentry")
    assert read(organization) == chain.Break(1, "the book ends at line 0, and its head says 16")


def test_two_thousand_random_tampers_are_all_found(organization):
    """In memory, on plain lines: any one field of any line, any removal, any swap."""
    entries = list(LedgerEntry.objects.filter(organization=organization).order_by("sequence"))
    lines = [(books.line_of(entry), entry.seal) for entry in entries]
    head = {"head_sequence": lines[-1][0].sequence, "head_seal": lines[-1][1]}
    dice = random.Random(20240912)
    for _ in range(2000):
        tampered = list(lines)
        place = dice.randrange(len(tampered))
        match dice.randrange(4):
            case 0:
                line, seal = tampered[place]
                changed = {
                    "spent_change_usd": line.spent_change_usd + D(dice.randrange(1, 10**6)).scaleb(-12),
                    "held_change_usd": line.held_change_usd - D(dice.randrange(1, 10**6)).scaleb(-12),
                    "kind": dice.choice([k for k in ("reserve", "settle", "release", "adjust") if k != line.kind]),
                    "reason": line.reason + chr(dice.randrange(33, 0x2FFF)),
                    "project": uuid4(),
                    "actor": (line.actor or 0) + 1,
                }
                name = dice.choice(list(changed))
                tampered[place] = (replace(line, **{name: changed[name]}), seal)
            case 1:
                del tampered[place]
            case 2:
                del tampered[place:]
            case 3:
                other = (place + dice.randrange(1, len(tampered))) % len(tampered)
                tampered[place], tampered[other] = tampered[other], tampered[place]
        assert chain.first_break(tampered, **head) is not None
