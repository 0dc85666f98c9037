"""Proof that the books agree.

The chain of each book, reservations, usage records, rollups and budgets against each other.

The ledger entries and usage records are the truth, and are never repaired; rollups and budgets are derived from them
and can be made anew.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Sum

from accounts.models import Organization
from billing import books, chain, closing, rollups
from billing.counting import bound_of, spent_in
from billing.limits import is_relieved
from billing.models import (
    Book,
    Budget,
    ClosedMonth,
    Hold,
    LedgerEntry,
    Measure,
    Reservation,
    Scope,
    SpendRollup,
    UsageRecord,
)
from billing.models.budgets import ReservationStatus
from billing.models.entries import EntryKind
from billing.models.rollups import TOTALS, Rollup
from billing.money import usd
from billing.periods import Window, month_of
from billing.prices import terms_of
from billing.pricing import cost
from billing.settlements import is_another_model, paid_by_reserve, undated


@dataclass(frozen=True, slots=True)
class Difference:
    """A place where two books disagree. `is_derived` when the row at fault can be made anew from the truth."""

    check: str
    place: str
    detail: str
    is_derived: bool


Check = Callable[[Organization], Iterator[Difference]]


def verify(organization: Organization) -> list[Difference]:
    """The first difference that each check finds in an organization's books; none when all agree."""
    with standing_still(organization):
        return differences(organization)


@contextmanager
def standing_still(organization: Organization) -> Iterator[None]:
    """An organization's books as they were at one instant, so that no settlement is seen by half.

    On its own that takes a snapshot, which nobody waits for, however long the book is. Inside a transaction, which may
    have changed something itself, it takes the book's lock.
    """
    is_outermost = not connection.in_atomic_block
    with transaction.atomic():
        if is_outermost:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        else:
            books.lock([organization.pk])
        yield


def differences(organization: Organization) -> list[Difference]:
    """What `verify` finds, for whoever has the books stand still."""
    found = (next(check(organization), None) for check in CHECKS.values())
    return [difference for difference in found if difference is not None]


@transaction.atomic
def repair(organization: Organization) -> list[Difference]:
    """Makes the derived rows anew, rollups and budgets; returns what still differs, which only a person can judge."""
    books.lock([organization.pk])
    rollups.rebuild(organization)
    for budget in Budget.objects.filter(organization=organization).select_related("quota"):
        budget.held, budget.spent = _held(budget), _spent(budget)
        budget.save(update_fields=["held", "spent"])
    return differences(organization)


# --- The checks -------------------------------------------------------------------------------------------------------
def _chain(organization: Organization) -> Iterator[Difference]:
    """Every line is what was written, at its place, up to the head."""
    book = Book.objects.get(organization=organization)
    entries = LedgerEntry.objects.filter(organization=organization).order_by("sequence").iterator(chunk_size=2000)
    lines = ((books.line_of(entry), entry.seal) for entry in entries)
    broken = chain.first_break(lines, head_sequence=book.head_sequence, head_seal=book.head_seal)
    if broken is not None:
        yield Difference("chain", f"line {broken.sequence}", broken.reason, is_derived=False)


def _closed_months(organization: Organization) -> Iterator[Difference]:
    """Each closed month has the lines, the sum and the hash that it was closed with, and none is missing."""
    until = Book.objects.get(organization=organization).closed_until
    expected_start, seal = None, chain.GENESIS
    for month in ClosedMonth.objects.filter(organization=organization).order_by("starts_at"):
        if expected_start not in (None, month.starts_at):
            break
        said = closing.statement(organization.pk, Window(month.starts_at, month.ends_at), seal)
        if (said.lines, said.spent_usd, said.seal) != (month.lines, month.spent_usd, month.seal):
            yield Difference(
                "closed months",
                f"{month.starts_at:%Y-%m}",
                f"it was closed with {month.lines} lines and {usd(month.spent_usd)} USD; the book has {said.lines} and "
                f"{usd(said.spent_usd)}" + ("" if said.seal == month.seal else ", and not the same ones"),
                is_derived=False,
            )
        expected_start, seal = month.ends_at, month.seal
    if expected_start != until:
        yield Difference(
            "closed months",
            f"{expected_start:%Y-%m}" if expected_start else "the first",
            f"the book is closed until {until:%Y-%m-%d} and the closed months are not without a gap up to there"
            if until
            else "there are closed months, and the book says that none is",
            is_derived=False,
        )


