"""Closed months: what they came to never changes, and what is learnt later is booked in the open month by name."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, IntegrityError, connection, transaction

from billing import closing, ledger
from billing.errors import MonthStillOpen
from billing.models import Book, Budget, ClosedMonth, LedgerEntry, Reservation, SpendRollup, UsageRecord
from billing.periods import month_of
from billing.tasks import close_months
from billing.verification import verify
from tests.billing.conftest import as_owner

D = Decimal
MOMENT = timedelta(microseconds=1)
MARCH, APRIL, MAY = (datetime(2026, month, 1, tzinfo=UTC) for month in (3, 4, 5))
BOUNDARIES = [datetime(2024 + (n // 12), n % 12 + 1, 1, tzinfo=UTC) for n in range(1, 25)]


@dataclass
class Clock:
    """The database's clock, as the money core reads it."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    found = Clock(MARCH + timedelta(days=9))
    monkeypatch.setattr(ledger.storage, "now", found)
    monkeypatch.setattr(closing, "database_now", found)
    return found


def close(book, instant: datetime | None = None) -> list[ClosedMonth]:
    return closing.close_until(book.project.organization, instant or closing.database_now())


def month(start: datetime) -> dict[str, Any]:
    """All that can be asked about a month's money."""
    entries = LedgerEntry.objects.filter(window_start=start)
    days = SpendRollup.objects.filter(day__gte=start.date(), day__lt=month_of(start).end.date())
    records = UsageRecord.objects.filter(window_start=start)
    return {
        "entries": sum((entry.spent_change_usd for entry in entries), D(0)),
        "lines": [entry.seal for entry in entries.order_by("sequence")],
        "rollups": sum((row.total_usd for row in days), D(0)),
        "records": sum((record.total_usd for record in records), D(0)),
        "budgets": {row.spent for row in Budget.objects.filter(window_start=start, quota__isnull=True)},
    }


# --- Closing ----------------------------------------------------------------------------------------------------------
def test_a_closed_month_says_what_it_came_to(book, clock, owner):
    book.settle(book.hold("2.5"), output=1000)  # 0.06 USD
    book.hold("1.25")
    clock.now = APRIL + timedelta(days=1)
    closed = closing.close_until(book.project.organization, clock.now, by=owner)
    assert [(c.starts_at, c.ends_at, c.lines, c.spent_usd, c.held_usd, c.closed_by) for c in closed] == [
        (MARCH, APRIL, 3, D("0.06"), D("1.25"), owner)
    ]
    assert str(closed[0]) == "March 2026 of Alice: 0.06 USD"
    assert Book.objects.get().closed_until == APRIL
    assert close(book) == []
    assert verify(book.project.organization) == []


def test_months_are_closed_in_order_and_without_a_gap(book, clock):
    book.hold("1")
    clock.now = datetime(2026, 6, 15, tzinfo=UTC)
    book.hold("1")
    assert [c.starts_at for c in close(book)] == [MARCH, APRIL, MAY]
    seals = list(ClosedMonth.objects.order_by("starts_at").values_list("seal", flat=True))
    assert len(set(seals)) == 3  # each hash is over the one before it, also of a month without a line
    assert verify(book.project.organization) == []


def test_what_is_not_over_can_not_be_closed(book, clock):
    book.hold("1")
    assert close(book) == []
    with pytest.raises(MonthStillOpen, match="lies ahead of the database's clock"):
        close(book, clock.now + MOMENT)


def test_a_book_without_a_line_has_nothing_to_close(book, clock):
    assert close(book) == []
    assert Book.objects.get().closed_until is None


def test_months_close_by_themselves_some_days_after_their_end(book, clock, settings):
    settings.CLOSE_MONTHS_AFTER_DAYS = 3
    book.hold("1")
    clock.now = APRIL + timedelta(days=3) - MOMENT
    close_months()
    assert not ClosedMonth.objects.exists()
    clock.now = APRIL + timedelta(days=3)
    close_months()
    assert [(c.starts_at, c.closed_by) for c in ClosedMonth.objects.all()] == [(MARCH, None)]
    close_months()
    assert ClosedMonth.objects.count() == 1


