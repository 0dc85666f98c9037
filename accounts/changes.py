"""Writes a change to a row together with its entry in the audit trail."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, TypeVar
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Model

from accounts import audit
from accounts.audit import Who
from accounts.errors import NameTaken
from accounts.models import AuditAction

Row = TypeVar("Row", bound=Model)


def as_json(value: Any) -> Any:
    """A field's value as the audit trail keeps it."""
    match value:
        case Model():
            return str(value.pk)
        case UUID():
            return str(value)
        case datetime() | date():
            return value.isoformat()
    return value


def create(row: Row, subject_type: str, *, by: Who, organization_id: UUID, unique: str = "name", **after: Any) -> Row:
    """Saves a new row. Raises NameTaken, at the field `unique`, where the organization has one of its name."""
    try:
        with transaction.atomic():
            row.save(force_insert=True)
            audit.record(
                AuditAction.CREATED,
                subject_type,
                row.pk,
                by=by,
                organization_id=organization_id,
                name=str(row),
                after={name: as_json(value) for name, value in after.items()},
            )
    except IntegrityError as error:
        raise NameTaken(param=unique) from error
    return row


def update(
    row: Row, wanted: Mapping[str, Any], subject_type: str, *, by: Who, organization_id: UUID, reason: str = ""
) -> Row:
    """The row with these fields; nothing is written, and nothing recorded, where it has them already.

    Raises NameTaken.
    """
    try:
        with transaction.atomic():
            # No key: whoever inserts rows that refer to this one need not wait.
            rows = type(row)._default_manager.select_for_update(of=("self",), no_key=True)
            found: Row = rows.get(pk=row.pk)
            changed = {name: value for name, value in wanted.items() if getattr(found, name) != value}
            if changed:
                before = {name: as_json(getattr(found, name)) for name in changed}
                for name, value in changed.items():
                    setattr(found, name, value)
                found.save(update_fields=list(changed))
                audit.record(
                    AuditAction.UPDATED,
                    subject_type,
                    found.pk,
                    by=by,
                    organization_id=organization_id,
                    name=str(found),
                    before=before,
                    after={name: as_json(value) for name, value in changed.items()},
                    reason=reason,
                )
    except IntegrityError as error:
        raise NameTaken(param="name") from error
    return found
