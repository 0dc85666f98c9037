"""Who belongs to an organization, and in which role: invitations by e-mail address, and owners of whom one stays."""

from collections.abc import Iterable
from uuid import UUID

from accounts.errors import DomainError
from accounts.models import Membership, Role, User


class LastOwner(DomainError):
    """An organization keeps one owner at least."""

    code = "last_owner"


def lock_owners(organization_ids: Iterable[UUID]) -> None:
    """Lets nobody else change the owners of these organizations before the transaction ends."""
    owners = Membership.objects.filter(organization__in=set(organization_ids), role=Role.OWNER)
    list(owners.order_by("pk").select_for_update().values_list("pk"))


def require_owners(organization_ids: Iterable[UUID]) -> None:
    """Behind `lock_owners`, after the change. Raises LastOwner where nobody owns one of them any more."""
    wanted = set(organization_ids)
    owned = Membership.objects.filter(organization__in=wanted, role=Role.OWNER).values_list("organization", flat=True)
    if wanted - set(owned):
        raise LastOwner


def is_last_owner(membership: Membership) -> bool:
    if membership.role != Role.OWNER:
        return False
    others = Membership.objects.filter(organization=membership.organization_id, role=Role.OWNER)
    return not others.exclude(pk=membership.pk).exists()


def invited(email: str) -> tuple[User, bool]:
    """The user of an e-mail address, and whether there was none before; a new one has no password to sign in with."""
    found = User.objects.filter(email=email.strip().lower()).first()
    return (found, False) if found else (User.objects.create_user(email), True)
