"""What of an organization a person sees on its dashboard: whose money, whose limits and whose waiting jobs."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from django.contrib.auth.backends import ModelBackend
from django.db.models import QuerySet
from django.http import Http404

from accounts import access
from accounts.access import Capability, Person
from accounts.models import Organization, Project, User


@dataclass(frozen=True, slots=True)
class Sight:
    """The projects of an organization that somebody sees: limits and waiting of `seen`, money of `spend`.

    None stands for all of them, and for the organization as a whole.
    """

    organization: Organization
    seen: Collection[UUID] | None
    spend: Collection[UUID] | None

    @property
    def is_whole(self) -> bool:
        """Whether the organization's own limit, its drift and the sum over all projects are shown."""
        return self.spend is None

    @property
    def has_spend(self) -> bool:
        """Whether any money is shown at all."""
        return self.spend is None or bool(self.spend)

    def projects(self) -> "QuerySet[Project]":
        """The projects whose limits and jobs are shown."""
        return _among(self.organization, self.seen)

    def projects_with_spend(self) -> "QuerySet[Project]":
        """The projects whose money is shown."""
        return _among(self.organization, self.spend)


def _among(organization: Organization, ids: Collection[UUID] | None) -> "QuerySet[Project]":
    of = Project.objects.filter(organization=organization)
    return of if ids is None else of.filter(pk__in=ids)


def organizations(person: Person) -> "QuerySet[Organization]":
    """The organizations that have a dashboard for this person."""
    return Organization.objects.all() if sees_everything(person) else access.organizations(person)


def with_whole_spend(person: Person) -> "QuerySet[Organization]":
    """Those of which the person sees the money of all."""
    return Organization.objects.all() if sees_everything(person) else _with_spend(person)


def sight(person: Person, organization_id: UUID) -> Sight:
    """What the person sees of an organization. Raises Http404 where it does not exist for them."""
    organization = organizations(person).filter(pk=organization_id).first()
    if organization is None:
        raise Http404("There is no such organization.")
    if with_whole_spend(person).filter(pk=organization_id).exists():
        return Sight(organization, None, None)
    of = {"organization": organization}
    seen = access.projects(person, Capability.SEE).filter(**of).values_list("pk", flat=True)
    spend = access.projects(person, Capability.SEE_SPEND).filter(**of).values_list("pk", flat=True)
    return Sight(organization, frozenset(seen) | frozenset(spend), frozenset(spend))


def sees_everything(person: Person) -> bool:
    """Whether it is staff with the service's own permission to see spend: of every organization.

    Asked of Django's own permissions, whatever other backends make of roles.
    """
    return isinstance(person, User) and person.is_staff and ModelBackend().has_perm(person, "billing.view_spendrollup")


def _with_spend(person: Person) -> "QuerySet[Organization]":
    return access.organizations(person, Capability.SEE_SPEND)