# --- Late truth -------------------------------------------------------------------------------------------------------
def test_a_late_answer_is_booked_in_the_open_month_and_names_its_own(book, clock):
    quota = book.quota("10", window="day")
    late = book.hold("2.5")
    clock.now = APRIL + timedelta(days=5, hours=7)
    (closed,) = close(book)
    before = month(MARCH)
    record = book.settle(late, output=1000)
    assert (record.dispatched_at, record.booked_at) == (MARCH + timedelta(days=9), clock.now)
    entry = LedgerEntry.objects.get(kind="settle")
    assert (entry.window_start, entry.corrects, entry.spent_change_usd) == (APRIL, MARCH, D("0.06"))
    assert month(MARCH) == before
    assert month(APRIL)["rollups"] == month(APRIL)["entries"] == D("0.06")
    assert month(APRIL)["budgets"] == {D("0.06")}
    today = Budget.objects.get(quota=quota, window_start=APRIL + timedelta(days=5))
    assert (today.held, today.spent) == (D(0), D("0.06"))  # and the hold of March is given back
    assert not Budget.objects.exclude(held=0).exists()
    assert ClosedMonth.objects.get() == closed
    assert verify(book.project.organization) == []


@pytest.mark.parametrize("what", ["release", "doubt"])
def test_whatever_is_learnt_late_leaves_the_closed_month_alone(book, clock, what):
    late = book.hold("2.5")
    clock.now = APRIL
    close(book)
    before = month(MARCH)
    getattr(book, what)(late)
    entry = LedgerEntry.objects.get(sequence=2)
    assert (entry.window_start, entry.corrects) == (APRIL, MARCH)
    assert month(MARCH) == before
    assert verify(book.project.organization) == []


def test_a_correction_names_the_month_that_it_is_about(book, clock, owner):
    book.settle(book.hold("2.5"), output=1000)
    clock.now = APRIL + timedelta(days=4)
    close(book)
    with transaction.atomic():
        entry = ledger.adjust(book.project, D("-0.01"), reason="a refund", actor=owner, corrects=MARCH + MOMENT)
        plain = ledger.adjust(book.project, D("0.02"), reason="of today", actor=owner, corrects=clock.now)
    assert (entry.window_start, entry.corrects) == (APRIL, MARCH)
    assert (plain.window_start, plain.corrects) == (APRIL, None)
    assert verify(book.project.organization) == []


def test_a_late_answer_counts_on_a_range_over_the_edge_that_held_it_and_was_opened_late(book, clock):
    """The hold of a call of March is counted when the range is first opened in April, and is given back on it, too."""
    late = book.hold("2.5")
    quota = book.quota("10", window="fixed", starts_at=MARCH, expires_at=MAY)
    clock.now = APRIL + timedelta(days=5)
    close(book)
    book.settle(late, output=1000)
    assert book.used(quota) == (D(0), D("0.06"))
    assert verify(book.project.organization) == []


# --- Nothing gets into a closed month ---------------------------------------------------------------------------------
def test_a_clock_that_is_set_back_does_not_reopen_a_closed_month(book, clock, owner):
    book.hold("1")
    clock.now = APRIL + timedelta(days=5)
    close(book)
    before = month(MARCH)
    clock.now = MARCH + timedelta(days=20)
    with transaction.atomic():
        ledger.adjust(book.project, D(1), reason="by a clock that was set back", actor=owner)
    book.settle(book.hold("2.5"), output=1000)
    assert Reservation.objects.latest("reserved_at").reserved_at == APRIL
    assert month(MARCH) == before
    assert month(APRIL)["entries"] == D("1.06")
    assert verify(book.project.organization) == []


@pytest.mark.parametrize("table", ["billing_ledgerentry", "billing_usagerecord"])
def test_the_database_refuses_a_row_of_a_closed_month(book, clock, table):
    book.settle(book.hold("2.5"), output=1000)
    other = Reservation.objects.get(reference=book.hold("1"))
    clock.now = APRIL
    close(book)
    columns = {
        "billing_ledgerentry": "sequence = 99, reservation_id = NULL, id = 999",
        "billing_usagerecord": f"id = gen_random_uuid(), reservation_id = '{other.pk}'",
    }[table]
    with connection.cursor() as cursor, transaction.atomic():
        cursor.execute(f"CREATE TEMPORARY TABLE copied AS SELECT * FROM {table} LIMIT 1")
        cursor.execute(f"UPDATE copied SET {columns}")
        with pytest.raises(IntegrityError, match="the month is closed"), transaction.atomic():
            cursor.execute(f"INSERT INTO {table} SELECT * FROM copied")
        cursor.execute("DROP TABLE copied")


