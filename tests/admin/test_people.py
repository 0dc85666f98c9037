"""Users, organizations, teams and projects: e-mail sign-in, no climbing to superuser, pausing, and the standing."""

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from accounts.models import Membership, Organization, Payment, Project, Team, User

PROJECTS = reverse("admin:accounts_project_changelist")
GOOD_PASSWORD = "a long word for tests 1"


def user_page(user: User) -> str:
    return reverse("admin:accounts_user_change", args=[user.pk])


def test_sign_in_with_an_address_in_any_case(superuser: User):
    form = {"username": "ROOT@Bursar.example", "password": "a password for tests", "next": "/admin/"}
    assert Client().post(reverse("admin:login"), form).status_code == 302


def test_add_user(admin: Client):
    form = {
        "email": "Ada@Example.com",
        "usable_password": "true",
        "password1": GOOD_PASSWORD,
        "password2": GOOD_PASSWORD,
    }
    answer = admin.post(reverse("admin:accounts_user_add"), form)
    ada = User.objects.get(email="ada@example.com")
    assert answer.url == user_page(ada)
    assert ada.check_password(GOOD_PASSWORD)
    again = admin.post(reverse("admin:accounts_user_add"), {**form, "email": "ADA@example.com"})
    assert "already exists" in again.text


def test_password_page_opens(admin: Client, owner: User):
    assert admin.get(reverse("admin:auth_user_password_change", args=[owner.pk])).status_code == 200


def test_staff_do_not_climb(staff_with, owner: User, superuser: User):
    staff = staff_with("accounts.change_user", "accounts.view_user")
    memberships = {"memberships-TOTAL_FORMS": "0", "memberships-INITIAL_FORMS": "0"}
    form = {"email": owner.email, "is_active": "on", "is_staff": "on", "is_superuser": "on", **memberships}
    assert staff.post(user_page(owner), form).status_code == 302
    owner.refresh_from_db()
    assert not owner.is_superuser
    assert not owner.is_staff
    assert staff.post(user_page(superuser), form).status_code == 403
    assert staff.get(reverse("admin:auth_user_password_change", args=[superuser.pk])).status_code == 403


def test_pausing_takes_a_reason(admin: Client, superuser: User, project: Project):
    form = {"action": "pause", "_selected_action": [str(project.pk)], "reason": " "}
    assert "Nothing was paused" in admin.post(PROJECTS, form, follow=True).text
    project.refresh_from_db()
    assert project.paused_at is None
    assert "1 paused" in admin.post(PROJECTS, {**form, "reason": "spends too fast"}, follow=True).text
    project.refresh_from_db()
    assert project.paused_at is not None
    assert project.paused_reason == "spends too fast"
    assert LogEntry.objects.get(object_id=str(project.pk)).change_message == "Paused: spends too fast"
    admin.post(PROJECTS, {**form, "reason": "another reason"})
    project.refresh_from_db()
    assert project.paused_reason == "spends too fast", "the first reason stands"


def test_unpause(admin: Client, project: Project):
    chosen = {"_selected_action": [str(project.pk)]}
    admin.post(PROJECTS, {**chosen, "action": "pause", "reason": "spends too fast"})
    assert list(admin.get(PROJECTS, {"state": "paused"}).context["cl"].queryset) == [project]
    assert "1 unpaused" in admin.post(PROJECTS, {**chosen, "action": "unpause", "reason": ""}, follow=True).text
    project.refresh_from_db()
    assert (project.paused_at, project.paused_reason) == (None, "")


def test_project_stays_in_its_organization(admin: Client, project: Project, other_project: Project):
    form = {
        "organization": other_project.organization_id,
        "name": "renamed",
        "slug": "renamed",
        "provider_project_id": "",
        "dispatch_weight": 1,
        "doubt_policy": "hold",
        "doubt_patience_hours": 24,
        "content_retention_days": 30,
    }
    assert admin.post(reverse("admin:accounts_project_change", args=[project.pk]), form).status_code == 302
    organization = project.organization
    project.refresh_from_db()
    assert (project.name, project.organization) == ("renamed", organization)


def test_teams_do_not_cross_organizations(admin: Client, project: Project, other_project: Project):
    strange = Team.objects.create(organization=other_project.organization, name="Strangers")
    form = {"name": "x", "slug": "x", "provider_project_id": "", "dispatch_weight": 1, "team": strange.pk}
    assert "same organization" in admin.post(reverse("admin:accounts_project_change", args=[project.pk]), form).text
    member = Membership.objects.get(organization=other_project.organization)
    form = {"organization": project.organization_id, "name": "Numbers", "members": [member.pk]}
    assert "same organization" in admin.post(reverse("admin:accounts_team_add"), form).text
    assert not Team.objects.filter(name="Numbers").exists()


def organization_page(admin: Client, organization: Organization) -> str:
    return admin.get(reverse("admin:accounts_organization_change", args=[organization.pk])).text


def test_standing_in_words(admin: Client, organization: Organization):
    page = organization_page(admin, organization)
    assert "Tier 5: up to $50,000.00 a month." in page
    assert "$1,000.00 paid, 40 days since the first payment." in page
    assert "There is no higher tier." in page
    Payment.objects.filter(organization=organization).update(amount_usd=60)
    page = organization_page(admin, organization)
    assert "Tier 2: up to $500.00 a month." in page
    assert "Tier 3 takes $40.00 more in payments." in page


def test_choices_name_the_organization(admin: Client, project: Project, other_project: Project):
    asked = {"app_label": "billing", "model_name": "quota", "field_name": "project", "term": "research"}
    found = admin.get(reverse("admin:autocomplete"), asked).json()["results"]
    assert [one["text"] for one in found] == ["Alice: Alice research", "Bob: Bob research"]


@pytest.mark.parametrize("name", ["organization", "project"])
def test_links_to_spend(admin: Client, organization: Organization, project: Project, name):
    row = organization if name == "organization" else project
    page = admin.get(reverse(f"admin:accounts_{name}_change", args=[row.pk])).text
    spend = reverse("admin:dashboard", args=[organization.pk])
    assert f'href="{spend}"' in page or f'href="{spend}?project={project.pk}"' in page


def test_a_team_is_led_by_people_of_its_own_organization(admin: Client, alice, bob):
    team = Team.objects.create(organization=alice.organization, name="Vision")
    mine, theirs = (Membership.objects.get(user=tenant.owner) for tenant in (alice, bob))
    url = reverse("admin:accounts_team_change", args=[team.pk])
    assert "Choose from the same organization" in admin.post(url, {"name": "Vision", "leads": [theirs.pk]}).text
    assert not team.leads.exists()
    admin.post(url, {"name": "Vision", "leads": [mine.pk]})
    assert list(team.leads.all()) == [mine]
