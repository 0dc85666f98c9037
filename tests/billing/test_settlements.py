"""Many settlements and releases in one transaction: what one by one would have booked, or nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.models import Project, Team
from billing import closing, ledger
from billing.errors import AlreadyReleased, NoSuchReservation
from billing.ledger import Usage
from billing.models import Alert, Book, Budget, Hold, LedgerEntry, Reservation, UsageRecord
from billing.pricing import Tokens
from billing.rollups import ROLLUPS
from billing.verification import verify

D = Decimal
MARCH, APRIL = (datetime(2026, month, 1, tzinfo=UTC) for month in (3, 4))
SNAPSHOT = "o1-preview-2024-09-12"


def usage(reference: UUID, output: int = 1000, reasoning: int = 0, **more: Any) -> Usage:
    return Usage(reference, Tokens(0, 0, output, reasoning), SNAPSHOT, **more)


def everything() -> dict[str, Any]:
    """All that stands in the books, but for the keys that are new each time."""
    keys = {
        row.pk: (row.organization_id, row.quota_id, row.project_id, row.window_start) for row in Budget.objects.all()
    }
    tables: dict[str, list[Any]] = {
        model.__name__: [{**row, "id": None} for row in model.objects.order_by(*order).values()]
        for model, order in (
            (Reservation, ["reference"]),
            (LedgerEntry, ["organization_id", "sequence"]),
            (UsageRecord, ["reservation_id"]),
            (Budget, ["organization_id", "quota_id", "project_id", "window_start"]),
            (Alert, ["reference"]),
            *((rollup, ["day", *rollup.OWNER]) for rollup in ROLLUPS),
        )
    }
    tables["Book"] = list(Book.objects.order_by("organization_id").values())
    # Of what is resolved no hold counts: a budget that is opened in between has it with those before or with the spent.
    opened = Hold.objects.filter(reservation__status="open")
    tables["Hold"] = sorted((str(row.reservation_id), str(keys[row.budget_id]), row.amount) for row in opened)
    tables["paused"] = list(Project.objects.exclude(paused_at=None).order_by("pk").values("pk", "paused_reason"))
    return tables


@contextmanager
def rolled_back() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


# --- As one by one ----------------------------------------------------------------------------------------------------
class Mix:
    """Calls of two organizations, of March and of April, while March is closed and limits came in between."""

    def __init__(self, seed: int, book: Any, bob: Any, clock: list[datetime]):
        self.dice, self.book = Random(seed), book
        team = Team.objects.create(organization=book.project.organization, name="readers")
        sibling = Project.objects.create(organization=team.organization, name="Sibling", slug="sibling", team=team)
        book.quota("5000", measure="jobs", window="day")
        book.quota("1000", scope="team", project=None, team=team)
        self.owners = [
            {"project": project, "team_id": project.team_id, "model": model}
            for project in (book.project, sibling, bob.project)
            for model in ("o1-preview", "o1-mini")
        ]
        references = [self.hold() for _ in range(12)]
        clock[0] = APRIL + timedelta(days=4)
        for organization in (book.project.organization, bob.organization):
            closing.close_until(organization, APRIL)
        references += [self.hold() for _ in range(18)]
        # Over the edge of the months, and first opened by an answer that comes late.
        book.quota("5000000", measure="tokens", window="fixed", starts_at=MARCH, expires_at=APRIL + timedelta(days=30))
        self.dice.shuffle(references)
        self.parts = [self.part(references[at : at + 6]) for at in range(0, 24, 6)]  # the rest stays open

    def hold(self) -> UUID:
        usd = self.dice.choice(("0.01", "1", "2.5"))  # the first is soon overrun
        found: UUID = self.book.hold(usd, **self.dice.choice(self.owners))
        return found

    def part(self, references: list[UUID]) -> list[Usage] | dict[UUID, str]:
        """Answers, one of them named twice; or, seldom, reasons to release."""
        if self.dice.random() < 0.25:
            return dict.fromkeys(references, "for the test")
        usages = [self.answer(reference) for reference in references]
        return [*usages, self.answer(references[2])]

    def answer(self, reference: UUID) -> Usage:
        output, is_empty = self.dice.randrange(1, 3000), self.dice.random() < 0.2
        cached = self.dice.randrange(100)
        tokens = Tokens(self.dice.randrange(cached, 200), cached, output, output if is_empty else output // 3)
        return Usage(reference, tokens, SNAPSHOT, is_empty)

    def book_together(self) -> list[Decimal]:
        found = []
        for part in self.parts:
            if isinstance(part, dict):
                ledger.release_all(part)
            else:
                found += [record.total_usd for record in ledger.settle_all(part)]
        return found

    def book_one_by_one(self) -> list[Decimal]:
        found = []
        for part in self.parts:
            if isinstance(part, dict):
                for reference, reason in part.items():
                    ledger.release(reference, reason=reason)
            else:
                for each in part:
                    record = ledger.settle(each.reference, each.tokens, snapshot=each.snapshot, is_empty=each.is_empty)
                    found.append(record.total_usd)
        return found


@pytest.mark.parametrize("seed", range(6))
def test_together_is_as_one_by_one_down_to_the_seals(book, bob, monkeypatch, seed):
    clock = [MARCH + timedelta(days=9)]
    monkeypatch.setattr(ledger.storage, "now", lambda: clock[0])
    mix = Mix(seed, book, bob, clock)
    with rolled_back():
        returned, expected = mix.book_one_by_one(), everything()
    with transaction.atomic():
        assert mix.book_together() == returned
    assert everything() == expected
    assert expected["UsageRecord"]
    assert expected["Hold"]
    assert verify(book.project.organization) == verify(bob.organization) == []


def test_what_comes_back_is_what_was_written(book):
    references = [book.hold("2.5", model=model) for model in ("o1-preview", "o1-mini")]
    with transaction.atomic():
        records = ledger.settle_all([usage(references[0], 300, 300, is_empty=True), usage(references[1])])
    assert [record.reservation.reference for record in records] == references
    for record in records:
        written = UsageRecord.objects.filter(pk=record.pk).values().get()
        assert {name: getattr(record, name) for name in written} == written


def test_a_batch_is_as_many_statements_as_a_pair(book, bob):
    def statements(number: int) -> int:
        references = [book.hold("2.5", project=(book.project, bob.project)[n % 2]) for n in range(number)]
        with (
            CaptureQueriesContext(
                connection,
            ) as settled,
            transaction.atomic(),
        ):
            ledger.settle_all([usage(reference) for reference in references[: number // 2]])
        with CaptureQueriesContext(connection) as released, transaction.atomic():
            ledger.release_all(dict.fromkeys(references[number // 2 :], "for the test"))
        return len(settled), len(released)

    assert statements(4) == statements(40)


# --- All or nothing ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("stray", "error"), [("unknown", NoSuchReservation), ("released", AlreadyReleased)])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_batch_with_a_mistake_books_nothing(book, stray, error, at):
    references = [book.hold("2.5") for _ in range(2)]
    mistake = book.hold("1") if stray == "released" else uuid4()
    if stray == "released":
        book.release(mistake)
    references.insert(at, mistake)
    before = everything()
    with transaction.atomic(), pytest.raises(error):  # caught inside: nothing has to be rolled back
        ledger.settle_all([usage(reference) for reference in references])
    assert everything() == before


def test_holds_are_not_given_back_where_one_of_them_is_not_there(book):
    reference = book.hold("2.5")
    before = everything()
    with transaction.atomic(), pytest.raises(NoSuchReservation):
        ledger.release_all({reference: "for the test", uuid4(): "for the test"})
    assert everything() == before


def test_what_is_settled_or_named_twice_gets_the_record_of_the_first_time(book):
    earlier, fresh = book.hold("2.5"), book.hold("2.5")
    first = book.settle(earlier, output=1000)
    with transaction.atomic():
        records = ledger.settle_all([usage(fresh, 500), usage(earlier, 2000), usage(fresh, 3000)])
    assert [record.total_usd for record in records] == [D("0.03"), D("0.06"), D("0.03")]
    assert records[1] == first
    assert records[0] == records[2]
    assert book.budgets() == [(D(0), D("0.09"))] * 2
    book.assert_sums_agree()


def test_what_is_over_is_left_alone_by_a_release_of_many(book):
    settled, released, opened = (book.hold("2.5") for _ in range(3))
    book.settle(settled, output=1000)
    book.release(released)
    with transaction.atomic():
        ledger.release_all({settled: "one", released: "another", opened: "the third"})
    assert book.budgets() == [(D(0), D("0.06"))] * 2
    assert list(LedgerEntry.objects.filter(kind="release").values_list("reason", flat=True).order_by("id")) == [
        "for the test",
        "the third",
    ]


def test_nothing_to_book_writes_nothing(book):
    book.settle(book.hold("2.5"), output=10)
    before = everything()
    with transaction.atomic():
        assert ledger.settle_all([]) == []
        ledger.release_all({})
    assert everything() == before


@pytest.mark.parametrize("step", ["move", "resolve", "append", "record_usages", "raise_overrun", "pause"])
def test_a_crash_in_the_middle_of_a_batch_leaves_nothing(book, monkeypatch, step):
    references = [book.hold("0.01") for _ in range(3)]  # their answers come out above it
    before, taken = everything(), getattr(ledger.storage, step)

    def crash(*args: Any) -> None:
        taken(*args)
        raise RuntimeError("the worker died here")

    with monkeypatch.context() as patch:
        patch.setattr(ledger.storage, step, crash)
        with pytest.raises(RuntimeError), transaction.atomic():
            ledger.settle_all([usage(reference) for reference in references])
    assert everything() == before
    with transaction.atomic():
        ledger.settle_all([usage(reference) for reference in references])
    assert book.budgets() == [(D(0), D("0.18"))] * 2
    assert verify(book.project.organization) == []


def test_every_bill_above_its_bound_is_alerted_of_and_pauses_its_project(book):
    sibling = Project.objects.create(organization=book.project.organization, name="Sibling", slug="sibling")
    over = [book.hold("0.01"), book.hold("0.01", project=sibling)]
    within = book.hold("2.5")
    with transaction.atomic():
        records = ledger.settle_all([usage(reference) for reference in (*over, within)])
    assert [record.is_overrun for record in records] == [True, True, False]
    assert set(Alert.objects.values_list("reference", flat=True)) == {str(reference) for reference in over}
    assert not Project.objects.filter(organization=book.project.organization, paused_at=None).exists()
