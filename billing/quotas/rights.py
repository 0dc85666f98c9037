"""Who sees, manages and asks for which quotas.

Whose role manages quotas does so in the whole organization. The lead of a team manages the quotas of that team, of its
projects and of their keys; not the organization's, nor a member's, which binds them in other teams too.
"""

from uuid import UUID

from django.db.models import Q, QuerySet

from accounts import access
from accounts.access import Capability, Person
from accounts.models import Membership, User
from billing.models import Quota, QuotaRequest, Scope

VIEW, CHANGE = "billing.view_quota", "billing.change_quota"


def is_staff_with(person: Person, permission: str) -> bool:
    """Whether somebody of the service's staff has a right of Django's, which holds everywhere."""
    return person.is_active and person.is_staff and person.has_perm(permission)


def visible(person: Person) -> QuerySet[Quota]:
    """The quotas that this person may see: those of what they see; of other members, where they see all the spend."""
    if is_staff_with(person, VIEW):
        return Quota.objects.all()
    if not isinstance(person, User):
        return Quota.objects.none()
    wide = access.organizations(person, Capability.SEE_SPEND).values("pk")
    return Quota.objects.filter(
        Q(organization__in=wide)
        | Q(scope=Scope.ORGANIZATION, organization__in=access.organizations(person).values("pk"))
        | _within_teams(person, Capability.SEE)
        | Q(scope=Scope.MEMBER, member=person, organization__in=access.organizations(person).values("pk"))
    )


def manageable(person: Person) -> QuerySet[Quota]:
    """The quotas that this person may change, and about whose raises they may decide."""
    if is_staff_with(person, CHANGE):
        return Quota.objects.all()
    wide = access.organizations(person, Capability.MANAGE_QUOTAS).values("pk")
    return Quota.objects.filter(Q(organization__in=wide) | _within_teams(person, Capability.MANAGE_QUOTAS))


def may_manage(person: Person, quota: Quota) -> bool:
    """Whether this person may make, change or end this quota, stored or not."""
    if is_staff_with(person, CHANGE) or access.may(person, Capability.MANAGE_QUOTAS, quota.organization_id):
        return True
    match Scope(quota.scope):
        case Scope.TEAM:
            teams = access.teams(person, Capability.MANAGE_QUOTAS)
            return quota.team_id is not None and teams.filter(pk=quota.team_id).exists()
        case Scope.PROJECT:
            return _manages_project(person, quota.project_id)
        case Scope.KEY:
            return quota.api_key is not None and _manages_project(person, quota.api_key.project_id)
        case Scope.ORGANIZATION | Scope.MEMBER:
            return False


def may_manage_any(person: Person, organization_id: UUID) -> bool:
    """Whether there is something in the organization that this person may make a quota for."""
    if is_staff_with(person, CHANGE) or access.may(person, Capability.MANAGE_QUOTAS, organization_id):
        return True
    return access.teams(person, Capability.MANAGE_QUOTAS).filter(organization=organization_id).exists()


def may_ask(person: Person, organization_id: UUID) -> bool:
    """Whether this person may ask for more of the quotas that they see in the organization."""
    if access.may(person, Capability.ASK_FOR_QUOTA, organization_id):
        return True
    return access.teams(person, Capability.ASK_FOR_QUOTA).filter(organization=organization_id).exists()


def visible_requests(person: Person) -> QuerySet[QuotaRequest]:
    """The requests that this person made, and those that they may decide about."""
    if is_staff_with(person, VIEW):
        return QuotaRequest.objects.all()
    own = Q(asked_by=person, organization__in=access.organizations(person).values("pk"))
    return QuotaRequest.objects.filter(own | Q(quota__in=manageable(person).values("pk")))


def may_decide(person: Person, request: QuotaRequest) -> bool:
    """Whether this person may decide about a request; about one of their own only as an owner."""
    return may_manage(person, request.quota) and (request.asked_by_id != person.pk or owns(person, request))


def owns(person: Person, request: QuotaRequest) -> bool:
    return access.may(person, Capability.OWN, request.organization_id)


def deciders(request: QuotaRequest) -> QuerySet[User]:
    """Who is to be told of a request: whoever may decide about it by their membership, but for who asked."""
    quota = request.quota
    project = quota.project or (quota.api_key and quota.api_key.project)
    team_id = quota.team_id or (project and project.team_id)
    by_role = Q(role__in=access.roles_with(Capability.MANAGE_QUOTAS))
    memberships = Membership.objects.filter(
        by_role | Q(led_teams=team_id) if team_id else by_role, organization=request.organization_id
    )
    people = User.objects.filter(is_active=True, pk__in=memberships.values("user")).exclude(pk=request.asked_by_id)
    return people.order_by("email")


def _manages_project(person: Person, project_id: UUID | None) -> bool:
    return project_id is not None and access.projects(person, Capability.MANAGE_QUOTAS).filter(pk=project_id).exists()


def _within_teams(person: Person, capability: Capability) -> Q:
    """The quotas of the teams and projects in which this person may do this, and of these projects' keys."""
    teams, projects = (found(person, capability).values("pk") for found in (access.teams, access.projects))
    return (
        Q(scope=Scope.TEAM, team__in=teams)
        | Q(scope=Scope.PROJECT, project__in=projects)
        | Q(scope=Scope.KEY, api_key__project__in=projects)
    )
