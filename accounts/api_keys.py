"""Issuing, finding and revoking API keys."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection
from django.db.models import Q
from django.utils import timezone

from accounts.models import ApiKey, Project, User
from accounts.remembered import remembered

PREFIX = "bk_live_"
SECRET_BYTES = 32  # twice what OWASP ASVS 11.5.1 asks for; so much randomness needs no slow hash
VISIBLE_CHARACTERS = len(PREFIX) + 4
# Written at most this often, so that a busy key does not cost one update per request.
LAST_USED_GRAIN = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key and its secret, which nobody can read again."""

    api_key: ApiKey
    secret: str


def hash_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def issue(project: Project, *, name: str, created_by: User, expires_at: datetime | None = None) -> IssuedKey:
    """A new key of a project, and the secret that is shown this once."""
    secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    api_key = ApiKey.objects.create(
        project=project,
        name=name,
        prefix=secret[:VISIBLE_CHARACTERS],
        secret_hash=hash_of(secret),
        created_by=created_by,
        expires_at=expires_at,
    )
    return IssuedKey(api_key, secret)


# Whether a key is good is asked each time: one that was revoked is refused from that instant on.
_GOOD = """
    SELECT key.id FROM accounts_apikey key JOIN accounts_user maker ON maker.id = key.created_by_id
    WHERE key.secret_hash = %s AND key.revoked_at IS NULL AND (key.expires_at IS NULL OR key.expires_at > %s)
        AND maker.is_active
"""


def find(secret: str, now: datetime) -> ApiKey | None:
    """The key that this secret belongs to, with its project and organization.

    None if it is unknown, expired or revoked, or its maker may no longer sign in. The look-up is by a hash of the whole
    secret, so its timing tells nothing of the secret. What else stands in the rows may be a second old.
    """
    with connection.cursor() as cursor:
        cursor.execute(_GOOD, [hash_of(secret), now])
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


def revoke(api_key: ApiKey) -> None:
    """Ends a key for good; revoking twice keeps the first instant."""
    ApiKey.objects.filter(pk=api_key.pk, revoked_at__isnull=True).update(revoked_at=timezone.now())
