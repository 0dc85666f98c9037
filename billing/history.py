"""A book with a past: calls of the past months, written as the ledger would have written them, for demo data alone.

Whoever reserves and settles is given no instant: the database's clock decides, and so nobody can book into the past.
Here the instants are given, which is why this takes an organization only while it has no book: the book that is made
holds what was invented, and nothing else ever. Every seal, cost, hold and line comes from the same pure functions as
the ledger's; a verification finds no difference.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Model

from accounts.models import Organization, Project
from billing import books, rollups
from billing.budgets import limits_of_all, open_accounts
from billing.chain import Head, extend
from billing.limits import Owner
from billing.models import Book, LedgerEntry, Price, Reservation, UsageRecord
from billing.models.budgets import ReservationStatus
from billing.models.entries import EntryKind
from billing.periods import month_of
from billing.prices import terms_of
from billing.pricing import Tokens, bound_usd
from billing.settlements import Reserved, Settlement, line, settlement

_RESERVATION = (
    *("id", "reference", "status", "is_in_doubt", "amount_usd", "input_tokens", "output_tokens", "settled_usd"),
    *("organization_id", "project_id", "team_id", "member_id", "api_key_id", "model", "service_tier", "price_id"),
    *("window_start", "reserved_at", "resolved_at"),
)
_RECORD = (
    *("id", "reservation_id", "organization_id", "project_id", "team_id", "member_id", "api_key_id", "model"),
    *("snapshot", "service_tier", "input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens"),
    *("cache_write_tokens", "price_id"),
    *("input_usd_per_million", "cached_input_usd_per_million", "output_usd_per_million", "cache_write_usd_per_million"),
    *("input_usd", "cached_input_usd", "output_usd", "reasoning_usd", "total_usd"),
    *("is_empty", "is_overrun", "window_start", "dispatched_at", "booked_at", "recorded_at"),
)
_ENTRY = (
    *("sequence", "seal", "organization_id", "project_id", "team_id", "reservation_id", "kind"),
    *("held_change_usd", "spent_change_usd", "window_start", "recorded_at", "reason", "actor_id", "corrects"),
)


class HasABook(Exception):
    """The organization's book was begun: its past is what happened, and nobody writes another."""


@dataclass(frozen=True, slots=True)
class PastCall:
    """One attempt of the past: reserved at one instant, and settled or given back at another.

    `id` is the reservation's and the usage record's, `reference` the attempt's. Without tokens the provider refused it
    for the reason given, and nothing was billed.
    """

    id: UUID
    reference: UUID
    project: Project
    member_id: int
    api_key_id: UUID
    model: str
    snapshot: str
    service_tier: str
    price: Price
    bound_input: int
    bound_output: int
    reserved_at: datetime
    resolved_at: datetime
    tokens: Tokens | None
    is_empty: bool = False
    reason: str = ""


def write(organization: Organization, calls: Sequence[PastCall]) -> dict[UUID, Settlement]:
    """Writes the book of an organization that has none; returns what each settled call came to, by its reference.

    Belongs into the transaction that made the organization. Raises HasABook.
    """
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("A past is written in the transaction that makes its owner.")
    if Book.objects.filter(organization=organization).exists():
        raise HasABook(organization)
    head = books.lock([organization.pk])[organization.pk]
    reserved = {call.id: _reserved(organization, call) for call in calls}
    settled = {
        call.id: settlement(reserved[call.id], call.tokens, head, call.resolved_at) for call in calls if call.tokens
    }
    _copy(Reservation, _RESERVATION, (_reservation_row(call, reserved[call.id], settled) for call in calls))
    _copy(UsageRecord, _RECORD, (_record_row(call, settled[call.id]) for call in calls if call.tokens))
    _copy(LedgerEntry, _ENTRY, _entry_rows(calls, reserved, settled, head))
    Book.objects.filter(organization=organization).update(head_sequence=head.sequence, head_seal=head.seal)
    rollups.rebuild(organization)
    _open_budgets(organization, calls)
    return {call.reference: settled[call.id] for call in calls if call.tokens}


