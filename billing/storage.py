"""What the ledger reads and writes, in PostgreSQL. Decisions are made elsewhere; nothing here chooses.

Every function runs behind the lock of the books that it touches, and many rows go in one statement.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import connection
from uuid_utils.compat import uuid7

from accounts.models import Organization, Project
from billing import alerts, crossings, rollups
from billing.arrays import array, columns
from billing.books import append, lock
from billing.budgets import limits_of_all as limits
from billing.budgets import open_accounts
from billing.clock import database_now as now
from billing.errors import UnknownPrice
from billing.grants import Granted, Raise
from billing.limits import Owner, is_relieved
from billing.models import LedgerEntry, Price, Reservation, UsageRecord
from billing.models.budgets import ReservationStatus
from billing.models.rollups import SUMMED_TOKENS
from billing.periods import month_of
from billing.prices import price_on
from billing.pricing import PriceTerms
from billing.settlements import Hold, Move, Reserved, Settlement, Usage, undated

__all__ = ["append", "limits", "lock", "now", "open_accounts"]

_RAISE = """
    UPDATE billing_budget AS budget SET held = budget.held + new.amount
    FROM unnest(%s::uuid[], %s::numeric[], %s::boolean[]) AS new (id, amount, is_hard)
    WHERE budget.id = new.id AND (NOT new.is_hard OR budget."limit" >= budget.spent + budget.held + new.amount)
"""
# What passes a percentage of its limit is noted by the same statement, which costs nothing more where nothing does.
_MOVE = f"""
    WITH moved AS (
        UPDATE billing_budget AS budget SET held = budget.held + new.held, spent = budget.spent + new.spent
        FROM unnest(%s::uuid[], %s::numeric[], %s::numeric[]) AS new (id, held, spent) WHERE budget.id = new.id
        RETURNING budget.id, budget."limit", budget.spent AS after, budget.spent - new.spent AS before
    )
    {crossings.noting("moved")}
"""  # noqa: S608
_RESERVE = f"""
    INSERT INTO billing_reservation (id, reference, status, is_in_doubt, amount_usd, input_tokens, output_tokens,
        organization_id, project_id, team_id, member_id, api_key_id, model, service_tier, price_id, window_start,
        reserved_at, likely_usd)
    SELECT id, reference, '{ReservationStatus.OPEN}', false, amount_usd, input_tokens, output_tokens, organization,
        project, team, member, api_key, model, service_tier, price, window_start, reserved_at, likely_usd
    FROM unnest(%s::uuid[], %s::uuid[], %s::numeric[], %s::bigint[], %s::bigint[], %s::uuid[], %s::uuid[], %s::uuid[],
        %s::bigint[], %s::uuid[], %s::text[], %s::text[], %s::bigint[], %s::timestamptz[], %s::timestamptz[],
        %s::numeric[])
        AS new (id, reference, amount_usd, input_tokens, output_tokens, organization, project, team, member, api_key,
        model, service_tier, price, window_start, reserved_at, likely_usd)
"""  # noqa: S608
_HOLD = (
    "INSERT INTO billing_hold (reservation_id, budget_id, amount) "
    "SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::numeric[])"
)

_ORGANIZATIONS = "SELECT reference, organization_id FROM billing_reservation WHERE reference = ANY(%s::uuid[])"
# The columns of `Reserved`, in its order, the terms of its price, and what is likely.
_RESERVATIONS = """
    SELECT reservation.id, reference, status, is_in_doubt, amount_usd, organization_id, project_id, team_id, member_id,
        api_key_id, reservation.model, reservation.service_tier, price_id, reserved_at, input_usd_per_million,
        cached_input_usd_per_million, output_usd_per_million, cache_write_usd_per_million, likely_usd
    FROM billing_reservation reservation JOIN billing_price price ON price.id = price_id
    WHERE reference = ANY(%s::uuid[])
"""
_HOLDS = """
    SELECT reservation_id, budget_id, measure, amount, scope, quota_id
    FROM billing_hold hold JOIN billing_budget budget ON budget.id = budget_id WHERE reservation_id = ANY(%s::uuid[])
"""
_RESOLVE = f"""
    UPDATE billing_reservation AS reservation
    SET status = %s, resolved_at = %s, settled_usd = new.settled, is_in_doubt = false
    FROM unnest(%s::uuid[], %s::numeric[]) AS new (id, settled)
    WHERE reservation.id = new.id AND status = '{ReservationStatus.OPEN}'
