"""The word of the audit trail about an export, written before its first byte goes out."""

from django.db import transaction

from accounts import audit
from accounts.audit import Who
from accounts.models import AuditAction, AuditEntry
from billing.exports.selection import Selection
from billing.exports.streams import Format


@transaction.atomic
def note(selection: Selection, form: Format, by: Who) -> AuditEntry:
    """Writes down who takes which part of the books away, and as what."""
    organization = selection.organization
    return audit.record(
        AuditAction.EXPORTED,
        "spend",
        organization.pk,
        by=by,
        organization_id=organization.pk,
        name=f"{form.value}, {selection.start} to {selection.end}",
        after={"format": form.value, **selection.told},
    )
