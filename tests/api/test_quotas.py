"""Quotas and requests for more over REST: who may, what is said, and that it is done once."""

from decimal import Decimal
from types import SimpleNamespace

import pytest
from rest_framework.test import APIClient

from accounts import api_keys
from accounts.audit import SERVICE
from accounts.models import ApiKey, AuditEntry, Membership, Role, Team, User
from billing.api.quotas import examples
from billing.models import Budget, Quota
from billing.quotas import changes

BASE = "/api/v1/quotas"
ASKS = "/api/v1/quota-requests"


def key_of(project, user, *, may_manage: bool) -> APIClient:
    issued = api_keys.issue(project, name=f"of {user}", created_by=user)
    ApiKey.objects.filter(pk=issued.api_key.pk).update(may_manage=may_manage)
    client = APIClient(raise_request_exception=False)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {issued.secret}")
    return client


@pytest.fixture
def cast(project, organization, owner):
    """A team with the project, its lead and a member, an admin and a viewer, each with a key of their own."""
    team = Team.objects.create(organization=organization, name="Numbers")
    project.team = team
    project.save()
    found = {"team": team, "owner": key_of(project, owner, may_manage=True)}
    for name, role in (("lead", "member"), ("member", "member"), ("admin", "admin"), ("viewer", "viewer")):
        user = User.objects.create_user(f"{name}@alice.example")
        membership = Membership.objects.create(organization=organization, user=user, role=Role(role))
        if role == "member":
            team.members.add(membership)
        if name == "lead":
            team.leads.add(membership)
        found[name] = key_of(project, user, may_manage=True)
        found[f"plain_{name}"] = key_of(project, user, may_manage=False)
    return SimpleNamespace(**found)


@pytest.fixture
def quota(project) -> Quota:
    return changes.create(Quota(organization=project.organization, project=project, limit=Decimal(5)), by=SERVICE)


def of_project(project, **more) -> dict:
    return {"scope": "project", "owner_id": str(project.pk), "limit": "5", **more}


def code(response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def test_a_quota_is_made_looked_at_changed_and_ended(cast, project):
    made = cast.admin.post(BASE, of_project(project, window="week"), format="json")
    assert made.status_code == 201, made.content
    body = made.json()
    assert body.keys() == examples.QUOTA.keys()
    assert (body["limit"], body["remaining"], body["owner"]["name"]) == ("5.00", "5.00", "Alice research")
    one = f"{BASE}/{body['id']}"
    changed = cast.lead.patch(one, {"limit": 0.000000000001}, format="json")
    assert changed.json()["limit"] == "0.000000000001"
    assert cast.plain_member.get(one).json() == changed.json()
    assert [row["id"] for row in cast.plain_member.get(BASE).json()["data"]] == [body["id"]]
    assert cast.admin.delete(one).status_code == 204
    assert cast.admin.get(one).status_code == 404
    by_key = AuditEntry.objects.filter(subject_type="quota", api_key__isnull=False)
    assert [entry.action for entry in by_key.order_by("id")] == ["created", "updated", "deleted"]


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        ("plain_admin", (403, "not_a_management_key")),
        ("viewer", (403, "not_allowed")),
        ("member", (403, "not_allowed")),
    ],
)
def test_a_key_that_may_not_manage_and_a_role_that_may_not_are_told_apart(cast, project, quota, client, expected):
    sender = getattr(cast, client)
    one = f"{BASE}/{quota.pk}"
    assert code(sender.post(BASE, of_project(project), format="json")) == expected
    assert code(sender.patch(one, {"limit": "9"}, format="json")) == expected
    assert code(sender.delete(one)) == expected
    assert code(sender.post(f"{BASE}/preview", {"quota": str(quota.pk), "limit": "1"}, format="json")) == expected
    assert Quota.objects.get().limit == 5