"""  # noqa: S608
# Every column of a usage record, in the order in which it is declared.
_USAGE_COLUMNS = (
    *("id", "reservation_id", "organization_id", "project_id", "team_id", "member_id", "api_key_id", "model"),
    *("snapshot", "service_tier", *SUMMED_TOKENS),
    *("price_id", "input_usd_per_million", "cached_input_usd_per_million", "output_usd_per_million"),
    "cache_write_usd_per_million",
    *("input_usd", "cached_input_usd", "output_usd", "reasoning_usd", "total_usd"),
    *("reserve_usd", "is_empty", "is_overrun", "window_start", "dispatched_at", "booked_at", "recorded_at"),
)
# The rollups are the sums of the very rows that are written, by the same statement.
_RECORD = (
    f"WITH written AS (INSERT INTO billing_usagerecord ({', '.join(_USAGE_COLUMNS)}) "  # noqa: S608
    "SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::uuid[], %s::uuid[], %s::bigint[], %s::uuid[], "
    "%s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], "
    "%s::bigint[], %s::numeric[], %s::numeric[], %s::numeric[], %s::numeric[], %s::numeric[], %s::numeric[], "
    "%s::numeric[], %s::numeric[], %s::numeric[], %s::numeric[], %s::boolean[], %s::boolean[], "
    "%s::timestamptz[], %s::timestamptz[], %s::timestamptz[], %s::timestamptz[]) RETURNING *), "
    f"{rollups.adding('written')} SELECT"
)


def raise_holds(raises: Sequence[Raise]) -> int:
    """Adds to each budget what was granted on it, unless that would cross its limit; returns how many were raised.

    The condition repeats the decision where no mistake in it can reach.
    """
    if not raises:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_RAISE, columns([(r.budget_id, r.amount, r.is_hard) for r in raises]))
        raised: int = cursor.rowcount
    return raised


def move(moves: Mapping[UUID, Move]) -> None:
    """Moves each budget's held and spent, and notes which percentages of limits were passed."""
    with connection.cursor() as cursor:
        cursor.execute(_MOVE, columns([(pk, moved.held, moved.spent) for pk, moved in moves.items()]))


def note_exhausted(budget_ids: Iterable[UUID]) -> None:
    """Notes that these budgets had no room for a call, each once."""
    if ids := set(budget_ids):
        with connection.cursor() as cursor:
            cursor.execute(crossings.NOTE_EXHAUSTED, [array(ids)])


def insert_reservations(granted: Sequence[tuple[Reserved, Granted]]) -> None:
    """Writes open reservations and their holds."""
    if not granted:
        return
    rows = [
        (
            *(r.id, r.reference, r.amount_usd, own.claim.input_tokens, own.claim.output_tokens, r.organization_id),
            *(r.project_id, r.team_id, r.member_id, r.api_key_id, r.model, r.service_tier, r.price_id),
            *(month_of(r.reserved_at).start, r.reserved_at, r.likely_usd),
        )
        for r, own in granted
    ]
    holds = [(r.id, budget_id, amount) for r, own in granted for budget_id, amount in own.holds.items()]
    with connection.cursor() as cursor:
        cursor.execute(_RESERVE, columns(rows))
        cursor.execute(_HOLD, columns(holds))


def organizations_of(references: Sequence[UUID]) -> dict[UUID, UUID]:
    """The organizations of reservations, which never change; those that there are."""
    with connection.cursor() as cursor:
        cursor.execute(_ORGANIZATIONS, [array(references)])
        return dict(cursor.fetchall())


def reservations(references: Sequence[UUID]) -> dict[UUID, Reserved]:
    """Reservations by reference, with their holds, as they stand behind the lock."""
    with connection.cursor() as cursor:
        cursor.execute(_RESERVATIONS, [array(references)])
        rows = cursor.fetchall()
        cursor.execute(_HOLDS, [array(row[0] for row in rows)])
        holds: dict[UUID, list[Hold]] = {row[0]: [] for row in rows}
        for reservation_id, budget_id, measure, amount, scope, quota_id in cursor.fetchall():
            hold = Hold(budget_id, measure, amount, is_relieved(measure, scope, quota_id))
            holds[reservation_id].append(hold)
    found = {}
    for row in rows:
        fields = (*row[:-5], PriceTerms(*row[-5:-1]), tuple(holds[row[0]]), row[-1])
        found[row[1]] = Reserved(*fields)
    return found


