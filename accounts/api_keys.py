"""Issuing, finding and revoking API keys."""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from accounts import audit, changes
from accounts.audit import Who
from accounts.changes import as_json
from accounts.models import ApiKey, AuditAction, Project, User
from accounts.remembered import remembered

PREFIX = "bk_live_"
SECRET_BYTES = 32  # twice what OWASP ASVS 11.5.1 asks for; so much randomness needs no slow hash
VISIBLE_CHARACTERS = len(PREFIX) + 4
# Written at most this often, so that a busy key does not cost one update per request.
LAST_USED_GRAIN = timedelta(minutes=1)
SUBJECT = "api_key"


def may_have(requests_per_minute: int | None) -> bool:
    """Whether people may give a key so many requests: no more than all have. Operators may give more."""
    most = settings.KEY_REQUESTS_PER_MINUTE
    return requests_per_minute is None or most == 0 or requests_per_minute <= most


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key and its secret, which nobody can read again."""

    api_key: ApiKey
    secret: str


def hash_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def issue(
    project: Project,
    *,
    name: str,
    created_by: User,
    expires_at: datetime | None = None,
    may_manage: bool = False,
    requests_per_minute: int | None = None,
) -> IssuedKey:
    """A new key of a project, and the secret that is shown this once."""
    secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    api_key = ApiKey.objects.create(
        project=project,
        name=name,
        prefix=secret[:VISIBLE_CHARACTERS],
        secret_hash=hash_of(secret),
        created_by=created_by,
        expires_at=expires_at,
        may_manage=may_manage,
        requests_per_minute=requests_per_minute,
    )
    return IssuedKey(api_key, secret)


# Whether a key is good is asked each time: one that was revoked, or whose maker has left, is refused from that instant
# on. The service's own staff make keys without being members.
_GOOD = """
    SELECT key.id FROM accounts_apikey key
    JOIN accounts_user maker ON maker.id = key.created_by_id
    JOIN accounts_project project ON project.id = key.project_id
    LEFT JOIN accounts_membership place
        ON place.user_id = maker.id AND place.organization_id = project.organization_id
    WHERE key.secret_hash = %s AND key.revoked_at IS NULL AND (key.expires_at IS NULL OR key.expires_at > %s)
        AND maker.is_active AND (maker.is_staff OR place.id IS NOT NULL)
"""


def find(secret: str, now: datetime) -> ApiKey | None:
    """The key that this secret belongs to, with its project and organization.

    None if it is unknown, expired or revoked, or its maker may no longer sign in or is no member any more. The look-up
    is by a hash of the whole secret, so its timing tells nothing of it. What else stands in the rows may be a second
    old.
    """
    return find_again(hash_of(secret), now)


def find_again(secret_hash: str, now: datetime) -> ApiKey | None:
    """The same by the hash that is stored, for work that goes on when the request of the key has ended."""
    with connection.cursor() as cursor:
        cursor.execute(_GOOD, [secret_hash, now])
        found = cursor.fetchone()
    return _loaded(found[0]) if found else None


@remembered()
def _loaded(key_id: UUID) -> ApiKey | None:
    return ApiKey.objects.select_related("project__organization", "created_by").filter(pk=key_id).first()


def note_use(api_key: ApiKey, now: datetime) -> None:
    """Notes that a key was used, to the minute."""
    stale = Q(last_used_at__isnull=True) | Q(last_used_at__lt=now - LAST_USED_GRAIN)
    if api_key.last_used_at is None or api_key.last_used_at < now - LAST_USED_GRAIN:
        ApiKey.objects.filter(stale, pk=api_key.pk).update(last_used_at=now)
        api_key.last_used_at = now  # for the threads that have remembered the same row


def revoke(api_key: ApiKey) -> bool:
    """Ends a key for good; revoking twice keeps the first instant. Whether it was the first time."""
    return bool(ApiKey.objects.filter(pk=api_key.pk, revoked_at__isnull=True).update(revoked_at=timezone.now()))


# --- As people and their programs do it, with the audit trail ---------------------------------------------------------
@transaction.atomic
def create(
    project: Project,
    *,
    name: str,
    by: Who,
    expires_at: datetime | None = None,
    may_manage: bool = False,
    requests_per_minute: int | None = None,
) -> IssuedKey:
    """A new key of a project, made by whoever acts: it acts for them, and a management key with their role."""
    assert by.user is not None, "a key acts for a person"
    issued = issue(
        project,
        name=name,
        created_by=by.user,
        expires_at=expires_at,
        may_manage=may_manage,
        requests_per_minute=requests_per_minute,
    )
    after = {"name": name, "project": str(project.pk), "may_manage": may_manage, "expires_at": as_json(expires_at)}
    if requests_per_minute is not None:
        after["requests_per_minute"] = requests_per_minute
    _record(AuditAction.CREATED, issued.api_key, by, after=after)
    return issued


def change(api_key: ApiKey, wanted: Mapping[str, Any], *, by: Who) -> ApiKey:
    """The key with another name, end or throttle; what it may do was said when it was made, by whom it acts for."""
    return changes.update(api_key, wanted, SUBJECT, by=by, organization_id=api_key.project.organization_id)


@transaction.atomic
def end(api_key: ApiKey, *, by: Who) -> None:
    """Revokes a key for good; one that is revoked stays as it is."""
    if revoke(api_key):
        _record(AuditAction.UPDATED, api_key, by, after={"revoked": True})


def _record(action: AuditAction, api_key: ApiKey, by: Who, *, after: Mapping[str, Any]) -> None:
    audit.record(
        action,
        SUBJECT,
        api_key.pk,
        by=by,
        organization_id=api_key.project.organization_id,
        name=str(api_key),
        after=after,
    )
