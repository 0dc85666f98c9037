"""What a person may do in which organization: by the role of their membership, or as the lead of a team.

The service's own staff with superuser rights may do everything everywhere. Everybody else may do what a membership
says, in that organization alone; what one may not see does not exist for one (404, not 403).
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeAlias
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.db.models import Q, QuerySet

from accounts.models import Membership, Organization, Project, Role, Team, User


class Capability(StrEnum):
    """Something that a role may or may not do."""

    SEE = "see"  # the organization, its projects, teams, jobs without their content, limits
    SEE_SPEND = "see_spend"  # what was spent, by whom and on what, exports included
    SEE_CONTENT = "see_content"  # prompts and answers; each look is audited
    SUBMIT = "submit"  # jobs, in one's projects
    ASK_FOR_QUOTA = "ask_for_quota"
    MANAGE_QUOTAS = "manage_quotas"
    MANAGE_PEOPLE = "manage_people"  # members, roles, teams
    MANAGE_PROJECTS = "manage_projects"
    MANAGE_KEYS = "manage_keys"
    MANAGE_ALERTS = "manage_alerts"  # thresholds and webhook endpoints
    REVIEW_SPEND = "review_spend"  # approve or question a month, decide doubts and differences
    SEE_AUDIT = "see_audit"
    OWN = "own"  # provider credentials, owners


_SEES: Final = frozenset({Capability.SEE})
_WORKS: Final = _SEES | {Capability.SUBMIT, Capability.ASK_FOR_QUOTA}
_REVIEWS: Final = _SEES | {
    Capability.SEE_SPEND,
    Capability.MANAGE_QUOTAS,
    Capability.MANAGE_ALERTS,
    Capability.REVIEW_SPEND,
    Capability.SEE_AUDIT,
}
_ADMINISTERS: Final = frozenset(Capability) - {Capability.OWN}
CAPABILITIES: Final[Mapping[Role, frozenset[Capability]]] = {
    Role.OWNER: frozenset(Capability),
    Role.ADMIN: _ADMINISTERS,
    Role.BILLING: _REVIEWS,
    Role.MEMBER: _WORKS,
    Role.VIEWER: _SEES | {Capability.SEE_SPEND},
}
# What the lead of a team may do in it, and in its projects, beside what their role allows.
OF_LEADS: Final = frozenset({Capability.SEE, Capability.SEE_SPEND, Capability.MANAGE_QUOTAS, Capability.ASK_FOR_QUOTA})

_MANAGERS: Final = [role for role, able in CAPABILITIES.items() if Capability.MANAGE_PEOPLE in able]

Person: TypeAlias = User | AnonymousUser


def roles_with(capability: Capability) -> list[Role]:
    """The roles that may do this."""
    return [role for role, capabilities in CAPABILITIES.items() if capability in capabilities]


def organizations(person: Person, capability: Capability = Capability.SEE) -> QuerySet[Organization]:
    """The organizations in all of which this person may do this."""
    if not person.is_active or not isinstance(person, User):
        return Organization.objects.none()
    if person.is_superuser:
        return Organization.objects.all()
    held = Membership.objects.filter(user=person, role__in=roles_with(capability))
    return Organization.objects.filter(pk__in=held.values("organization"))


def teams(person: Person, capability: Capability = Capability.SEE) -> QuerySet[Team]:
    """The teams in which this person may do this: all of an organization where the role says so, and those they lead.

    A member sees the teams that they are in.
    """
    if not person.is_active or not isinstance(person, User):
        return Team.objects.none()
    if person.is_superuser:
        return Team.objects.all()
    may = Q(organization__in=Membership.objects.filter(_wide(person, capability)).values("organization"))
    if capability in CAPABILITIES[Role.MEMBER]:
        may |= Q(pk__in=Team.members.through.objects.filter(membership__user=person).values("team"))
    if capability in OF_LEADS:
        may |= Q(pk__in=Team.leads.through.objects.filter(membership__user=person).values("team"))
    return Team.objects.filter(may)


def projects(person: Person, capability: Capability = Capability.SEE) -> QuerySet[Project]:
    """The projects in which this person may do this; a member's are those of their teams and those of no team."""
    if not person.is_active or not isinstance(person, User):
        return Project.objects.none()
    if person.is_superuser:
        return Project.objects.all()
    may = Q(organization__in=Membership.objects.filter(_wide(person, capability)).values("organization"))
    may |= Q(team__in=teams(person, capability).values("pk"))
    if capability in CAPABILITIES[Role.MEMBER]:
        member = Membership.objects.filter(user=person, role=Role.MEMBER)
        may |= Q(team=None, organization__in=member.values("organization"))
    return Project.objects.filter(may)


def whole_organizations(person: Person, capability: Capability) -> QuerySet[Organization]:
    """The organizations in which this person may do this everywhere, and not in their own teams and projects alone."""
    if not person.is_active or not isinstance(person, User):
        return Organization.objects.none()
    if person.is_superuser:
        return Organization.objects.all()
    return Organization.objects.filter(
        pk__in=Membership.objects.filter(_wide(person, capability)).values("organization")
    )


def anywhere(person: Person) -> frozenset[Capability]:
    """What this person may do in one organization, team or project at least."""
    if not person.is_active or not isinstance(person, User):
        return frozenset()
    if person.is_superuser:
        return frozenset(Capability)
    memberships = Membership.objects.filter(user=person)
    roles = memberships.order_by().values_list("role", flat=True).distinct()
    found = frozenset[Capability]().union(*(CAPABILITIES[Role(role)] for role in roles))
    is_lead = Team.leads.through.objects.filter(membership__user=person).exists()
    return found | OF_LEADS if is_lead else found


def may(person: Person, capability: Capability, organization_id: UUID) -> bool:
    """Whether this person may do this in all of the organization."""
    return organizations(person, capability).filter(pk=organization_id).exists()


def roles_to_give(person: Person, organization_id: UUID) -> list[Role]:
    """The roles that this person may give to others, and take from them: none that may what they may not themselves."""
    if not person.is_active or not isinstance(person, User):
        return []
    if person.is_superuser:
        return list(Role)
    own = Membership.objects.filter(user=person, organization=organization_id, role__in=_MANAGERS).first()
    if own is None:
        return []
    return [role for role in Role if CAPABILITIES[role] <= CAPABILITIES[Role(own.role)]]


def has_place(person: Person) -> bool:
    """Whether there is anything here for this person: they are of the staff, or a member somewhere."""
    if not person.is_active or not isinstance(person, User):
        return False
    return person.is_staff or Membership.objects.filter(user=person).exists()


def _wide(person: User, capability: Capability) -> Q:
    """The memberships whose role allows this in the whole organization, not in one's own teams alone."""
    return Q(user=person, role__in=[role for role in roles_with(capability) if role != Role.MEMBER])
