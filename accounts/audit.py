"""The audit trail's one way in: an act and its entry are committed together, or neither.

Entries are sealed like the ledger's (`accounts.audit_chain`): each organization has a trail, and its row is the lock of
its end. Locks are taken in one order: books first, trails after them, and several trails in the order of their ids.
So an act records what it did when it has done it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from getpass import getuser
from ipaddress import ip_address
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import ForeignKey, Model
from django.http import HttpRequest
from django.utils import timezone
from rest_framework.request import Request

from accounts.audit_chain import NO_ORGANIZATION, Line, seal
from accounts.models import ApiKey, AuditAction, AuditEntry, AuditTrail, Organization, User

# Stands for a secret: that it changed is all that an entry says.
HIDDEN = "(hidden)"
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Who:
    """Who acts, and from where: a person in the admin, a program with a key, or the service by itself (neither)."""

    user: User | None = None
    api_key: ApiKey | None = None
    address: str | None = None
    request_id: str = ""
    name: str = ""

    @property
    def shown_as(self) -> str:
        """What the entry calls them."""
        if self.name:
            return self.name
        person = str(self.user or "Bursar")
        return f"{person} by key {self.api_key}" if self.api_key else person


SERVICE = Who()


def who(request: HttpRequest | Request) -> Who:
    """Who sends this request."""
    user, key = request.user, getattr(request, "auth", None)
    return Who(
        user=user if isinstance(user, User) else None,
        api_key=key if isinstance(key, ApiKey) else None,
        address=address_of(request),
        request_id=getattr(request, "request_id", ""),
    )


def command_line() -> Who:
    """Whoever runs a management command: known by the name that the operating system has for them."""
    try:
        name = getuser()
    except (KeyError, OSError):  # a container may run as a user that has no name
        name = "unknown"
    return Who(name=f"command line ({name})")


def address_of(request: HttpRequest | Request) -> str | None:
    """The address that the request came from.

    Behind a proxy it is the last one in X-Forwarded-For: the proxy itself has put it there; all before it is only what
    the client claims.
    """
    last = request.META.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2] if settings.BEHIND_PROXY else ""
    for text in (last, request.META.get("REMOTE_ADDR", "")):
        if found := _address(text.strip()):
            return found
    return None


def _address(text: str) -> str | None:
    """An address as it is written down, without the port that some proxies add."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text.partition("%")[0]))
    except ValueError:
        return None


def record(
    action: AuditAction,
    subject_type: str,
    subject_id: object,
    *,
    by: Who,
    organization_id: UUID | None,
    name: str = "",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    reason: str = "",
) -> AuditEntry:
    """The entry of one act, sealed at the end of its trail. In the act's transaction, after all locks of books.

    `before` and `after` hold the fields that changed as JSON values, money as decimal strings, secrets never.
    """
    with transaction.atomic():
        trail = _locked(organization_id or NO_ORGANIZATION)
        entry = AuditEntry(
            sequence=trail.head_sequence + 1,
            organization_id=organization_id,
            action=AuditAction(action).value,
            subject_type=subject_type,
            subject_id=_text(subject_id)[:100],
            subject_name=_text(name)[:300],
            actor=by.user,
            api_key=by.api_key,
            actor_name=_text(by.shown_as)[:300],
            address=by.address,
            request_id=_text(by.request_id)[:100],
            before=plain(dict(before or {})),
            after=plain(dict(after or {})),
            reason=_text(reason)[:1000],
            at=timezone.now(),
        )
        entry.seal = seal(line_of(entry), trail.head_seal)
        entry.save(force_insert=True)
        AuditTrail.objects.filter(pk=trail.pk).update(head_sequence=entry.sequence, head_seal=entry.seal)
    return entry


def record_about(
    row: Model,
    action: AuditAction,
    *,
    by: Who,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    reason: str = "",
) -> AuditEntry:
    """The entry of an act on a row: type, id, name and organization are the row's."""
    return record(
        action,
        subject_type(row._meta.model),  # of a lazy row, as a request's user is, the type says nothing
        row.pk,
        by=by,
        organization_id=organization_of(row),
        name=str(row),
        before=before,
        after=after,
        reason=reason,
    )


def in_order(rows: Iterable[Model]) -> list[Model]:
    """Rows in the order in which their acts are recorded, so that two who record several cannot wait for each other."""
    return sorted(rows, key=lambda row: organization_of(row) or NO_ORGANIZATION)


def subject_type(model: type[Model]) -> str:
    """The word for rows of a model, as in the API: ApiKey as api_key."""
    return _WORD.sub("_", model.__name__).lower()


def organization_of(row: Model) -> UUID | None:
    """The organization that a row belongs to, by the first of its foreign keys that leads to one; None for none."""
    if isinstance(row, Organization):
        return row.pk
    keys = [field for field in row._meta.concrete_fields if isinstance(field, ForeignKey)]
    for field in keys:
        if field.related_model is Organization:
            found: UUID | None = getattr(row, field.attname)
            return found
    for field in keys:
        # A person, and whom a row names beside its owner, leads nowhere.
        if not field.null and field.related_model is not User and (owner := getattr(row, field.name, None)):
            return organization_of(owner)
    return None


def line_of(entry: AuditEntry) -> Line:
    """What an entry says."""
    return Line(
        trail=entry.organization_id or NO_ORGANIZATION,
        sequence=entry.sequence,
        id=entry.pk,
        action=entry.action,
        subject_type=entry.subject_type,
        subject_id=entry.subject_id,
        subject_name=entry.subject_name,
        actor=entry.actor_id,
        api_key=entry.api_key_id,
        actor_name=entry.actor_name,
        address=entry.address,
        request_id=entry.request_id,
        before=entry.before,
        after=entry.after,
        reason=entry.reason,
        at=entry.at,
    )


def plain(value: Any) -> Any:
    """A value as an entry keeps it: text, whole numbers, yes, no, nothing, and lists and objects of these.

    Raises TypeError for a float: it would not be read back as it was sealed, and money is never one.
    """
    match value:
        case Enum():
            return plain(value.value)
        case None | bool() | int():
            return value
        case float():
            raise TypeError(f"{value} is a float; an audit entry keeps amounts as decimal text")
        case Decimal():
            return f"{value:f}"
        case datetime() | date():
            return value.isoformat()
        case Mapping():
            return {_text(name): plain(each) for name, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(each) for each in (sorted(value) if isinstance(value, set | frozenset) else value)]
        case _:
            return _text(value)


def _text(value: object) -> str:
    """As PostgreSQL can hold it: no NUL, and no half of a character."""
    return str(value).replace("\x00", "").encode("utf-8", "replace").decode()


def _locked(trail_id: UUID) -> AuditTrail:
    """The trail, locked until the transaction ends; made where it is missing."""
    rows = AuditTrail.objects.select_for_update().filter(pk=trail_id)
    trail = rows.first()
    if trail is None:
        AuditTrail.objects.bulk_create([AuditTrail(pk=trail_id)], ignore_conflicts=True)
        trail = rows.get()
    return trail
