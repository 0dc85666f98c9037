"""A first organization that can work at once: tier 5 with the payment behind it, a project, an owner and an API key."""

import json
import secrets
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from django.db import transaction

from accounts import api_keys, audit
from accounts.models import ApiKey, AuditAction, Membership, Organization, Payment, Project, Role, User

KEY_NAME = "bootstrap"
TIER_5_PAID_USD = Decimal(1000)
TIER_5_DAYS = 30


@dataclass(frozen=True, slots=True)
class Start:
    """What a person needs to begin.

    A secret that was made earlier and not kept in a file is None: nobody can read it again.
    """

    organization: Organization
    project: Project
    owner: User
    owner_password: str | None
    api_key: ApiKey
    api_key_secret: str | None


@transaction.atomic
def bootstrap(
    *,
    name: str,
    slug: str,
    owner_email: str,
    terms_on: date | None,
    now: datetime,
    known: dict[str, str] | None = None,
    rotate: bool = False,
) -> Start:
    """The organization with this slug and its parts; what is missing is made, what is there is left as it is.

    `known` holds secrets of an earlier run (`owner_password`, `api_key`), which are given back while they still work.
    `rotate` revokes the bootstrap key and issues a new one.
    """
    known = known or {}
    organization, is_new = Organization.objects.get_or_create(slug=slug, defaults={"name": name, "terms_on": terms_on})
    if is_new:
        Payment.objects.create(
            organization=organization,
            amount_usd=TIER_5_PAID_USD,
            paid_at=now - timedelta(days=TIER_5_DAYS + 1),
            reference="bootstrap",
        )
    is_known = User.objects.filter(email=owner_email.lower()).exists()
    owner, password = _owner(owner_email, known.get("owner_password"))
    membership, is_member_now = Membership.objects.get_or_create(
        organization=organization, user=owner, defaults={"role": Role.OWNER}
    )
    project, is_new_project = Project.objects.get_or_create(
        organization=organization, slug="default", defaults={"name": "Default project"}
    )
    before = set(project.api_keys.filter(revoked_at__isnull=True).values_list("pk", flat=True))
    api_key, secret = _api_key(project, owner, known.get("api_key"), now, rotate=rotate)
    made = {
        "organization": str(organization) if is_new else None,
        "payment_usd": TIER_5_PAID_USD if is_new else None,
        "user": None if is_known else str(owner),
        "membership": str(membership) if is_member_now else None,
        "project": str(project) if is_new_project else None,
        "api_key": None if api_key.pk in before else str(api_key),
        "revoked_api_keys": len(before) if rotate else None,
    }
    _record(organization, {name: value for name, value in made.items() if value})
    return Start(organization, project, owner, password, api_key, secret)


def _record(organization: Organization, made: dict[str, object]) -> None:
    """One entry for what a run made; none for a run that found all of it."""
    if made:
        action = AuditAction.CREATED if "organization" in made else AuditAction.UPDATED
        audit.record_about(organization, action, by=audit.command_line(), after=made, reason="bootstrap")


def _owner(email: str, known_password: str | None) -> tuple[User, str | None]:
    owner = User.objects.filter(email=email.lower()).first()
    if owner is None:
        password = known_password or secrets.token_urlsafe(12)
        return User.objects.create_superuser(email, password), password
    return owner, known_password if known_password and owner.check_password(known_password) else None


def _api_key(
    project: Project, owner: User, known_secret: str | None, now: datetime, *, rotate: bool
) -> tuple[ApiKey, str | None]:
    if not rotate:
        if known_secret and (found := api_keys.find(known_secret, now)) and found.project_id == project.pk:
            return found, known_secret
        valid = [key for key in project.api_keys.filter(name=KEY_NAME) if key.is_valid_at(now)]
        if valid:
            return valid[0], None
    for key in project.api_keys.filter(name=KEY_NAME):
        api_keys.revoke(key)
    issued = api_keys.issue(project, name=KEY_NAME, created_by=owner)
    return issued.api_key, issued.secret


def as_json(start: Start) -> dict[str, str | None]:
    """The start as a program reads it."""
    return {
        "organization": str(start.organization.pk),
        "organization_name": start.organization.name,
        "project": str(start.project.pk),
        "project_name": start.project.name,
        "owner_email": start.owner.email,
        "owner_password": start.owner_password,
        "api_key": start.api_key_secret,
        "api_key_prefix": start.api_key.prefix,
    }


def read_secrets(path: Path) -> dict[str, str]:
    """The secrets that an earlier run kept; none if there is no such file or it cannot be read as one."""
    try:
        kept = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return {name: value for name, value in kept.items() if isinstance(value, str)} if isinstance(kept, dict) else {}


def write_secrets(path: Path, start: Start) -> None:
    """Keeps the start in a file that only its owner can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(json.dumps(as_json(start), indent=2) + "\n")