def _reservations(organization: Organization) -> Iterator[Difference]:
    """Each reservation was reserved once and resolved once, by entries of its own amounts.

    And each entry has its own.
    """
    lines = LedgerEntry.objects.filter(organization=organization, reservation__isnull=False)
    for line in lines.exclude(Exists(Reservation.objects.filter(pk=OuterRef("reservation_id"))))[:1]:
        yield Difference(
            "reservations", f"line {line.sequence}", f"its reservation {line.reservation_id} is gone", is_derived=False
        )
    expected = {ReservationStatus.SETTLED: EntryKind.SETTLE, ReservationStatus.RELEASED: EntryKind.RELEASE}
    rows = Reservation.objects.filter(organization=organization).order_by("reserved_at", "id")
    for reservation in rows.prefetch_related("ledger_entries").iterator(chunk_size=2000):
        moves = {
            entry.kind: (entry.held_change_usd, entry.spent_change_usd)
            for entry in reservation.ledger_entries.all()
            if entry.kind != EntryKind.IN_DOUBT
        }
        amount = reservation.amount_usd
        wanted = {EntryKind.RESERVE.value: (amount, Decimal(0))}
        if reservation.status in expected:
            wanted[expected[ReservationStatus(reservation.status)].value] = (
                -amount,
                reservation.settled_usd or Decimal(0),
            )
        if moves != wanted:
            yield Difference(
                "reservations",
                f"reservation {reservation.pk}",
                f"it is {reservation.status} and the ledger says {_said(moves)}, not {_said(wanted)}",
                is_derived=False,
            )


def _usage_records(organization: Organization) -> Iterator[Difference]:
    """Each settled reservation has a usage record of exactly its amount, which follows from its tokens and price."""
    without = Reservation.objects.filter(
        organization=organization, status=ReservationStatus.SETTLED, usage_record__isnull=True
    )
    for reservation in without[:1]:
        yield Difference(
            "usage records", f"reservation {reservation.pk}", "it is settled without a record", is_derived=False
        )
    records = UsageRecord.objects.filter(organization=organization).select_related("reservation")
    ordered = records.order_by("recorded_at", "id").prefetch_related("reservation__ledger_entries")
    for record in ordered.iterator(chunk_size=2000):
        due = cost(record.tokens, record.terms).total_usd
        if not record.total_usd == due == record.reservation.settled_usd:
            yield Difference(
                "usage records",
                f"usage record {record.pk}",
                f"it says {usd(record.total_usd)} USD, its tokens cost {usd(due)}, and "
                f"{record.reservation.settled_usd} was settled",
                is_derived=False,
            )
        for name, said, expected in _facts(record):
            if said != expected:
                yield Difference(
                    "usage records",
                    f"usage record {record.pk}",
                    f"its {name} is {said}, and {expected} follows from its reservation",
                    is_derived=False,
                )


def _facts(record: UsageRecord) -> Iterator[tuple[str, object, object]]:
    """What a usage record says beside its cost, and what its reservation and its ledger entry say about the same."""
    reservation = record.reservation
    for name in SpendRollup.OWNER:
        yield name, getattr(record, name), getattr(reservation, name)
    yield "price_id", record.price_id, record.price_id if _is_of_who_answered(record) else reservation.price_id
    yield "dispatched_at", record.dispatched_at, reservation.reserved_at
    settled = [entry for entry in reservation.ledger_entries.all() if entry.kind == EntryKind.SETTLE]
    late = [entry.recorded_at for entry in settled if entry.corrects is not None]
    yield "booked_at", record.booked_at, late[0] if late else reservation.reserved_at
    yield "window_start", record.window_start, month_of(record.booked_at).start
    yield "is_overrun", record.is_overrun, record.total_usd > reservation.amount_usd
    likely = reservation.likely_usd
    yield "reserve_usd", record.reserve_usd, paid_by_reserve(record.total_usd, reservation.amount_usd, likely)


def _is_of_who_answered(record: UsageRecord) -> bool:
    """Whether another model answered than was asked, and the record is rated at that one's price."""
    if record.price_id == record.reservation.price_id or not is_another_model(record.model, record.snapshot):
        return False
    price = record.price
    return price.model in (record.snapshot, undated(record.snapshot)) and record.terms == terms_of(price)


def _rollups(organization: Organization) -> Iterator[Difference]:
    """The finest rollup is the sum of the usage records, and each coarser one is the sum of the finest."""
    added = {"calls": "1", "empty_calls": "is_empty::int", "empty_usd": "total_usd * is_empty::int"}
    of_records = ", ".join(added.get(name, name) for name in TOTALS)
    yield from _unequal(organization, SpendRollup, UsageRecord._meta.db_table, rollups.DAY, of_records)
    for rollup in rollups.ROLLUPS[1:]:
        day = rollups.day_in(rollup)
        yield from _unequal(organization, rollup, SpendRollup._meta.db_table, day, ", ".join(TOTALS))


