"""Issuing, finding and revoking API keys."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q
from django.utils import timezone

from accounts.models import ApiKey, Project, User

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


def find(secret: str, now: datetime) -> ApiKey | None:
    """The key that this secret belongs to, with its project and organization; None if unknown, expired or revoked.

    The look-up is by a hash of the whole secret, so its timing tells nothing of the secret.
    """
    api_key = (
        ApiKey.objects.select_related("project__organization", "created_by").filter(secret_hash=hash_of(secret)).first()
    )
    return api_key if api_key and api_key.is_valid_at(now) else None


def note_use(api_key: ApiKey, now: datetime) -> None:
    """Remembers that a key was used, to the minute."""
    stale = Q(last_used_at__isnull=True) | Q(last_used_at__lt=now - LAST_USED_GRAIN)
    if api_key.last_used_at is None or api_key.last_used_at < now - LAST_USED_GRAIN:
        ApiKey.objects.filter(stale, pk=api_key.pk).update(last_used_at=now)


def revoke(api_key: ApiKey) -> None:
    """Ends a key for good; revoking twice keeps the first instant."""
    ApiKey.objects.filter(pk=api_key.pk, revoked_at__isnull=True).update(revoked_at=timezone.now())
