"""The pages of quotas, as superusers, leads, members and strangers see them."""

from dataclasses import replace
from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.audit import SERVICE
from accounts.models import ApiKey, Membership, Project, Role, Team, User
from billing import ledger
from billing.ledger import Likely
from billing.models import Budget, Quota, QuotaRequest
from billing.pricing import Tokens
from billing.quotas import asking, changes
from tests.admin.conftest import sign_in, spend
from tests.conftest import make_claim

D = Decimal


def person(organization, name: str, role: Role = Role.MEMBER) -> User:
    """Somebody whom the site lets in, and who has no permission of Django's."""
    user = User.objects.create_user(f"{name}@alice.example", "a password for tests", is_staff=True)
    Membership.objects.create(organization=organization, user=user, role=role)
    return user


@pytest.fixture
def team(organization, project) -> Team:
    team = Team.objects.create(organization=organization, name="Numbers")
    project.team = team
    project.save()
    return team


@pytest.fixture
def lead(organization, team) -> User:
    user = person(organization, "lea")
    team.leads.add(user.memberships.get())
    return user


@pytest.fixture
def quota(project, team) -> Quota:
    return changes.create(Quota(organization=project.organization, project=project, limit=D(5)), by=SERVICE)


def tree(organization) -> str:
    return reverse("admin:billing_quotas_organization", args=[organization.pk])


def page(quota: Quota) -> str:
    return reverse("admin:billing_quota_page", args=[quota.organization_id, quota.pk])


def test_the_tree_shows_every_level_and_says_what_binds_the_others(admin: Client, organization, project, quota, owner):
    spend(project)
    organization.projects.create(name="Plain", slug="plain")
    text = admin.get(tree(organization)).text
    for told in ("$50,000.00", "Alice research", "$5.00", "$0.077385", "Numbers", "owner@alice.example"):
        assert told in text, told
    assert "No quota of its own: bound by the usage tier’s $50,000.00 a month." in text
    assert "1 project without a quota: bound by the usage tier’s $50,000.00 a month." in text
    assert "1 key without a quota: bound by Alice research’s $5.00 a month." in text


def test_the_tree_costs_as_many_queries_with_two_hundred_projects(admin: Client, organization, project, quota, owner):
    def count() -> int:
        admin.get(tree(organization))
        with CaptureQueriesContext(connection) as captured:
            assert admin.get(tree(organization)).status_code == 200
        return len(captured)

    few = count()
    projects = Project.objects.bulk_create(
        Project(organization=organization, name=f"P{n}", slug=f"p{n}") for n in range(200)
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO accounts_apikey (id, project_id, name, prefix, secret_hash, created_by_id, created_at) "
            "SELECT gen_random_uuid(), project.id, 'k', 'bk', project.slug || ' ' || n, %s, now() "
            "FROM accounts_project project, generate_series(1, 50) n WHERE project.id = ANY(%s)",
            [owner.pk, [each.pk for each in projects]],
        )
    keys = [ApiKey.objects.filter(project=each)[0] for each in projects[:50]]
    Quota.objects.bulk_create(
        [Quota(organization=organization, project=each, limit=D(9)) for each in projects[:50]]
        + [Quota(organization=organization, scope="key", api_key=key, limit=D(9)) for key in keys]
    )
    Quota.objects.update(created_at="2020-01-01T00:00:00Z")  # as made long ago: nothing was used in this window
    # The history of keys is read by a query of its own.
    assert count() == few + 1 <= 40
    text = admin.get(tree(organization), {"sort": "full"}).text
    assert "150 projects with 7,500 keys without a quota" in text
    assert "49 keys without a quota: bound by P0’s $9.00 a month." in text


def test_a_limit_is_changed_in_place_after_what_it_would_have_refused_was_seen(admin: Client, organization, quota):
    form = {"limit": "9", "is_hard": "on", "expires_at": "", "act": "save"}
    assert admin.post(page(quota), form).status_code == 302
    assert Budget.objects.get(quota=quota).limit == 9
    answer = admin.post(page(quota), {**form, "limit": "3", "act": "preview"})
    assert "None of its 0 calls would have been refused or delayed" in answer.text
    quota.refresh_from_db()
    assert quota.limit == 9
    assert "Enter a number" in admin.post(page(quota), {**form, "limit": "much"}).text


