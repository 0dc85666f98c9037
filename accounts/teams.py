"""What is done to teams: made, renamed, removed, and who is in them or leads them."""

from enum import StrEnum

from django.db import transaction

from accounts import audit, changes
from accounts.audit import Who
from accounts.errors import TeamOwnsProjects
from accounts.members import hold
from accounts.models import AuditAction, Membership, Organization, Team

SUBJECT = "team"


class Place(StrEnum):
    """What somebody may be to a team."""

    MEMBER = "members"
    LEAD = "leads"


def create(organization: Organization, name: str, *, by: Who) -> Team:
    """A new team without anybody. Raises NameTaken."""
    team = Team(organization=organization, name=name)
    return changes.create(team, SUBJECT, by=by, organization_id=organization.pk, name=name)


def rename(team: Team, name: str, *, by: Who) -> Team:
    """The team under its new name. Raises NameTaken."""
    return changes.update(team, {"name": name}, SUBJECT, by=by, organization_id=team.organization_id)


@transaction.atomic
def remove(team: Team, *, by: Who) -> None:
    """Removes a team and its quotas, which bind nobody without projects. Raises TeamOwnsProjects."""
    hold(team.organization_id)
    held = Team.objects.select_for_update().get(pk=team.pk)
    if held.projects.exists():
        raise TeamOwnsProjects
    before: dict[str, object] = {"name": held.name, **{place: _ids(held, place) for place in Place}}
    audit.record(
        AuditAction.DELETED,
        SUBJECT,
        held.pk,
        by=by,
        organization_id=held.organization_id,
        name=held.name,
        before=before,
    )
    held.delete()


@transaction.atomic
def place(team: Team, membership: Membership, as_: Place, *, is_there: bool, by: Who) -> Team:
    """The team with somebody among its members or leads, or without them.

    Raises DoesNotExist where either is gone, or they are of two organizations.
    """
    hold(team.organization_id)
    held = Team.objects.get(pk=team.pk)
    membership = Membership.objects.get(pk=membership.pk, organization=held.organization_id)
    before = _ids(held, as_)
    if (membership.pk in before) == is_there:
        return held
    people = held.members if as_ is Place.MEMBER else held.leads
    if is_there:
        people.add(membership)
    else:
        people.remove(membership)
    audit.record(
        AuditAction.UPDATED,
        SUBJECT,
        held.pk,
        by=by,
        organization_id=held.organization_id,
        name=held.name,
        before={as_: before},
        after={as_: _ids(held, as_)},
    )
    return held


def _ids(team: Team, as_: Place) -> list[int]:
    people = team.members if as_ is Place.MEMBER else team.leads
    return sorted(people.values_list("pk", flat=True))