def owners_of(rows: Sequence[Reserved]) -> dict[UUID, Owner]:
    """Whom the calls of reservations belong to, by reference: the team is the project's at the time."""
    projects = Project.objects.select_related("organization").in_bulk({row.project_id for row in rows})
    return {
        row.reference: Owner(projects[row.project_id], row.team_id, row.member_id, row.api_key_id, row.model)
        for row in rows
    }


def price_of(model: str, row: Reserved) -> Price | None:
    """The price of another model for the call of a reservation, as of its reserving; None where nobody knows it."""
    organization = Organization.objects.get(pk=row.organization_id)
    try:
        return price_on((model, undated(model)), row.service_tier, organization.terms_date(row.reserved_at))
    except UnknownPrice:
        return None


def resolve(rows: Sequence[tuple[Reserved, Decimal | None]], status: ReservationStatus, now: datetime) -> int:
    """Ends open reservations, each with what was settled; returns how many of them were open."""
    with connection.cursor() as cursor:
        cursor.execute(_RESOLVE, [status, now, *columns([(row.id, settled_usd) for row, settled_usd in rows])])
        resolved: int = cursor.rowcount
    return resolved


def settled_usd(row: Reserved) -> Decimal:
    """What a reservation was settled at; nothing where it was released."""
    return Reservation.objects.values_list("settled_usd", flat=True).get(pk=row.id) or Decimal(0)


def doubt(rows: Sequence[Reserved]) -> None:
    """Notes that the outcomes are not known."""
    Reservation.objects.filter(pk__in=[row.id for row in rows]).update(is_in_doubt=True)


def record_usages(settled: Sequence[tuple[Settlement, Usage]], now: datetime) -> dict[UUID, UsageRecord]:
    """Writes the usage records of settlements and adds them to the rollups; returns them by reference."""
    rows = [_usage_row(each, usage, now) for each, usage in settled]
    with connection.cursor() as cursor:
        cursor.execute(_RECORD, columns(rows))
    references = [each.reserved.reference for each, _ in settled]
    return {
        reference: UsageRecord.from_db(connection.alias, _USAGE_COLUMNS, row)
        for reference, row in zip(references, rows, strict=True)
    }


def usage_records(rows: Sequence[Reserved]) -> dict[UUID, UsageRecord]:
    """The usage records of settled reservations, by reference."""
    if not rows:
        return {}
    references = {row.id: row.reference for row in rows}
    return {references[each.reservation_id]: each for each in UsageRecord.objects.filter(reservation__in=references)}


def entry(organization_id: UUID, sequence: int) -> LedgerEntry:
    """A line of a book."""
    return LedgerEntry.objects.get(organization=organization_id, sequence=sequence)


def raise_overrun(settled: Settlement) -> None:
    """Alerts of a bill above the bound that was held for it."""
    row = settled.reserved
    alerts.raise_overrun(
        organization_id=row.organization_id,
        project_id=row.project_id,
        reference=row.reference,
        model=row.model,
        total_usd=settled.total_usd,
        bound_usd=row.amount_usd,
    )


def pause(project_id: UUID, now: datetime, reason: str) -> None:
    """Stops new calls of a project, unless they are stopped already."""
    Project.objects.filter(pk=project_id, paused_at__isnull=True).update(paused_at=now, paused_reason=reason)


def _usage_row(settled: Settlement, usage: Usage, now: datetime) -> tuple[Any, ...]:
    """The columns of a usage record, in the order of `_USAGE_COLUMNS`."""
    row, tokens, terms, cost = settled.reserved, settled.tokens, settled.reserved.terms, settled.cost
    return (
        *(uuid7(), row.id, row.organization_id, row.project_id, row.team_id, row.member_id, row.api_key_id, row.model),
        *(usage.snapshot, row.service_tier, tokens.input, tokens.cached_input, tokens.output, tokens.reasoning),
        *(tokens.cache_write, row.price_id, terms.input, terms.cached_input, terms.output, terms.cache_write),
        *(cost.input_usd, cost.cached_input_usd, cost.output_usd, cost.reasoning_usd, settled.total_usd),
        *(settled.reserve_usd, usage.is_empty, settled.is_overrun, month_of(settled.booked_at).start),
        *(row.reserved_at, settled.booked_at, now),
    )
