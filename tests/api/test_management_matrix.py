"""Every route of management x every role x what is one's own, another organization's, and what never was."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from django.db import transaction

from accounts import api_keys
from accounts.models import AuditEntry, Membership, Organization, Project, Role, Team, User
from billing.models import ReconciliationRun
from tests.api.managing import join, manager_of, send
from tests.api.test_tenants import MANAGED, ROUTES
from tests.conftest import Tenant

EVERYBODY = set(Role)
MANAGERS = {Role.OWNER, Role.ADMIN}
REVIEWERS = {*MANAGERS, Role.BILLING}
SPENDERS = {*REVIEWERS, Role.VIEWER}
UNKNOWN = {"uuid": str(uuid4()), "int": 2**62}


@dataclass
class Rows:
    """What one organization has, by the names that routes give to ids."""

    project_id: Any
    team_id: Any
    member_id: Any
    key_id: Any
    run_id: Any = UNKNOWN["uuid"]


def rows_of(tenant: Tenant) -> Rows:
    team = Team.objects.create(organization=tenant.organization, name="Idle")
    key = api_keys.issue(tenant.project, name="to be changed", created_by=tenant.owner)
    return Rows(tenant.project.pk, team.pk, join(tenant.organization, "target", Role.VIEWER).pk, key.api_key.pk)


# Who may, with which body, and what is answered to them. {project_id} and the like stand for rows of one's own.
OPERATIONS: dict[tuple[str, str], tuple[set[Role], Callable[[Rows], Any], int]] = {
    ("GET", "organization"): (EVERYBODY, lambda rows: None, 200),
    ("PATCH", "organization"): ({Role.OWNER}, lambda rows: {"name": "Alice and daughters"}, 200),
    ("GET", "projects"): (EVERYBODY, lambda rows: None, 200),
    ("POST", "projects"): (MANAGERS, lambda rows: {"name": "New"}, 201),
    ("GET", "projects/{project_id}"): (EVERYBODY, lambda rows: None, 200),
    ("PATCH", "projects/{project_id}"): (MANAGERS, lambda rows: {"paused": True, "reason": "a test"}, 200),
    ("GET", "teams"): (EVERYBODY, lambda rows: None, 200),
    ("POST", "teams"): (MANAGERS, lambda rows: {"name": "New"}, 201),
    ("GET", "teams/{team_id}"): (SPENDERS, lambda rows: None, 200),
    ("PATCH", "teams/{team_id}"): (MANAGERS, lambda rows: {"name": "Renamed"}, 200),
    ("DELETE", "teams/{team_id}"): (MANAGERS, lambda rows: None, 204),
    ("PUT", "teams/{team_id}/members/{member_id}"): (MANAGERS, lambda rows: None, 200),
    ("DELETE", "teams/{team_id}/members/{member_id}"): (MANAGERS, lambda rows: None, 200),
    ("PUT", "teams/{team_id}/leads/{member_id}"): (MANAGERS, lambda rows: None, 200),
    ("DELETE", "teams/{team_id}/leads/{member_id}"): (MANAGERS, lambda rows: None, 200),
    ("GET", "members"): (EVERYBODY, lambda rows: None, 200),
    ("POST", "members"): (MANAGERS, lambda rows: {"email": "new@alice.example", "role": "viewer"}, 201),
    ("GET", "members/{member_id}"): (SPENDERS, lambda rows: None, 200),
    ("PATCH", "members/{member_id}"): (MANAGERS, lambda rows: {"role": "member"}, 200),
    ("DELETE", "members/{member_id}"): (MANAGERS, lambda rows: None, 204),
    ("GET", "api-keys"): (MANAGERS, lambda rows: None, 200),
    ("POST", "api-keys"): (MANAGERS, lambda rows: {"project": str(rows.project_id), "name": "New"}, 201),
    ("GET", "api-keys/{key_id}"): (MANAGERS, lambda rows: None, 200),
    ("PATCH", "api-keys/{key_id}"): (MANAGERS, lambda rows: {"name": "Renamed"}, 200),
    ("DELETE", "api-keys/{key_id}"): (MANAGERS, lambda rows: None, 204),
    ("GET", "audit-entries"): (REVIEWERS, lambda rows: None, 200),
    ("POST", "reconciliation"): (REVIEWERS, lambda rows: {}, 202),
    # A run is shown to whoever asked for it; see below.
    ("GET", "reconciliation/runs/{run_id}"): (REVIEWERS, lambda rows: None, 404),
}
# Of these everybody sees some: what one may not see is not there.
SHOWN = {"projects/{project_id}", "teams/{team_id}", "members/{member_id}"}
CASES = [(method, path, *told) for (method, path), told in OPERATIONS.items()]


def world() -> dict[str, list[Any]]:
    """Everything that these routes could change, but for when a key was used."""
    models = (Organization, Project, Team, Membership, User, Team.members.through, Team.leads.through)
    keys = {"ApiKey": list(api_keys.ApiKey.objects.order_by("pk").values("pk", "name", "expires_at", "revoked_at"))}
    return keys | {model.__name__: list(model._default_manager.order_by("pk").values()) for model in models}


@pytest.fixture(autouse=True)
def _no_broker(monkeypatch) -> None:
    monkeypatch.setattr("billing.reconciliation.runs.hand_over", lambda run: True)


def test_every_route_of_management_is_here():
    listed = {(f"api/v1/{path}", method) for method, path in OPERATIONS}
    # Those of quotas, alerts and webhooks have tests of their own, and the isolation matrix has all.
    of_others = ("api/v1/quota", "api/v1/alerts", "api/v1/webhook")
    for route, method in {case for case in MANAGED if not case[0].startswith(of_others)}:
        named = route.replace("<uuid:", "{").replace("<int:", "{").replace(">", "}")
        assert (named, method) in listed, (route, method)
    assert {route for route in ROUTES if route.endswith(("organization", "projects"))} <= {r for r, _ in listed}


@pytest.mark.parametrize(("method", "path", "allowed", "body", "status"), CASES, ids=[f"{c[0]} {c[1]}" for c in CASES])
def test_who_may_do_it_and_to_what(alice, bob, method, path, allowed, body, status):
    mine, theirs = rows_of(alice), rows_of(bob)
    for role in Role:
        client = manager_of(alice, role)
        unknown = {name: UNKNOWN["int" if name == "member_id" else "uuid"] for name in vars(mine)}
        others = [(path.format(**vars(theirs)), "theirs"), (path.format(**unknown), "unknown")]
        before, entries = world(), AuditEntry.objects.count()

        # What belongs to others, or to nobody, is answered alike and stays as it is.
        answers = [send(client, method, where, body(mine)) for where, _ in others if "{" in path]
        if answers:
            shown = role in allowed or (method == "GET" and path in SHOWN)
            assert {answer.status_code for answer in answers} == {404 if shown else 403}
            told = [{**answer.json(), "instance": "", "request_id": ""} for answer in answers]
            assert told[0] == told[1]
            assert world() == before

        sid = transaction.savepoint()
        answer = send(client, method, path.format(**vars(mine)), body(mine))
        if role in allowed:
            assert answer.status_code == status, answer.content
            assert (AuditEntry.objects.count() > entries) is (world() != before)
        else:
            assert answer.status_code in {403, 404}, answer.content
            assert world() == before
            assert AuditEntry.objects.count() == entries
        for secret in ("Bob", str(bob.organization.pk), str(bob.project.pk), bob.owner.email):
            assert secret not in answer.content.decode()
        transaction.savepoint_rollback(sid)


def test_a_run_is_shown_to_whom_asked_for_it(alice, bob):
    owner, admin = manager_of(alice, Role.OWNER), manager_of(alice, Role.ADMIN)
    run = send(owner, "POST", "reconciliation", {}).json()["id"]
    assert send(owner, "GET", f"reconciliation/runs/{run}").status_code == 200
    for other in (admin, manager_of(bob, Role.OWNER)):
        assert send(other, "GET", f"reconciliation/runs/{run}").status_code == 404
    assert ReconciliationRun.objects.get().actor == alice.owner
