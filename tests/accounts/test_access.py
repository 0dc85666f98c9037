"""What each role may do, where; and the page that tells people."""

import re
from pathlib import Path

import pytest
from django.contrib.auth.models import AnonymousUser

from accounts import access
from accounts.access import CAPABILITIES, OF_LEADS, Capability
from accounts.models import Membership, Project, Role, Team, User
from tests.conftest import Tenant

PAGE = Path(__file__).resolve().parents[2] / "docs" / "roles.md"


@pytest.fixture
def team(alice: Tenant) -> Team:
    return Team.objects.create(organization=alice.organization, name="Numbers")


@pytest.fixture
def in_team(alice: Tenant, team: Team) -> Project:
    return Project.objects.create(organization=alice.organization, team=team, name="Sums", slug="sums")


@pytest.fixture
def elsewhere(alice: Tenant) -> Project:
    """A project of a team that nobody of these tests is in."""
    team = Team.objects.create(organization=alice.organization, name="Letters")
    return Project.objects.create(organization=alice.organization, team=team, name="Words", slug="words")


def person(tenant: Tenant, role: str, name: str = "") -> User:
    user = User.objects.create_user(f"{name or f'the-{role}'}@alice.example")
    Membership.objects.create(organization=tenant.organization, user=user, role=role)
    return user


def test_the_page_says_what_the_code_does():
    """Every capability has a line, and each cell of it is what the role may."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    found = {}
    for line in lines:
        name, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        found[re.match(r"`(\w+)`", name)[1]] = cells
    expected = {}
    for capability in Capability:
        cells = ["–" if capability not in CAPABILITIES[role] else "yes" for role in Role]
        cells = [
            "own teams" if role == Role.MEMBER and cell == "yes" else cell
            for role, cell in zip(Role, cells, strict=False)
        ]
        expected[capability.value] = [*cells, "own teams" if capability in OF_LEADS else "–"]
    assert found == expected


@pytest.mark.parametrize("role", [role for role in Role if role != Role.MEMBER])
@pytest.mark.parametrize("capability", Capability)
def test_a_role_counts_in_all_of_its_organization_and_in_no_other(alice, bob, in_team, role, capability):
    user, may = person(alice, role), capability in CAPABILITIES[role]
    assert access.may(user, capability, alice.organization.pk) is may
    assert not access.may(user, capability, bob.organization.pk)
    assert set(access.projects(user, capability)) == ({alice.project, in_team} if may else set())
    assert list(access.teams(user, capability)) == ([in_team.team] if may else [])
    assert list(access.whole_organizations(user, capability)) == ([alice.organization] if may else [])
    assert (capability in access.anywhere(user)) is may


def test_a_member_works_in_their_teams_and_in_projects_of_no_team(alice, team, in_team, elsewhere):
    user = person(alice, Role.MEMBER)
    assert set(access.projects(user)) == {alice.project}
    team.members.add(user.memberships.get())
    assert set(access.projects(user, Capability.SUBMIT)) == {alice.project, in_team}
    assert list(access.teams(user)) == [team]
    assert not access.projects(user, Capability.SEE_SPEND).exists()
    assert not access.whole_organizations(user, Capability.SEE).exists()


@pytest.mark.parametrize("role", [Role.MEMBER, Role.VIEWER])
def test_a_lead_has_their_teams_beside_their_role(alice, team, in_team, elsewhere, role):
    user = person(alice, role)
    team.leads.add(user.memberships.get())
    assert list(access.projects(user, Capability.MANAGE_QUOTAS)) == [in_team]
    assert list(access.teams(user, Capability.MANAGE_QUOTAS)) == [team]
    assert not access.organizations(user, Capability.MANAGE_QUOTAS).exists()
    assert access.anywhere(user) == CAPABILITIES[role] | OF_LEADS
    assert not access.projects(user, Capability.MANAGE_KEYS).exists()


def test_who_has_no_place_may_nothing(alice):
    gone = person(alice, Role.OWNER, "gone")
    gone.is_active = False
    gone.save()
    for nobody in (gone, AnonymousUser(), User.objects.create_user("nobody@elsewhere.example")):
        assert not access.has_place(nobody)
        assert access.anywhere(nobody) == frozenset()
        for find in (access.organizations, access.teams, access.projects, access.whole_organizations):
            assert not find(nobody, Capability.SEE).exists()
        assert access.roles_to_give(nobody, alice.organization.pk) == []


def test_a_superuser_may_everything_and_staff_alone_nothing(alice, bob):
    root = User.objects.create_superuser("root@bursar.example")
    assert set(access.organizations(root, Capability.OWN)) == {alice.organization, bob.organization}
    assert access.roles_to_give(root, alice.organization.pk) == list(Role)
    staff = User.objects.create_user("staff@bursar.example", is_staff=True)
    assert access.has_place(staff)
    assert not access.organizations(staff).exists()


def test_nobody_gives_more_than_they_have(alice, bob):
    given = {role: set(access.roles_to_give(person(alice, role), alice.organization.pk)) for role in Role}
    assert given[Role.OWNER] == set(Role)
    assert given[Role.ADMIN] == set(Role) - {Role.OWNER}
    assert given[Role.BILLING] == given[Role.MEMBER] == given[Role.VIEWER] == set()
    assert access.roles_to_give(alice.owner, bob.organization.pk) == []