def _unequal(
    organization: Organization, rollup: type[Rollup], source: str, day: str, added: str
) -> Iterator[Difference]:
    """The first place of a rollup that is not the sum of its source: added and taken away, something is left."""
    owner = ", ".join(rollup.OWNER)
    taken = ", ".join(f"-{name}" for name in TOTALS)
    # Names of tables and columns only; the organization is a parameter.
    query = f"""
        WITH moves (day, {owner}, {", ".join(TOTALS)}) AS (
            SELECT {day}, {owner}, {added} FROM {source} WHERE organization_id = %(organization)s
            UNION ALL
            SELECT day, {owner}, {taken} FROM {rollup._meta.db_table} WHERE organization_id = %(organization)s
        )
        SELECT day, project_id, SUM(calls), SUM(total_usd) FROM moves GROUP BY day, {owner}
        HAVING {" OR ".join(f"SUM({name}) <> 0" for name in TOTALS)} ORDER BY day, project_id LIMIT 1
    """  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(query, {"organization": organization.pk})
        for at, project_id, calls, amount in cursor.fetchall():
            yield Difference(
                "rollups",
                f"{rollup._meta.verbose_name} of {at}, project {project_id}",
                f"there are {calls} calls and {usd(amount)} USD more than it says",
                is_derived=True,
            )


def _budgets(organization: Organization) -> Iterator[Difference]:
    """Each budget holds what its open reservations hold, and has spent what was settled in its window."""
    strange = Hold.objects.filter(reservation__organization=organization).exclude(budget__organization=organization)
    for hold in strange.order_by("id")[:1]:
        yield Difference(
            "budgets", f"hold {hold.pk}", "its budget is of another organization than its reservation", is_derived=False
        )
    rows = (
        Budget.objects.filter(organization=organization)
        .select_related("quota", "project")
        .order_by("window_start", "id")
    )
    for budget in rows:
        held, spent = _held(budget), _spent(budget)
        if (budget.held, budget.spent) != (held, spent):
            yield Difference(
                "budgets",
                f"budget of {budget}",
                f"it says {budget.held:f} held and {budget.spent:f} spent; {held:f} and {spent:f} are",
                is_derived=True,
            )


CHECKS: dict[str, Check] = {
    "chain": _chain,
    "closed months": _closed_months,
    "reservations": _reservations,
    "usage records": _usage_records,
    "rollups": _rollups,
    "budgets": _budgets,
}


# --- What a budget should say -----------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Counted:
    """A budget as counting takes it."""

    scope: Scope
    organization_id: Any
    quota_id: Any
    project_id: Any
    measure: Measure
    model: str


def _held(budget: Budget) -> Decimal:
    """The sum of what the open reservations that hold on it may come to there."""
    open_ = Reservation.objects.filter(holds__budget=budget, status=ReservationStatus.OPEN)
    relieved = is_relieved(budget.measure, budget.scope, budget.quota_id)
    amounts = (bound_of(reservation).counted(budget.measure, is_relieved=relieved) for reservation in open_)
    return sum(amounts, Decimal(0))


def _spent(budget: Budget) -> Decimal:
    """From the ledger for the tier's budgets; from the usage records for those of a quota."""
    if budget.quota is None:
        entries = LedgerEntry.objects.filter(organization=budget.organization_id, window_start=budget.window_start)
        if budget.project_id is not None:
            entries = entries.filter(project=budget.project_id)
        return entries.aggregate(sum=Sum("spent_change_usd"))["sum"] or Decimal(0)
    counted = _Counted(
        Scope(budget.scope),
        budget.organization_id,
        budget.quota_id,
        budget.project_id,
        Measure(budget.measure),
        budget.quota.model,
    )
    # A quota that began or ended in mid-window has counted nothing before or since.
    start = max(budget.window_start, budget.quota.starts_at or budget.window_start)
    end = min(budget.window_end, budget.quota.expires_at or budget.window_end)
    return spent_in(counted, Window(start, end))


def _said(moves: dict[str, tuple[Decimal, Decimal]]) -> str:
    return ", ".join(f"{kind} {held:f}/{spent:f}" for kind, (held, spent) in sorted(moves.items())) or "nothing"