@pytest.mark.parametrize("guard", ["permission denied", "append-only"])
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE billing_closedmonth SET spent_usd = 0",
        "DELETE FROM billing_closedmonth",
        "TRUNCATE billing_closedmonth",
    ],
)
def test_the_database_refuses_to_change_a_closed_month_by_rights_and_by_triggers(book, clock, change, guard):
    book.hold("1")
    clock.now = APRIL
    close(book)
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        if guard == "append-only":
            cursor.execute("GRANT UPDATE, DELETE, TRUNCATE ON billing_closedmonth TO CURRENT_USER")
        with pytest.raises(DatabaseError, match=guard), transaction.atomic():
            cursor.execute(change)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE billing_closedmonth SET spent_usd = spent_usd + 0.000000000001",
        "UPDATE billing_closedmonth SET lines = lines + 1 WHERE starts_at = '2026-04-01 00:00+00'",
        "UPDATE billing_closedmonth SET seal = repeat('0', 64) WHERE starts_at = '2026-03-01 00:00+00'",
        "DELETE FROM billing_closedmonth WHERE starts_at = '2026-03-01 00:00+00'",
        "DELETE FROM billing_closedmonth WHERE starts_at = '2026-04-01 00:00+00'",
        "DELETE FROM billing_closedmonth",
        "UPDATE billing_book SET closed_until = NULL",
    ],
)
def test_a_closed_month_that_was_tampered_with_is_found(book, clock, change):
    book.settle(book.hold("2.5"), output=1000)
    clock.now = MAY + timedelta(days=1)
    close(book)
    as_owner(change)
    assert [difference.check for difference in verify(book.project.organization)] == ["closed months"]


# --- Edges ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("edge", BOUNDARIES, ids=lambda edge: f"{edge:%Y-%m}")
def test_each_amount_is_in_exactly_one_month(book, clock, edge):
    """Calls over the edge of a month, in time and too late, with clocks that step, each counted once and for good."""
    before, after = month_of(edge - MOMENT).start, edge
    clock.now = edge - MOMENT
    crossing, late = book.hold("2.5"), book.hold("2.5")
    book.settle(book.hold("2.5"), output=100)  # 0.006 within the month
    clock.now = edge
    book.settle(book.hold("2.5"), output=200)  # 0.012 in the new one
    clock.now = edge + timedelta(hours=2)
    book.settle(crossing, output=300)  # 0.018, back where it was dispatched
    clock.now = edge - timedelta(hours=1)  # a clock that steps back over the edge
    book.settle(book.hold("2.5"), output=400)  # 0.024
    clock.now = edge + timedelta(days=3)
    assert [(c.starts_at, c.spent_usd) for c in close(book)] == [(before, D("0.048"))]
    sealed = month(before), ClosedMonth.objects.values().get()
    book.settle(late, output=500)  # 0.030, too late
    clock.now = edge - timedelta(hours=1)
    book.settle(book.hold("2.5"), output=600)  # 0.036 by a clock that is wrong
    assert (month(before), ClosedMonth.objects.values().get()) == sealed
    assert month(before)["entries"] == month(before)["rollups"] == month(before)["records"] == D("0.048")
    assert month(after)["entries"] == month(after)["rollups"] == month(after)["records"] == D("0.078")
    assert verify(book.project.organization) == []


def test_the_command_closes_months_and_says_so(book, clock, capsys):
    book.settle(book.hold("2.5"), output=1000)
    clock.now = APRIL + timedelta(hours=1)
    call_command("close_months", "--organization", "alice")
    assert "March 2026 of Alice: 0.06 USD, 2 lines" in capsys.readouterr().out
    call_command("close_months")
    assert "nothing to close" in capsys.readouterr().out
    with pytest.raises(CommandError, match="No organization 'nobody'"):
        call_command("close_months", "--organization", "nobody")
