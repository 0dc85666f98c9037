"""Who sees what of an organization's dashboard; and that the rest does not exist for them."""

import pytest
from django.test import Client
from django.urls import reverse
from uuid_utils.compat import uuid7

from accounts.models import Membership, Organization, Project, Role, Team, User
from tests.admin.conftest import make_job, sign_in, spend
from tests.conftest import Tenant

PAGES = ("dashboard", "dashboard_change", "dashboard_live")


def member(organization: Organization, role: Role) -> tuple[Client, Membership]:
    user = User.objects.create_user(f"{role}-{uuid7()}@bursar.example", "a password for tests", is_staff=True)
    return sign_in(user), Membership.objects.create(organization=organization, user=user, role=role)


def urls_of(organization: Organization) -> list[str]:
    return [
        *(reverse(f"admin:{name}", args=[organization.pk]) for name in PAGES),
        *(reverse("admin:dashboard_csv", args=[organization.pk, table]) for table in ("days", "parts", "change")),
    ]


@pytest.mark.parametrize("role", [Role.OWNER, Role.ADMIN, Role.BILLING, Role.VIEWER])
def test_roles_that_see_spend_see_their_organization_alone(alice: Tenant, bob: Tenant, role):
    spend(alice.project)
    spend(bob.project)
    browser, _ = member(alice.organization, role)
    landed = browser.get(reverse("admin:index"), follow=True)
    assert landed.redirect_chain[0][0] == reverse("admin:dashboard", args=[alice.organization.pk])
    assert landed.context["daily"].total.totals["calls"] == 1
    assert landed.context["fill"] is not None
    assert "Bob" not in landed.text
    for url in urls_of(alice.organization):
        assert browser.get(url).status_code == 200, url
    for url in [*urls_of(bob.organization), *urls_of(Organization(pk=uuid7()))]:
        assert browser.get(url).status_code == 404, url
    url = urls_of(alice.organization)[0]
    assert browser.get(url, {"project": str(bob.project.pk)}).status_code == 404
    assert browser.get(url, {"member": str(bob.owner.pk)}).status_code == 404
    assert [one.name for one, _ in browser.get(reverse("admin:organizations")).context["owned"]] == ["Alice"]


def test_member_sees_limits_and_waiting_of_their_teams(alice: Tenant):
    theirs, ours = (Team.objects.create(organization=alice.organization, name=name) for name in ("Theirs", "Ours"))
    hidden = Project.objects.create(organization=alice.organization, name="Concealed", slug="concealed", team=theirs)
    seen = Project.objects.create(organization=alice.organization, name="Seen", slug="seen", team=ours)
    for project in (hidden, seen):
        spend(project)
        make_job(project, alice.owner)
    browser, membership = member(alice.organization, Role.MEMBER)
    ours.members.add(membership)
    answer = browser.get(urls_of(alice.organization)[0])
    assert {one.owner.name for one in answer.context["projects"]} == {"Alice research", "Seen"}
    assert [line["project"] for line in answer.context["waiting"]["lines"]] == ["Seen"]
    assert answer.context["fill"] is None
    for secret in ("Concealed", "Dearest jobs", "Drift", "Why did it change"):
        assert secret not in answer.text, secret
    statuses = [browser.get(url).status_code for url in urls_of(alice.organization)]
    assert statuses == [200, 404, 200, 404, 404, 404]
    assert browser.get(urls_of(alice.organization)[0], {"project": str(hidden.pk)}).status_code == 404
    ((_, fill),) = browser.get(reverse("admin:organizations")).context["owned"]
    assert fill is None


def test_lead_sees_the_money_of_their_team(alice: Tenant):
    team = Team.objects.create(organization=alice.organization, name="Ours")
    led = Project.objects.create(organization=alice.organization, name="Led", slug="led", team=team)
    record = spend(led)
    spend(alice.project)
    browser, membership = member(alice.organization, Role.MEMBER)
    team.leads.add(membership)
    for split in ("project", "model", "member", "kind", "team"):
        for period in ("this_month", "30d"):
            answer = browser.get(urls_of(alice.organization)[0], {"split": split, "period": period})
            assert answer.context["daily"].total.total_usd == record.total_usd
            assert len(answer.context["dearest"]) == 1
    assert [label for _, label, _ in answer.context["choices"]["project"]] == ["Led"]
    assert answer.context["fill"] is None
    changed = browser.get(reverse("admin:dashboard_change", args=[alice.organization.pk]))
    assert [one.label for one in changed.context["changes"]] == ["Led"]
    text = browser.get(reverse("admin:dashboard_csv", args=[alice.organization.pk, "parts"])).text
    assert "Led" in text
    assert "Alice research" not in text
    query = {"project": str(alice.project.pk)}
    assert browser.get(urls_of(alice.organization)[0], query).status_code == 404


def test_staff_by_permission(staff_with, alice: Tenant, bob: Tenant):
    spend(bob.project)
    allowed, other = staff_with("billing.view_spendrollup"), staff_with("billing.view_price")
    for organization in (alice.organization, bob.organization):
        assert {allowed.get(url).status_code for url in urls_of(organization)} == {200}
        assert {other.get(url).status_code for url in urls_of(organization)} == {404}
    assert "Alice" in allowed.get(reverse("admin:index")).text
    index = other.get(reverse("admin:index"))
    assert index.status_code == 200
    assert "Alice" not in index.text
    assert reverse("admin:organizations") not in index.text


def test_strangers_are_asked_to_sign_in(alice: Tenant):
    for url in [*urls_of(alice.organization), reverse("admin:organizations"), reverse("admin:tables")]:
        assert Client().get(url).status_code == 302, url
