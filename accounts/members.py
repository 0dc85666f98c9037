"""What is done to memberships: people come in, get another role, and leave. One organization at a time by its row."""

from collections.abc import Iterable
from uuid import UUID

from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.db.models import Q, QuerySet

from accounts import access, audit, wall
from accounts.access import Capability
from accounts.audit import Who
from accounts.errors import AlreadyMember, LastOwner, RoleNotYours
from accounts.models import AuditAction, Membership, Organization, Role, Team, User

SUBJECT = "member"
# Who holds one of these may do nearly everything, so owners alone give and take them.
OF_OWNERS = frozenset({Role.OWNER, Role.ADMIN})


def seen_by(person: access.Person, organization: Organization) -> QuerySet[Membership]:
    """The memberships that a person may know of: all for those who see the organization's spend, which names people.

    Everybody else knows of their own, and of those in the teams that they lead.
    """
    rows = Membership.objects.filter(organization=organization).select_related("user")
    if not isinstance(person, User):
        return rows.none()
    if access.may(person, Capability.SEE_SPEND, organization.pk):
        return rows
    led = Team.leads.through.objects.filter(membership__user=person).values("team")
    in_led = Team.members.through.objects.filter(team__in=led).values("membership")
    return rows.filter(Q(user=person) | Q(pk__in=in_led))


@transaction.atomic
def invite(organization: Organization, email: str, role: Role, *, by: Who) -> Membership:
    """The new membership of whoever has this address; somebody who is not known yet gets an account without a password.

    Raises AlreadyMember and RoleNotYours.
    """
    hold(organization.pk)
    _require_right([role], organization.pk, by)
    address = email.strip().lower()
    with wall.lowered():  # a person may be known from another organization
        user, _ = User.objects.get_or_create(email=address, defaults={"password": make_password(None)})
    membership, is_new = Membership.objects.get_or_create(organization=organization, user=user, defaults={"role": role})
    if not is_new:
        raise AlreadyMember(param="email")
    _record(AuditAction.CREATED, membership, by, after={"email": address, "role": role})
    return membership


@transaction.atomic
def change_role(membership: Membership, role: Role, *, by: Who) -> Membership:
    """The membership with its new role. Raises RoleNotYours and LastOwner."""
    held = _held(membership)
    if held.role == role:
        return held
    before = Role(held.role)
    _require_right([before, role], held.organization_id, by)
    _require_another_owner(held)
    held.role = role
    held.save(update_fields=["role"])
    _record(AuditAction.UPDATED, held, by, before={"role": before}, after={"role": role})
    return held


@transaction.atomic
def remove(membership: Membership, *, by: Who) -> None:
    """Ends a membership, and with it its places in teams; keys that the person made are refused from then on.

    Raises RoleNotYours and LastOwner.
    """
    held = _held(membership)
    _require_right([Role(held.role)], held.organization_id, by)
    _require_another_owner(held)
    teams = Team.objects.filter(Q(members=held) | Q(leads=held)).distinct().order_by("name")
    before: dict[str, object] = {
        "email": held.user.email,
        "role": held.role,
        "teams": list(teams.values_list("name", flat=True)),
    }
    _record(AuditAction.DELETED, held, by, before=before)
    held.delete()


def hold(organization_id: UUID) -> None:
    """Takes the organization's row: who is a member, and in which role, stands still behind it."""
    Organization.objects.select_for_update(no_key=True).get(pk=organization_id)


def _held(membership: Membership) -> Membership:
    """The membership as it stands behind the organization's row. Raises Membership.DoesNotExist if it has ended."""
    hold(membership.organization_id)
    return Membership.objects.select_related("user").get(pk=membership.pk)


def _require_right(roles: Iterable[Role], organization_id: UUID, by: Who) -> None:
    """Asked behind the organization's row, so that nobody acts by a role that was just taken from them."""
    needed = Capability.OWN if OF_OWNERS.intersection(roles) else Capability.MANAGE_PEOPLE
    if by.user is not None and not access.may(by.user, needed, organization_id):
        raise RoleNotYours


def _require_another_owner(held: Membership) -> None:
    others = Membership.objects.filter(
        organization=held.organization_id, role=Role.OWNER, user__is_active=True
    ).exclude(pk=held.pk)
    if held.role == Role.OWNER and not others.exists():
        raise LastOwner


def _record(
    action: AuditAction,
    membership: Membership,
    by: Who,
    *,
    before: dict[str, object] | None = None,
    after: dict[str, object] | None = None,
) -> None:
    audit.record(
        action,
        SUBJECT,
        membership.pk,
        by=by,
        organization_id=membership.organization_id,
        name=str(membership.user),
        before=before,
        after=after,
    )
