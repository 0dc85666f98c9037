"""`GET /spend` and `/spend/export` with plain keys and management keys: whose spend each may see."""

import csv
import io

import pytest
from rest_framework.test import APIClient

from accounts import api_keys
from accounts.models import AuditEntry, Membership, Role, Team, User
from tests.admin.conftest import spend

EXPORT = "/api/v1/spend/export"


@pytest.fixture
def key_of(organization, project):
    """A client with a management key of Alice's project, made by somebody of a role."""

    def make(role: Role, *, leads: Team | None = None) -> APIClient:
        user = User.objects.create_user(f"a-{role}@alice.example", "a password")
        membership = Membership.objects.create(organization=organization, user=user, role=role)
        if leads:
            leads.leads.add(membership)
        issued = api_keys.issue(project, name="management", created_by=user)
        type(issued.api_key).objects.filter(pk=issued.api_key.pk).update(may_manage=True)
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {issued.secret}")
        return client

    return make


@pytest.fixture
def team(organization) -> Team:
    return Team.objects.create(organization=organization, name="Numbers")


@pytest.fixture
def spent(project, organization, team, other_project):
    """Three projects of Alice's, one of a team, and one of Bob's."""
    sibling = organization.projects.create(name="Sibling", slug="sibling")
    led = organization.projects.create(name="Led", slug="led", team=team)
    for one in (project, sibling, led, other_project):
        spend(one)
    return {"research": project, "sibling": sibling, "led": led, "bob": other_project}


def projects_in(client: APIClient, **query) -> set[str]:
    answer = client.get("/api/v1/spend", {"group_by": "project", **query})
    assert answer.status_code == 200, answer.json()
    listed = {line["project"]["name"] for line in answer.json()["data"]}
    exported = {row["project"] for row in rows_of(client, **query)}
    assert listed == exported
    return listed


def rows_of(client: APIClient, **query) -> list[dict[str, str]]:
    answer = client.get(EXPORT, query)
    assert answer.status_code == 200, answer.content
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.getvalue().decode(), newline="")))


def test_a_plain_key_sees_its_project(client, spent):
    assert projects_in(client) == {"Alice research"}
    assert projects_in(client, project=str(spent["sibling"].pk)) == set()


def test_a_management_key_sees_what_its_maker_may(key_of, spent, team):
    everything = {"Alice research", "Sibling", "Led"}
    for role in (Role.OWNER, Role.ADMIN, Role.BILLING, Role.VIEWER):
        assert projects_in(key_of(role)) == everything
    assert projects_in(key_of(Role.MEMBER, leads=team)) == {"Alice research", "Led"}


def test_filters(key_of, spent, team):
    client = key_of(Role.BILLING)
    assert projects_in(client, project=f"{spent['led'].pk},{spent['sibling'].pk}") == {"Led", "Sibling"}
    assert projects_in(client, team=str(team.pk)) == {"Led"}
    assert projects_in(client, model="gpt-4o") == set()
    assert projects_in(client, project=str(spent["bob"].pk)) == set()
    assert projects_in(client, member="9") == set()
    for query in ({"member": "x"}, {"project": "x"}, {"format": "xls"}, {"from": "2026-02-01", "to": "2026-02-01"}):
        assert client.get(EXPORT, query).status_code == 400, query


def test_a_key_whose_maker_lost_the_role_sees_its_project(key_of, spent):
    client = key_of(Role.BILLING)
    Membership.objects.filter(user__email="a-billing@alice.example").update(role=Role.MEMBER)
    assert projects_in(client) == {"Alice research"}


@pytest.mark.parametrize("form", ["csv", "parquet", "focus", "focus-parquet"])
def test_every_format_and_its_word_in_the_audit_trail(key_of, spent, form):
    answer = key_of(Role.BILLING).get(EXPORT, {"format": form})
    content = answer.getvalue()
    assert content.startswith({"csv": b"kind,id", "focus": b"BilledCost,"}.get(form, b"PAR1"))
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.subject_type, entry.after["format"]) == ("exported", "spend", form)
    assert entry.api_key.name == "management"
