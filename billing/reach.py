"""Whose spend somebody may see: all of an organization, some of its projects, or nothing."""

from dataclasses import dataclass
from uuid import UUID

from accounts import access
from accounts.access import Capability, Person
from accounts.models import ApiKey

STAFF_PERMISSION = "billing.view_spendrollup"


@dataclass(frozen=True, slots=True)
class Reach:
    """The projects of an organization whose spend somebody may see; None: all, and what belongs to none."""

    organization_id: UUID
    projects: tuple[UUID, ...] | None

    @property
    def is_empty(self) -> bool:
        return self.projects == ()

    def has(self, project_id: UUID) -> bool:
        return self.projects is None or project_id in self.projects


def reach_of(person: Person, organization_id: UUID) -> Reach:
    """What of an organization's spend a person may see: by their role, as the lead of a team, or as staff."""
    is_permitted = person.is_staff and person.has_perm(STAFF_PERMISSION)
    if is_permitted or access.may(person, Capability.SEE_SPEND, organization_id):
        return Reach(organization_id, None)
    seen = access.projects(person, Capability.SEE_SPEND).filter(organization=organization_id)
    return Reach(organization_id, tuple(seen.order_by("pk").values_list("pk", flat=True)))


def reach_of_key(api_key: ApiKey) -> Reach:
    """What a key may see: its own project, and with a management key what its maker may besides."""
    own = api_key.project
    if not api_key.may_manage:
        return Reach(own.organization_id, (own.pk,))
    of_maker = reach_of(api_key.created_by, own.organization_id)
    if of_maker.projects is None or own.pk in of_maker.projects:
        return of_maker
    return Reach(own.organization_id, (own.pk, *of_maker.projects))
