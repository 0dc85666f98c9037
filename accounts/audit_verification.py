"""Proof that the audit trails are what was written: every chain is read, and what came out is kept on its row."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from accounts.audit import line_of
from accounts.audit_chain import NO_ORGANIZATION, Anchor, Break, Line, first_break
from accounts.models import AuditEntry, AuditTrail

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Verified:
    """One trail, as it was found."""

    trail: UUID
    entries: int
    found: Break | None


def verify(anchors: Mapping[UUID, Anchor] | None = None) -> list[Verified]:
    """Reads every trail as it was at one instant, and keeps on its row what was found; logs each break.

    With anchors (heads that were kept elsewhere) each of them must still be a place of its trail.
    """
    found = [_verified(trail, (anchors or {}).get(trail)) for trail in _trails(anchors or {})]
    for one in found:
        # A trail whose row was taken away has none to keep it on.
        AuditTrail.objects.filter(pk=one.trail).update(
            verified_at=timezone.now(),
            verified_entries=one.entries,
            break_found=one.found.reason[:300] if one.found else "",
        )
        if one.found:
            logger.error("the audit trail %s is broken: %s", one.trail, one.found.reason)
    return found


def anchors_now() -> dict[UUID, Anchor]:
    """The end of every trail, to be kept where whoever may write here may not."""
    return {trail.pk: Anchor(trail.head_sequence, trail.head_seal) for trail in AuditTrail.objects.all()}


def _trails(anchors: Mapping[UUID, Anchor]) -> list[UUID]:
    """Every trail that there is a row, an entry or an anchor of."""
    named = AuditEntry.objects.order_by().values_list("organization_id", flat=True).distinct()
    rows = AuditTrail.objects.values_list("pk", flat=True)
    return sorted({*rows, *(pk or NO_ORGANIZATION for pk in named), *anchors})


def _verified(trail_id: UUID, anchor: Anchor | None) -> Verified:
    is_outermost = not connection.in_atomic_block
    with transaction.atomic():
        if is_outermost:  # one snapshot, for which nobody waits
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        head = AuditTrail.objects.filter(pk=trail_id).first() or AuditTrail(pk=trail_id)
        found = first_break(_lines(trail_id), head_sequence=head.head_sequence, head_seal=head.head_seal, anchor=anchor)
    return Verified(trail_id, head.head_sequence, found)


def _lines(trail_id: UUID) -> Iterator[tuple[Line, str]]:
    owner = None if trail_id == NO_ORGANIZATION else trail_id
    rows = AuditEntry.objects.filter(organization=owner).order_by("sequence")
    return ((line_of(entry), entry.seal) for entry in rows.iterator(chunk_size=2000))
