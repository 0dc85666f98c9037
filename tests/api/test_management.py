"""Managing an organization over the API: what is made, changed and removed, and what is refused with a reason."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts import api_keys
from accounts.models import ApiKey, AuditEntry, IdempotencyRecord, Membership, Project, Role, Team, User
from tests.api.managing import client_with, join, manager, manager_of, send


@pytest.fixture
def owners(alice):
    """A program of the owner."""
    return manager_of(alice, Role.OWNER)


def refused(response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def pointers(response) -> set[str]:
    return {error["pointer"] for error in response.json()["errors"]}


def latest() -> AuditEntry:
    return AuditEntry.objects.latest("at")


# --- Organization -----------------------------------------------------------------------------------------------------
def test_the_organization_with_its_standing(alice, owners, client):
    shown = send(owners, "GET", "organization").json()
    assert (shown["name"], shown["terms_on"]) == ("Alice", "2024-09-30")
    assert shown["tier"] == {
        "number": 5,
        "name": "Tier 5",
        "monthly_limit_usd": "50000.00",
        "is_override": False,
        "payments": {"paid_usd": "1000.00", "days_since_first_payment": 40},
        "next": None,
    }
    plain = client.get("/api/v1/organization").json()["tier"]
    assert (plain["name"], plain["payments"]) == ("Tier 5", None)
    assert send(owners, "PATCH", "organization", {"name": "Alice & Co"}).json()["name"] == "Alice & Co"
    assert pointers(send(owners, "PATCH", "organization", {"terms_on": None})) == {"#/terms_on"}
    entry = latest()
    assert (entry.action, entry.subject_type, entry.before, entry.after) == (
        "updated",
        "organization",
        {"name": "Alice"},
        {"name": "Alice & Co"},
    )
    assert (entry.actor, entry.api_key.name, entry.address) == (alice.owner, "automation", "127.0.0.1")
    assert entry.request_id


# --- Projects ---------------------------------------------------------------------------------------------------------
def test_a_project_is_made_changed_paused_and_unpaused(alice, owners):
    team = Team.objects.create(organization=alice.organization, name="Vision")
    made = send(owners, "POST", "projects", {"name": "Image search", "team": str(team.pk), "dispatch_weight": 300})
    project = made.json()
    assert (made.status_code, project["slug"], project["team"]) == (201, "image-search", str(team.pk))
    where = made["Location"].partition("/api/v1/")[2]
    assert send(owners, "GET", where).json() == project

    change: dict[str, Any] = {"name": "Image finder", "team": None, "doubt_policy": "rerun", "doubt_patience_hours": 5}
    change |= {"content_retention_days": 0, "may_batch_at_provider": True}
    change |= {"blocks_on_advice": ["small_cap"]}
    changed = send(owners, "PATCH", where, change).json()
    assert changed == {**project, **change}
    assert latest().before == {
        "name": "Image search",
        "team": str(team.pk),
        "doubt_policy": "hold",
        "doubt_patience_hours": 24,
        "content_retention_days": None,
        "may_batch_at_provider": False,
        "blocks_on_advice": [],
    }

    assert pointers(send(owners, "PATCH", where, {"paused": True})) == {"#/reason"}
    paused = send(owners, "PATCH", where, {"paused": True, "reason": "the bill"}).json()
    assert (paused["is_paused"], paused["paused_reason"]) == (True, "the bill")
    again = send(owners, "PATCH", where, {"paused": True, "reason": "still the bill"}).json()
    assert (again["paused_at"], again["paused_reason"]) == (paused["paused_at"], "still the bill")
    assert send(owners, "PATCH", where, {"paused": False}).json() == changed
    entries = AuditEntry.objects.count()
    assert send(owners, "PATCH", where, change).json() == changed
    assert AuditEntry.objects.count() == entries  # nothing changed


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, {"#/name"}),
        ({"name": " ", "slug": "x"}, {"#/name"}),
        ({"name": "x" * 201}, {"#/name"}),
        ({"name": 5}, {"#/name"}),
        ({"name": "Ä", "slug": "Ä"}, {"#/slug"}),
        ({"name": "検索"}, {"#/slug"}),
        ({"name": "x", "dispatch_weight": 0}, {"#/dispatch_weight"}),
        ({"name": "x", "dispatch_weight": True}, {"#/dispatch_weight"}),
        ({"name": "x", "doubt_policy": "forget"}, {"#/doubt_policy"}),
        ({"name": "x", "team": "x"}, {"#/team"}),
        ({"name": "x", "colour": "red", "size": 1}, {"#/colour", "#/size"}),
        ({"name": "x", "paused": True}, {"#/paused"}),
    ],
)
def test_a_project_that_cannot_be_made_says_why(owners, body, wrong):
    response = send(owners, "POST", "projects", body)
    assert (refused(response), pointers(response)) == ((400, "invalid_request"), wrong)


@pytest.mark.parametrize("body", [b"", b"[]", b'"x"', b"{", b'{"name": "a", "name": "b"}'])
def test_a_body_that_is_no_object_is_refused(owners, body):
    assert owners.post("/api/v1/projects", body, content_type="application/json").status_code == 400


def test_names_are_unique_within_the_organization_alone(owners, bob):
    assert send(owners, "POST", "projects", {"name": "Research"}).json()["errors"][0]["pointer"] == "#/slug"
    assert refused(send(owners, "POST", "projects", {"name": "Research"})) == (409, "name_taken")
    first, second = (send(owners, "POST", "teams", {"name": name}).json() for name in ("Vision", "Speech"))
    assert refused(send(owners, "POST", "teams", {"name": "Vision"})) == (409, "name_taken")
    assert refused(send(owners, "PATCH", f"teams/{second['id']}", {"name": "Vision"})) == (409, "name_taken")
    assert send(manager_of(bob, Role.OWNER), "POST", "teams", {"name": first["name"]}).status_code == 201


def test_what_is_another_organizations_cannot_be_taken_into_ones_own(alice, bob, owners):
    theirs = Team.objects.create(organization=bob.organization, name="Theirs")
    for team in (str(theirs.pk), "00000000-0000-7000-8000-000000000000"):
        response = send(owners, "PATCH", f"projects/{alice.project.pk}", {"team": team})
        assert response.json()["errors"] == [
            {"pointer": "#/team", "detail": "There is no team with this id.", "code": "does_not_exist"}
        ]
    key = {"name": "x", "project": str(bob.project.pk)}
    assert pointers(send(owners, "POST", "api-keys", key)) == {"#/project"}
    team = Team.objects.create(organization=alice.organization, name="Ours")
    bobs = bob.organization.memberships.get()
    assert send(owners, "PUT", f"teams/{team.pk}/members/{bobs.pk}").status_code == 404
    assert not team.members.exists()


def test_projects_come_page_by_page(alice, owners):
    for number in range(4):
        Project.objects.create(organization=alice.organization, name=f"P{number}", slug=f"p{number}")
    names, path = [], "projects?limit=2"
    while path:
        page = send(owners, "GET", path).json()
        names += [project["name"] for project in page["data"]]
        assert page["has_more"] is (page["next"] is not None)
        path = (page["next"] or "").partition("/api/v1/")[2]
    assert names == ["P3", "P2", "P1", "P0", "Alice research"]
    assert send(owners, "GET", "projects?limit=0").status_code == 400
    assert send(owners, "GET", "projects?team=x").status_code == 400


# --- Teams and members ------------------------------------------------------------------------------------------------
def test_people_come_into_teams_lead_them_and_leave_them_with_the_organization(alice, owners):
    ada, eve = join(alice.organization, "ada", Role.MEMBER), join(alice.organization, "eve", Role.MEMBER)
    team = send(owners, "POST", "teams", {"name": "Vision"}).json()
    where = f"teams/{team['id']}"
    for _ in range(2):
        assert send(owners, "PUT", f"{where}/members/{ada.pk}").json()["members"] == [ada.pk]
    send(owners, "PUT", f"{where}/members/{eve.pk}")
    led = send(owners, "PUT", f"{where}/leads/{ada.pk}").json()
    assert (led["members"], led["leads"]) == ([ada.pk, eve.pk], [ada.pk])
    assert AuditEntry.objects.filter(subject_type="team", action="updated").count() == 3

    # Whoever leads a team knows who is in it; others know of themselves.
    seen = [send(manager(alice.project, one.user), "GET", "members").json()["data"] for one in (ada, eve)]
    assert [[member["id"] for member in page] for page in seen] == [[eve.pk, ada.pk], [eve.pk]]

    assert send(owners, "DELETE", f"members/{ada.pk}").status_code == 204
    left = send(owners, "GET", where).json()
    assert (left["members"], left["leads"]) == ([eve.pk], [])
    assert latest().before == {"email": ada.user.email, "role": "member", "teams": ["Vision"]}
    for _ in range(2):
        assert send(owners, "DELETE", f"{where}/members/{eve.pk}").json()["members"] == []


def test_a_team_that_owns_projects_stays(alice, owners):
    team = Team.objects.create(organization=alice.organization, name="Vision")
    Project.objects.filter(pk=alice.project.pk).update(team=team)
    assert send(owners, "GET", f"teams/{team.pk}").json()["projects"] == [str(alice.project.pk)]
    assert refused(send(owners, "DELETE", f"teams/{team.pk}")) == (409, "team_owns_projects")
    send(owners, "PATCH", f"projects/{alice.project.pk}", {"team": None})
    assert send(owners, "DELETE", f"teams/{team.pk}").status_code == 204
    assert latest().before == {"name": "Vision", "members": [], "leads": []}


def test_somebody_is_invited_by_address(alice, bob, owners):
    invited = send(owners, "POST", "members", {"email": "New@Alice.Example", "role": "billing"})
    assert (invited.status_code, invited.json()["email"], invited.json()["role"]) == (
        201,
        "new@alice.example",
        "billing",
    )
    assert not User.objects.get(email="new@alice.example").has_usable_password()
    again = send(owners, "POST", "members", {"email": "new@alice.example", "role": "member"})
    assert refused(again) == (409, "already_member")
    # Whether Bursar knows an address already is nobody's business.
    known = send(owners, "POST", "members", {"email": bob.owner.email.upper(), "role": "viewer"})
    assert (known.status_code, known.json().keys()) == (201, invited.json().keys())
    assert Membership.objects.filter(user=bob.owner).count() == 2
    for body in ({"email": "x", "role": "viewer"}, {"email": "x@y.example"}, {"email": "x@y.example", "role": "king"}):
        assert send(owners, "POST", "members", body).status_code == 400


def test_owners_and_admins_are_made_and_unmade_by_owners_alone(alice, owners):
    admins = manager_of(alice, Role.ADMIN)
    viewer, other = join(alice.organization, "viewer", Role.VIEWER), join(alice.organization, "boss", Role.ADMIN)
    owner = Membership.objects.get(user=alice.owner)
    for role in ("admin", "owner"):
        assert refused(send(admins, "PATCH", f"members/{viewer.pk}", {"role": role})) == (403, "role_not_yours")
        invitation = {"email": "x@alice.example", "role": role}
        assert refused(send(admins, "POST", "members", invitation)) == (403, "role_not_yours")
    for target in (other, owner):
        assert refused(send(admins, "PATCH", f"members/{target.pk}", {"role": "viewer"})) == (403, "role_not_yours")
        assert refused(send(admins, "DELETE", f"members/{target.pk}")) == (403, "role_not_yours")
    assert send(admins, "PATCH", f"members/{viewer.pk}", {"role": "billing"}).status_code == 200
    assert send(owners, "PATCH", f"members/{viewer.pk}", {"role": "owner"}).status_code == 200
    assert (latest().before, latest().after) == ({"role": "billing"}, {"role": "owner"})
    assert send(owners, "DELETE", f"members/{other.pk}").status_code == 204


def test_the_last_owner_who_may_sign_in_stays(alice, owners):
    owner = Membership.objects.get(user=alice.owner)
    second = join(alice.organization, "second", Role.OWNER)
    User.objects.filter(pk=second.user_id).update(is_active=False)
    assert refused(send(owners, "PATCH", f"members/{owner.pk}", {"role": "admin"})) == (409, "last_owner")
    assert refused(send(owners, "DELETE", f"members/{owner.pk}")) == (409, "last_owner")
    User.objects.filter(pk=second.user_id).update(is_active=True)
    assert send(owners, "PATCH", f"members/{owner.pk}", {"role": "admin"}).status_code == 200
    # The key went on as an admin's.
    assert refused(send(owners, "PATCH", f"members/{second.pk}", {"role": "viewer"})) == (403, "role_not_yours")


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_of_two_owners_who_remove_each_other_at_once_one_stays(alice):
    first = Membership.objects.get(user=alice.owner)
    second = join(alice.organization, "second", Role.OWNER)
    barrier = Barrier(2)

    def removes(mine, theirs):
        try:
            client = manager(alice.project, mine.user)
            barrier.wait(20)
            return send(client, "DELETE", f"members/{theirs.pk}").status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        answers = sorted(pool.map(removes, (first, second), (second, first)))
    assert answers[0] == 204
    assert answers[1] in {401, 403, 404, 409}
    assert Membership.objects.filter(role=Role.OWNER).count() == 1


def test_a_key_acts_with_the_role_that_its_maker_has_now(alice, owners):
    admin = join(alice.organization, "admin", Role.ADMIN)
    key = manager(alice.project, admin.user)
    assert send(key, "POST", "teams", {"name": "One"}).status_code == 201
    assert send(owners, "PATCH", f"members/{admin.pk}", {"role": "viewer"}).status_code == 200
    assert refused(send(key, "POST", "teams", {"name": "Two"})) == (403, "permission_denied")
    assert send(key, "GET", "teams").status_code == 200
    assert send(owners, "DELETE", f"members/{admin.pk}").status_code == 204
    assert refused(send(key, "GET", "teams")) == (401, "invalid_api_key")


# --- Keys -------------------------------------------------------------------------------------------------------------
def test_a_secret_is_answered_once_and_kept_nowhere(alice, owners):
    body = {"name": "nightly", "project": str(alice.project.pk), "expires_at": "2099-01-01T00:00:00+01:00"}
    first, again = (send(owners, "POST", "api-keys", body, **{"Idempotency-Key": "k"}) for _ in range(2))
    secret = first.json()["secret"]
    assert again["Idempotent-Replayed"] == "true"
    assert again.json() == {**first.json(), "secret": None}
    assert secret not in str(list(IdempotencyRecord.objects.values()) + list(AuditEntry.objects.values()))
    assert client_with(secret).get("/api/v1/projects").status_code == 200
    shown = send(owners, "GET", f"api-keys/{first.json()['id']}").json()
    assert "secret" not in shown
    assert (shown["expires_at"], shown["may_manage"], shown["created_by"]) == (
        "2098-12-31T23:00:00Z",
        False,
        alice.owner.email,
    )
    assert ApiKey.objects.filter(name="nightly").count() == 1


def test_a_key_is_renamed_and_ended(alice, owners):
    issued = send(owners, "POST", "api-keys", {"name": "x", "project": str(alice.project.pk), "may_manage": True})
    key, secret = issued.json()["id"], issued.json()["secret"]
    assert send(client_with(secret), "GET", "teams").status_code == 200
    changed = send(owners, "PATCH", f"api-keys/{key}", {"name": "y", "expires_at": None}).json()
    assert changed["name"] == "y"
    # What a key may do, and for whom, was said when it was made.
    for forged in ({"may_manage": True}, {"project": str(alice.project.pk)}, {"revoked_at": None}):
        assert send(owners, "PATCH", f"api-keys/{key}", forged).status_code == 400
    for _ in range(2):
        assert send(owners, "DELETE", f"api-keys/{key}").status_code == 204
    assert send(client_with(secret), "GET", "teams").status_code == 401
    assert send(owners, "GET", f"api-keys/{key}").json()["revoked_at"]
    assert [entry.after for entry in AuditEntry.objects.filter(subject_id=key).order_by("at")] == [
        {"name": "x", "project": str(alice.project.pk), "may_manage": True, "expires_at": None},
        {"name": "y"},
        {"revoked": True},
    ]


def test_a_plain_key_sees_its_organization_and_its_project_alone(alice, client):
    Project.objects.create(organization=alice.organization, name="Another", slug="another")
    assert [project["name"] for project in client.get("/api/v1/projects").json()["data"]] == ["Alice research"]
    assert refused(client.get(f"/api/v1/projects/{alice.project.pk}")) == (403, "not_a_management_key")
    assert refused(send(client, "POST", "projects", {"name": "x"})) == (403, "not_a_management_key")


def test_a_key_of_the_services_staff_acts_in_its_own_organization_alone(alice, bob):
    staff = User.objects.create_superuser("root@bursar.example", "a password for tests")
    key = client_with(api_keys.issue(alice.project, name="staff", created_by=staff, may_manage=True).secret)
    assert send(key, "PATCH", "organization", {"name": "Renamed by staff"}).status_code == 200
    assert send(key, "GET", f"projects/{bob.project.pk}").status_code == 404
    assert [project["name"] for project in send(key, "GET", "projects").json()["data"]] == ["Alice research"]


# --- Once -------------------------------------------------------------------------------------------------------------
def test_a_post_is_done_once_per_key(owners):
    first, again = (send(owners, "POST", "teams", {"name": "T"}, **{"Idempotency-Key": "k"}) for _ in range(2))
    assert (first.content, first["Location"]) == (again.content, again["Location"])
    assert ("Idempotent-Replayed" in first, again["Idempotent-Replayed"]) == (False, "true")
    other = send(owners, "POST", "teams", {"name": "U"}, **{"Idempotency-Key": "k"})
    assert refused(other) == (422, "idempotency_key_reused")
    elsewhere = send(owners, "POST", "projects", {"name": "T"}, **{"Idempotency-Key": "k"})
    assert refused(elsewhere) == (422, "idempotency_key_reused")
    assert (Team.objects.count(), AuditEntry.objects.count()) == (1, 1)


def test_a_refused_act_leaves_neither_row_nor_entry_nor_key(alice, owners, monkeypatch):
    def broken(*args, **kwargs):
        raise ValueError("the trail cannot be written")

    monkeypatch.setattr("accounts.audit.record", broken)
    project = alice.project.pk
    attempts = [
        ("POST", "teams", {"name": "T"}),
        ("PATCH", f"projects/{project}", {"name": "T"}),
        ("POST", "members", {"email": "x@y.example", "role": "viewer"}),
        ("POST", "api-keys", {"name": "x", "project": str(project)}),
        ("DELETE", f"api-keys/{ApiKey.objects.get(name='automation').pk}", None),
    ]
    for method, path, body in attempts:
        assert send(owners, method, path, body, **{"Idempotency-Key": "k"}).status_code == 500
    assert not Team.objects.exists()
    assert not User.objects.filter(email="x@y.example").exists()
    assert Project.objects.get().name == "Alice research"
    assert ApiKey.objects.filter(revoked_at=None).count() == 2
    assert not IdempotencyRecord.objects.exists()


# --- The audit trail --------------------------------------------------------------------------------------------------
def test_the_trail_is_filtered_and_comes_page_by_page(alice, bob, owners, monkeypatch):
    # All at one instant: pages still neither repeat nor lose any.
    now = timezone.now()
    monkeypatch.setattr("accounts.audit.timezone.now", lambda: now)
    admins = manager_of(alice, Role.ADMIN)
    for name in ("A", "B", "C"):
        send(owners, "POST", "teams", {"name": name})
    send(admins, "POST", "projects", {"name": "P"})
    send(manager_of(bob, Role.OWNER), "POST", "teams", {"name": "Bob's"})
    names, path = [], "audit-entries?limit=2"
    while path:
        page = send(owners, "GET", path).json()
        names += [entry["subject_name"] for entry in page["data"]]
        path = (page["next"] or "").partition("/api/v1/")[2]
    assert sorted(names) == ["A", "B", "C", "P"]

    def found(query: str) -> list[str]:
        return [entry["subject_name"] for entry in send(owners, "GET", f"audit-entries?{query}").json()["data"]]

    today = timezone.now().date()
    assert found("subject_type=project") == found("actor=ADMIN@alice.example") == ["P"]
    assert len(found(f"from={today}&action=created,deleted")) == 4
    assert found(f"to={today}") == found("action=deleted") == []
    bobs = AuditEntry.objects.get(subject_name="Bob's")
    assert found(f"cursor={bobs.pk}") == []
    for wrong in ("action=x", "from=yesterday", "actor=x", "subject=x", "cursor=1"):
        assert send(owners, "GET", f"audit-entries?{wrong}").status_code == 400