def _reserved(organization: Organization, call: PastCall) -> Reserved:
    terms = terms_of(call.price)
    return Reserved(
        id=call.id,
        reference=call.reference,
        status=ReservationStatus.SETTLED if call.tokens else ReservationStatus.RELEASED,
        is_in_doubt=False,
        amount_usd=bound_usd(input_tokens=call.bound_input, output_tokens=call.bound_output, price=terms),
        organization_id=organization.pk,
        project_id=call.project.pk,
        team_id=call.project.team_id,
        member_id=call.member_id,
        api_key_id=call.api_key_id,
        model=call.model,
        service_tier=call.service_tier,
        price_id=call.price.pk,
        reserved_at=call.reserved_at,
        terms=terms,
    )


def _reservation_row(call: PastCall, row: Reserved, settled: dict[UUID, Settlement]) -> tuple[Any, ...]:
    spent = settled[row.id].total_usd if row.id in settled else None
    status = ReservationStatus(row.status).value
    return (
        *(row.id, row.reference, status, False, row.amount_usd, call.bound_input, call.bound_output, spent),
        *(row.organization_id, row.project_id, row.team_id, row.member_id, row.api_key_id, row.model),
        *(row.service_tier, row.price_id, month_of(row.reserved_at).start, row.reserved_at, call.resolved_at),
    )


def _record_row(call: PastCall, settled: Settlement) -> tuple[Any, ...]:
    row, tokens, terms, cost = settled.reserved, settled.tokens, settled.reserved.terms, settled.cost
    return (
        *(row.id, row.id, row.organization_id, row.project_id, row.team_id, row.member_id, row.api_key_id, row.model),
        *(call.snapshot, row.service_tier, tokens.input, tokens.cached_input, tokens.output, tokens.reasoning),
        *(tokens.cache_write, row.price_id, terms.input, terms.cached_input, terms.output, terms.cache_write),
        *(cost.input_usd, cost.cached_input_usd, cost.output_usd, cost.reasoning_usd, settled.total_usd),
        *(call.is_empty, settled.is_overrun, month_of(settled.booked_at).start),
        *(row.reserved_at, settled.booked_at, call.resolved_at),
    )


def _entry_rows(
    calls: Sequence[PastCall], reserved: dict[UUID, Reserved], settled: dict[UUID, Settlement], head: Head
) -> Iterable[tuple[Any, ...]]:
    """The lines in the order in which they happened, each sealed after the one before it."""
    happened = [(call.reserved_at, 0, call) for call in calls] + [(call.resolved_at, 1, call) for call in calls]
    happened.sort(key=lambda each: (each[0], each[1], each[2].id))
    for at, is_end, call in happened:
        row, spent = reserved[call.id], Decimal(0)
        kind = EntryKind.RESERVE
        if is_end:
            kind = EntryKind.SETTLE if call.tokens else EntryKind.RELEASE
            spent = settled[call.id].total_usd if call.tokens else spent
        written = line(row, kind, head, at, spent=spent, reason=call.reason if is_end else "")
        ((said, seal),) = extend(head, [written])
        yield (
            *(said.sequence, seal, said.organization, said.project, said.team, said.reservation, said.kind),
            *(said.held_change_usd, said.spent_change_usd, said.window_start, said.recorded_at),
            *(said.reason, said.actor, said.corrects),
        )


def _copy(model: type[Model], columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    table = model._meta.db_table
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def _open_budgets(organization: Organization, calls: Sequence[PastCall]) -> None:
    """The tier's limits in each month that has calls, for the organization and each project, with what was spent."""
    owners = {call.project.pk: Owner(call.project, call.project.team_id) for call in calls}
    last = {month_of(call.reserved_at).start: call.reserved_at for call in calls}
    for instant in last.values():
        limits = limits_of_all(owners.values(), instant)
        open_accounts(limit for binding in limits.values() for limit in binding)
