"""An organization's book: the one lock of its money, and the chain of its ledger entries.

Whoever changes an organization's money locks its book first; several books are locked in order of their organizations.
Behind that lock, budgets and reservations of the organization stand still, so it is also what makes a batch cheap: one
lock, however many claims.
"""

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from billing.chain import Line, seal
from billing.models import Book, LedgerEntry


def lock(organization_ids: Iterable[UUID]) -> dict[UUID, Book]:
    """The books of these organizations, locked until the transaction ends; made where they are missing."""
    wanted = sorted(set(organization_ids))
    found = _locked(wanted)
    if len(found) < len(wanted):
        Book.objects.bulk_create([Book(organization_id=pk) for pk in wanted if pk not in found], ignore_conflicts=True)
        found = _locked(wanted)
    return found


def append(books: Mapping[UUID, Book], entries: Sequence[LedgerEntry]) -> None:
    """Writes entries at the end of their organizations' locked books, sealed in the order given."""
    for organization_id, book in books.items():
        own = [entry for entry in entries if entry.organization_id == organization_id]
        if not own:
            continue
        for entry in own:
            entry.sequence = book.head_sequence + 1
            entry.seal = seal(line_of(entry), book.head_seal)
            book.head_sequence, book.head_seal = entry.sequence, entry.seal
        book.save(update_fields=["head_sequence", "head_seal"])
    LedgerEntry.objects.bulk_create(entries)


def line_of(entry: LedgerEntry) -> Line:
    """What an entry says."""
    return Line(
        organization=str(entry.organization_id),
        sequence=entry.sequence,
        kind=entry.kind,
        project=str(entry.project_id),
        team=str(entry.team_id) if entry.team_id else None,
        reservation=str(entry.reservation_id) if entry.reservation_id else None,
        held_change_usd=entry.held_change_usd,
        spent_change_usd=entry.spent_change_usd,
        window_start=entry.window_start,
        recorded_at=entry.recorded_at,
        reason=entry.reason,
        actor=entry.actor_id,
    )


def _locked(organization_ids: Sequence[UUID]) -> dict[UUID, Book]:
    # PostgreSQL locks the rows in the order in which it returns them.
    rows = Book.objects.select_for_update().filter(pk__in=organization_ids).order_by("pk")
    return {book.organization_id: book for book in rows}
