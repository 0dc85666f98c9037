"""Members manage members: by e-mail address, no higher than themselves, and never without an owner."""

import re
from urllib.parse import urlsplit

import pytest
from django.core import mail
from django.test import Client
from django.urls import reverse

from accounts import memberships
from accounts.models import Membership, Role, Team, User
from tests.admin.conftest import sign_in
from tests.conftest import Tenant

ADD = reverse("admin:accounts_membership_add")


def join(tenant: Tenant, role: str, name: str = "") -> Membership:
    user = User.objects.create_user(f"{name or f'the-{role}'}@alice.example")
    return Membership.objects.create(organization=tenant.organization, user=user, role=role)


def page(membership: Membership, name: str = "change") -> str:
    return reverse(f"admin:accounts_membership_{name}", args=[membership.pk])


def invite(client: Client, tenant: Tenant, email: str, role: str):
    form = {"organization": tenant.organization.pk, "email": email, "role": role}
    return client.post(ADD, form)


def test_somebody_new_is_invited_by_mail_and_sets_a_password(alice: Tenant, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        assert invite(sign_in(alice.owner), alice, "Ada@Example.com", "billing").status_code == 302
    ada = User.objects.get(email="ada@example.com")
    assert ada.memberships.get().role == Role.BILLING
    assert not ada.has_usable_password()
    (sent,) = mail.outbox
    assert sent.to == ["ada@example.com"]
    assert "Alice" in sent.subject
    link = urlsplit(re.search(r"https?://\S+/admin/reset/\S+", sent.body)[0]).path
    browser = Client()
    form_page = browser.get(link, follow=True)
    answer = browser.post(
        form_page.request["PATH_INFO"], {"new_password1": "a long word 17", "new_password2": "a long word 17"}
    )
    assert answer.status_code == 302
    ada.refresh_from_db()
    assert ada.check_password("a long word 17")


def test_somebody_who_is_here_already_is_added_and_told_nothing(alice: Tenant, bob: Tenant):
    answer = invite(sign_in(alice.owner), alice, bob.owner.email, "viewer")
    assert answer.status_code == 302
    assert Membership.objects.filter(user=bob.owner).count() == 2
    assert mail.outbox == []
    again = invite(sign_in(alice.owner), alice, bob.owner.email, "admin")
    assert "is a member already" in again.text


def test_only_an_owner_makes_owners(alice: Tenant):
    admin, viewer = join(alice, Role.ADMIN), join(alice, Role.VIEWER)
    client = sign_in(admin.user)
    assert "may not give this role" in invite(client, alice, "ada@example.com", "owner").text
    for membership in (admin, viewer):
        assert client.post(page(membership), {"role": "owner"}).status_code == 200
        membership.refresh_from_db()
        assert membership.role != Role.OWNER
    assert client.post(page(viewer), {"role": "admin"}).status_code == 302
    owners = Membership.objects.get(user=alice.owner)
    assert client.post(page(owners), {"role": "viewer"}).status_code == 403
    assert client.post(page(owners, "delete"), {"post": "yes"}).status_code == 403
    assert sign_in(alice.owner).post(page(viewer), {"role": "owner"}).status_code == 302
    viewer.refresh_from_db()
    assert viewer.role == Role.OWNER


@pytest.mark.parametrize("role", [Role.BILLING, Role.MEMBER, Role.VIEWER])
def test_others_see_who_is_there_and_change_nothing(alice: Tenant, role):
    mine = join(alice, role)
    client = sign_in(mine.user)
    assert client.get(page(mine)).status_code == 200
    assert client.post(page(mine), {"role": "admin"}).status_code == 403
    assert invite(client, alice, "ada@example.com", "viewer").status_code == 403
    assert client.get(reverse("admin:accounts_user_changelist")).status_code == 403


@pytest.mark.parametrize("who", ["owner", "superuser"])
def test_the_last_owner_stays(alice: Tenant, superuser: User, who):
    client = sign_in(alice.owner if who == "owner" else superuser)
    last = Membership.objects.get(user=alice.owner)
    form = {"role": "viewer", "user": alice.owner.pk, "organization": alice.organization.pk}
    assert "one owner at least" in client.post(page(last), form).text
    assert client.post(page(last, "delete"), {"post": "yes"}).status_code == 403
    second = join(alice, Role.OWNER)
    chosen = {"action": "delete_selected", "_selected_action": [last.pk, second.pk], "post": "yes"}
    assert client.post(reverse("admin:accounts_membership_changelist"), chosen).status_code == 403
    assert Membership.objects.filter(organization=alice.organization, role=Role.OWNER).count() == 2
    assert client.post(page(second, "delete"), {"post": "yes"}).status_code == 302


def test_nobody_is_left_without_an_owner(alice: Tenant):
    memberships.lock_owners([alice.organization.pk])
    memberships.require_owners([alice.organization.pk])
    Membership.objects.filter(user=alice.owner).delete()
    with pytest.raises(memberships.LastOwner):
        memberships.require_owners([alice.organization.pk])


def test_the_lead_of_a_team_is_of_its_organization(admin: Client, alice: Tenant, bob: Tenant):
    theirs = Membership.objects.get(user=bob.owner)
    form = {"organization": alice.organization.pk, "name": "Numbers", "leads": [theirs.pk]}
    assert "Choose from the same organization" in admin.post(reverse("admin:accounts_team_add"), form).text
    assert not Team.objects.exists()


def test_a_lead_sets_quotas_of_their_team_alone(alice: Tenant):
    team = Team.objects.create(organization=alice.organization, name="Numbers")
    other = Team.objects.create(organization=alice.organization, name="Letters")
    lead = join(alice, Role.MEMBER)
    team.leads.add(lead)
    client = sign_in(lead.user)
    quota = {"measure": "usd", "window": "month", "limit": "5", "is_hard": "on", "model": ""}
    form = {**quota, "organization": alice.organization.pk}
    add = reverse("admin:billing_quota_add")
    assert client.post(add, {**form, "scope": "team", "team": other.pk}).status_code == 200
    assert client.post(add, {**form, "scope": "organization"}).status_code == 403
    assert not alice.organization.quotas.exists()
    assert client.post(add, {**form, "scope": "team", "team": team.pk}).status_code == 302
    assert alice.organization.quotas.get().team == team