def test_a_quota_is_added_and_ended(admin: Client, organization, team):
    url = reverse("admin:billing_quota_new", args=[organization.pk]) + f"?scope=team&owner={team.pk}"
    assert "Numbers" in admin.get(url).text
    form = {"measure": "usd", "window": "month", "limit": "7.5", "is_hard": "on", "act": "save"}
    wrong = admin.post(url, {**form, "window": "fixed"})
    assert "set both" in wrong.text
    assert admin.post(url, form).status_code == 302
    quota = Quota.objects.get()
    assert (quota.team, quota.limit) == (team, D("7.5"))
    assert admin.post(page(quota), {"act": "end"}).status_code == 302
    assert not Quota.objects.exists()


def test_a_member_asks_and_a_lead_approves(organization, project, team, quota, lead):
    user = person(organization, "mia")
    team.members.add(user.memberships.get())
    member, leads = sign_in(user), sign_in(lead)
    text = member.get(page(quota)).text
    assert "Ask for more" in text
    assert "Change it" not in text
    assert member.post(page(quota), {"act": "save", "limit": "99"}).status_code == 403
    assert member.post(page(quota), {"act": "ask", "amount": "3", "reason": "the evaluation"}).status_code == 302
    asked = QuotaRequest.objects.get()
    url = reverse("admin:billing_quota_requests", args=[organization.pk])
    assert "Approve" not in member.get(url).text
    assert "1 pending" in leads.get(tree(organization)).text
    decision = {"request": str(asked.pk), "act": "approve", "amount": "2", "note": "two will do"}
    assert "managed by others" in member.post(url, decision).text
    assert leads.post(url, decision).status_code == 302
    assert Budget.objects.get(quota=quota).limit == 7
    assert "raised by $2.00" in member.get(page(quota)).text
    assert "decided, withdrawn or has expired" in leads.post(url, {**decision, "act": "refuse"}).text
    assert leads.post(url, {**decision, "act": "end"}).status_code == 302
    assert Budget.objects.get(quota=quota).limit == 5


def test_what_one_may_not_see_is_not_there(admin: Client, organization, project, quota, lead, bob):
    above = Quota(organization=organization, scope="organization", limit=D(9))
    changes.create(above, by=SERVICE)
    asked = asking.ask(above, D(1), reason="x", asked_by=lead, by=SERVICE)
    stranger = sign_in(person(bob.organization, "sly", Role.ADMIN))
    requests = reverse("admin:billing_quota_requests", args=[organization.pk])
    new = reverse("admin:billing_quota_new", args=[organization.pk]) + "?scope=organization"
    for url in (tree(organization), page(quota), requests, new):
        assert stranger.get(url).status_code == 404, url
        assert Client().get(url).status_code == 302, url
    crossed = reverse("admin:billing_quota_page", args=[bob.organization.pk, quota.pk])
    assert stranger.get(crossed).status_code == 404
    leads = sign_in(lead)
    assert leads.get(new).status_code == 403
    assert leads.post(page(above), {"act": "end"}).status_code == 403
    decision = {"request": str(asked.pk), "act": "approve"}
    assert "managed by others" in leads.post(requests, decision).text
    assert Budget.objects.get(quota=above).limit == 9


def test_a_reserve_is_the_organizations_and_says_what_became_of_calls(admin: Client, organization, team, project):
    new = reverse("admin:billing_quota_new", args=[organization.pk])
    assert "reserve" not in admin.get(f"{new}?scope=team&owner={team.pk}").text.lower()
    url = f"{new}?scope=organization"
    assert "US dollars of reserve" in admin.get(url).text
    form = {"measure": "reserve_usd", "window": "month", "limit": "5", "is_hard": "on", "act": "save"}
    assert "says its risk" in admin.post(url, form).text
    assert admin.post(url, {**form, "risk": "0.01"}).status_code == 302
    reserve = Quota.objects.get()
    text = admin.get(page(reserve)).text
    assert "US dollars of reserve, risk 1 %" in text
    assert "No call was held with its help" in text
    Quota.objects.create(organization=organization, project=project, limit=D(1))
    claim = replace(make_claim(project, "1.5"), likely=Likely(D("0.1"), D("0.01")))
    with transaction.atomic():
        ledger.reserve([claim])
        ledger.settle(claim.reference, Tokens(0, 0, 20_000, 0), snapshot="o1-preview")
    text = admin.get(page(reserve)).text
    assert "1 call was held at the likely cost" in text
    assert "The reserve paid $1.10" in text
    assert "bound by Alice’s $5.00" not in admin.get(tree(organization)).text
    assert admin.post(page(reserve), {"limit": "5", "risk": "0.05", "is_hard": "on", "act": "save"}).status_code == 302
    reserve.refresh_from_db()
    assert reserve.risk == D("0.05")