def test_a_lead_makes_quotas_within_the_team_alone(cast, project, organization):
    assert cast.lead.post(BASE, of_project(project), format="json").status_code == 201
    assert (
        cast.lead.post(BASE, {"scope": "team", "owner_id": str(cast.team.pk), "limit": "9"}, format="json").status_code
        == 201
    )
    above = cast.lead.post(BASE, {"scope": "organization", "limit": "9"}, format="json")
    assert code(above) == (403, "not_allowed")
    other = Team.objects.create(organization=organization, name="Letters")
    hidden = organization.projects.create(name="Hidden", slug="hidden", team=other)
    unseen = cast.lead.post(BASE, of_project(hidden), format="json").json()
    unknown = cast.lead.post(
        BASE, of_project(SimpleNamespace(pk="0190b0a6-0000-7000-8000-000000000000")), format="json"
    ).json()
    assert unseen["errors"] == unknown["errors"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"limit": "five"}, "#/limit"),
        ({"limit": True}, "#/limit"),
        ({"limit": "-1"}, "#/limit"),
        ({"limit": -1}, "#/limit"),
        ({"limit": "0.0000000000001"}, "#/limit"),
        ({"limit": "1.5", "measure": "jobs"}, "#/limit"),
        ({"limit": None}, "#/limit"),
        ({"lmit": "1"}, "#/lmit"),
        ({"owner_id": "x"}, "#/owner_id"),
        ({"model": "o1-previw"}, "#/model"),
        ({"window": "fixed"}, "#/window"),
        ({"window": "year"}, "#/window"),
        ({"is_hard": "yes"}, "#/is_hard"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "#/expires_at"),
        ({"expires_at": "2999-01-01T00:00:00"}, "#/expires_at"),
    ],
)
def test_what_is_wrong_is_said_by_field(cast, project, body, pointer):
    response = cast.admin.post(BASE, of_project(project, **body), format="json")
    assert code(response) == (400, "invalid_request")
    assert pointer in [error["pointer"] for error in response.json()["errors"]]
    assert not Quota.objects.exists()


def test_amounts_stay_exact_to_the_last_digit(cast, project):
    text = b'{"scope":"project","owner_id":"%s","limit":99999999999.123456789012}' % str(project.pk).encode()
    made = cast.admin.post(BASE, text, content_type="application/json")
    assert made.json()["limit"] == "99999999999.123456789012"
    assert Quota.objects.get().limit == Decimal("99999999999.123456789012")


def test_a_quota_is_made_once_under_its_key(cast, project):
    sent = [
        cast.admin.post(BASE, of_project(project), format="json", headers={"Idempotency-Key": "once"}) for _ in range(2)
    ]
    assert sent[0].content == sent[1].content
    assert sent[1]["Idempotent-Replayed"] == "true"
    assert Quota.objects.count() == 1
    other = cast.admin.post(BASE, of_project(project, limit="6"), format="json", headers={"Idempotency-Key": "once"})
    assert code(other) == (422, "idempotency_key_reused")


def test_a_plain_key_sees_what_binds_it_and_no_more(cast, project, organization, owner, quota):
    sibling = organization.projects.create(name="Sibling", slug="sibling")
    other = changes.create(Quota(organization=organization, project=sibling, limit=Decimal(1)), by=SERVICE)
    of_owner = Quota(organization=organization, scope="member", member=owner, limit=Decimal(1))
    changes.create(of_owner, by=SERVICE)
    assert [row["id"] for row in cast.plain_member.get(BASE).json()["data"]] == [str(quota.pk)]
    assert cast.plain_member.get(f"{BASE}/{other.pk}").status_code == 404
    assert len(cast.owner.get(BASE).json()["data"]) == 3
    assert [row["scope"] for row in cast.owner.get(f"{BASE}?scope=member").json()["data"]] == ["member"]


def test_pages_follow_each_other(cast, project):
    for _ in range(5):
        cast.admin.post(BASE, of_project(project), format="json")
    seen, url = [], f"{BASE}?limit=2"
    while url:
        page = cast.admin.get(url).json()
        seen += [row["id"] for row in page["data"]]
        url = page["next"]
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == 5


# --- Requests ---------------------------------------------------------------------------------------------------------
def test_a_member_asks_and_a_lead_approves_another_amount(cast, quota):
    asked = cast.plain_member.post(ASKS, {"scope": "project", "amount": "3", "reason": "more"}, format="json")
    assert asked.status_code == 201, asked.content
    body = asked.json()
    assert body.keys() == examples.REQUEST.keys()
    assert (body["status"], body["amount"], body["quota"]["id"]) == ("pending", "3.00", str(quota.pk))
    one = f"{ASKS}/{body['id']}"
    assert cast.plain_lead.get(one).status_code == 404  # not theirs, and the key manages nothing
    assert code(cast.plain_lead.post(f"{one}/approve")) == (403, "not_a_management_key")
    assert code(cast.member.post(f"{one}/approve")) == (403, "not_allowed")
    approved = cast.lead.post(f"{one}/approve", {"amount": "1.5", "note": "less"}, format="json").json()
    assert (approved["status"], approved["granted_amount"], approved["note"]) == ("approved", "1.50", "less")
    assert Budget.objects.get(quota=quota).limit == Decimal("6.5")
    assert code(cast.admin.post(f"{one}/refuse", {"note": "no"}, format="json")) == (409, "request_decided")
    seen = cast.plain_member.get(f"{BASE}/{quota.pk}").json()
    assert (seen["limit"], seen["raised_by"], seen["remaining"]) == ("5.00", "1.50", "6.50")
    assert [row["status"] for row in cast.plain_member.get(ASKS).json()["data"]] == ["approved"]


def test_a_request_is_refused_withdrawn_and_not_made_twice(cast, quota):
    def ask(client):
        return client.post(ASKS, {"quota": str(quota.pk), "amount": "3", "reason": "more"}, format="json")

    mine = ask(cast.plain_member).json()["id"]
    assert code(ask(cast.plain_member)) == (409, "already_asked")
    assert cast.plain_member.post(f"{ASKS}/{mine}/withdraw").json()["status"] == "withdrawn"
    again = ask(cast.plain_member).json()["id"]
    assert code(cast.admin.post(f"{ASKS}/{again}/refuse", {"note": ""}, format="json")) == (400, "invalid_request")
    refused = cast.admin.post(f"{ASKS}/{again}/refuse", {"note": "in October"}, format="json").json()
    assert (refused["status"], refused["note"]) == ("refused", "in October")
    own = ask(cast.plain_lead).json()["id"]
    assert code(cast.lead.post(f"{ASKS}/{own}/approve")) == (403, "own_request")
    assert code(cast.admin.post(f"{ASKS}/{own}/withdraw")) == (403, "not_allowed")
    assert code(ask(cast.plain_viewer)) == (403, "not_allowed")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"amount": "0"}, "#/amount"),
        ({"amount": "1", "until": "2999-01-01T00:00:00Z"}, "#/until"),
        ({"amount": "1", "scope": "project"}, "#/quota"),
        ({"amount": "1", "reason": " "}, "#/reason"),
    ],
)
def test_what_cannot_be_asked_for_is_said_by_field(cast, quota, body, pointer):
    sent = {"quota": str(quota.pk), "reason": "more", **body}
    response = cast.plain_member.post(ASKS, sent, format="json")
    assert code(response) == (400, "invalid_request")
    assert pointer in [error["pointer"] for error in response.json()["errors"]]


def test_a_level_without_a_quota_is_said(cast, quota):
    response = cast.plain_member.post(ASKS, {"scope": "key", "amount": "1", "reason": "more"}, format="json")
    assert "no quota" in response.json()["detail"]


def test_a_preview_writes_nothing(cast, project, quota):
    answer = cast.lead.post(f"{BASE}/preview", {"quota": str(quota.pk), "limit": "0.5"}, format="json")
    assert answer.status_code == 200, answer.content
    assert answer.json().keys() == examples.PREVIEW.keys()
    assert (answer.json()["calls"], answer.json()["refused"], answer.json()["first"]) == (0, 0, [])
    fixed = of_project(project, window="fixed")
    assert code(cast.admin.post(f"{BASE}/preview", fixed, format="json")) == (400, "invalid_request")
    assert Quota.objects.get().limit == 5


# --- Reserves ---------------------------------------------------------------------------------------------------------
RESERVE = {"scope": "organization", "measure": "reserve_usd", "limit": "50", "risk": "0.01"}


def test_a_reserve_is_made_with_its_risk_and_the_risk_is_changed(cast, organization):
    made = cast.admin.post(BASE, RESERVE, format="json")
    assert made.status_code == 201, made.content
    body = made.json()
    assert (body["measure"], body["risk"], body["remaining"]) == ("reserve_usd", "0.01", "50.00")
    assert body["forecast"]["prospect"] == "too_little_history"
    changed = cast.owner.patch(f"{BASE}/{body['id']}", {"risk": 0.05}, format="json")
    assert changed.json()["risk"] == "0.05"
    limits = cast.plain_member.get("/api/v1/limits").json()["budgets"]
    assert [one["remaining"] for one in limits if one["measure"] == "reserve_usd"] == ["50.00"]
    entry = AuditEntry.objects.filter(subject_type="quota").latest("id")
    assert (entry.before, entry.after) == ({"risk": "0.01"}, {"risk": "0.05"})


@pytest.mark.parametrize(
    ("changed", "pointer"),
    [
        ({"risk": None}, "#/risk"),
        ({"risk": "0.9"}, "#/risk"),
        ({"risk": True}, "#/risk"),
        ({"risk": "0.00001"}, "#/risk"),
        ({"measure": "usd"}, "#/risk"),
        ({"is_hard": False}, "#/is_hard"),
        ({"model": "o1-mini"}, "#/model"),
    ],
)
def test_what_is_wrong_with_a_reserve_is_said_by_field(cast, changed, pointer):
    refused = cast.admin.post(BASE, {**RESERVE, **changed}, format="json")
    assert refused.status_code == 400, refused.content
    assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]


def test_a_lead_makes_no_reserve(cast):
    assert code(cast.lead.post(BASE, RESERVE, format="json"))[0] == 403
