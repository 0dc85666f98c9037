"""Alice sees nothing of Bob's, on any route: they are read from the URL conf, so that a new one cannot be forgotten."""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import api_keys
from accounts.audit import SERVICE
from billing.models import Quota, QuotaRequest
from billing.quotas import asking, changes
from jobs.models import Job
from tests.admin.conftest import make_comparison
from tests.api.conftest import PROMPT

# Every route of /api/v1 and what it takes; "job" is a job of the caller's project.
ROUTES = {
    "api/v1/jobs": ["GET", "POST"],
    "api/v1/jobs/estimate": ["POST"],
    "api/v1/jobs/<uuid:job_id>": ["GET"],
    "api/v1/jobs/<uuid:job_id>/cancel": ["POST"],
    "api/v1/jobs/<uuid:job_id>/erase": ["POST"],
    "api/v1/jobs/<uuid:job_id>/attempts": ["GET"],
    "api/v1/comparisons": ["GET", "POST"],
    "api/v1/comparisons/<uuid:comparison_id>": ["GET"],
    "api/v1/comparisons/<uuid:comparison_id>/cancel": ["POST"],
    "api/v1/comparisons/<uuid:comparison_id>/erase": ["POST"],
    "api/v1/comparisons/<uuid:comparison_id>/runs": ["GET"],
    "api/v1/comparisons/<uuid:comparison_id>/runs.csv": ["GET"],
    "api/v1/models": ["GET"],
    "api/v1/limits": ["GET"],
    "api/v1/expectations": ["GET"],
    "api/v1/expectations/calibration": ["GET"],
    "api/v1/quotas": ["GET", "POST"],
    "api/v1/quotas/preview": ["POST"],
    "api/v1/quotas/<uuid:quota_id>": ["DELETE", "GET", "PATCH"],
    "api/v1/quota-requests": ["GET", "POST"],
    "api/v1/quota-requests/<uuid:request_id>": ["GET"],
    "api/v1/quota-requests/<uuid:request_id>/approve": ["POST"],
    "api/v1/quota-requests/<uuid:request_id>/refuse": ["POST"],
    "api/v1/quota-requests/<uuid:request_id>/withdraw": ["POST"],
    "api/v1/spend": ["GET"],
    "api/v1/spend/export": ["GET"],
    "api/v1/waste": ["GET"],
    "api/v1/reconciliation": ["GET", "POST"],
    "api/v1/reconciliation/runs/<uuid:run_id>": ["GET"],
    "api/v1/alerts": ["GET"],
    "api/v1/webhooks": ["GET", "POST"],
    "api/v1/webhooks/<uuid:webhook_id>": ["DELETE", "GET", "PATCH"],
    "api/v1/webhooks/<uuid:webhook_id>/test": ["POST"],
    "api/v1/webhooks/<uuid:webhook_id>/rotate": ["POST"],
    "api/v1/webhooks/<uuid:webhook_id>/deliveries": ["GET"],
    "api/v1/webhook-deliveries/<uuid:delivery_id>/replay": ["POST"],
    "api/v1/organization": ["GET", "PATCH"],
    "api/v1/projects": ["GET", "POST"],
    "api/v1/projects/<uuid:project_id>": ["GET", "PATCH"],
    "api/v1/teams": ["GET", "POST"],
    "api/v1/teams/<uuid:team_id>": ["DELETE", "GET", "PATCH"],
    "api/v1/teams/<uuid:team_id>/members/<int:member_id>": ["DELETE", "PUT"],
    "api/v1/teams/<uuid:team_id>/leads/<int:member_id>": ["DELETE", "PUT"],
    "api/v1/members": ["GET", "POST"],
    "api/v1/members/<int:member_id>": ["DELETE", "GET", "PATCH"],
    "api/v1/api-keys": ["GET", "POST"],
    "api/v1/api-keys/<uuid:key_id>": ["DELETE", "GET", "PATCH"],
    "api/v1/audit-entries": ["GET"],
}
OPEN = {
    *(("GET", name) for name in ("models", "limits", "spend", "export", "reconciliation", "organization", "projects")),
    *(("GET", name) for name in ("expectations", "calibration", "waste")),
    *(("GET", name) for name in ("quotas", "<uuid:quota_id>", "quota-requests", "<uuid:request_id>")),
    *(("POST", name) for name in ("quota-requests", "withdraw")),
}
# What plain keys may not open; test_management_matrix.py tries it with management keys of every role.
MANAGED = {
    (route, method)
    for route, methods in ROUTES.items()
    for method in methods
    if "jobs" not in route and "comparisons" not in route and (method, route.rpartition("/")[2]) not in OPEN
}
PUBLIC = {"api/v1/schema", "api/v1/docs", "api/v1/redoc"}
# What is sent to a route that takes no job.
BODIES = {
    "api/v1/comparisons": {"prompt": PROMPT, "variants": [{"model": "o1-mini"}], "max_cost_usd": "2"},
    "api/v1/quotas": {"scope": "organization", "limit": "5"},
    "api/v1/quotas/preview": {"scope": "organization", "limit": "5"},
    "api/v1/quota-requests": {"scope": "organization", "amount": "5", "reason": "more"},
    "api/v1/quota-requests/<uuid:request_id>/approve": {},
    "api/v1/quota-requests/<uuid:request_id>/refuse": {"note": "no"},
}
CASES = [(route, method) for route, methods in ROUTES.items() for method in methods]


def patterns(resolver: Any, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for entry in resolver.url_patterns:
        route = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from patterns(entry, route)
        else:
            yield route, entry


def send(client: APIClient, route: str, method: str, row_id: Any) -> Any:
    body = BODIES.get(route, {"model": "o1-mini", "prompt": PROMPT}) if method == "POST" else None
    body = {"limit": "5"} if method == "PATCH" else body
    return client.generic(
        method,
        "/" + re.sub("<uuid:.*?>", str(row_id), route).replace("<int:member_id>", "1"),
        json.dumps(body) if body is not None else "",
        content_type="application/json",
    )


@pytest.fixture
def bobs_job(bobs_client) -> str:
    response = bobs_client.post(
        "/api/v1/jobs", {"model": "o1-mini", "prompt": "Bob's secret", "metadata": {"of": "Bob"}}, format="json"
    )
    assert response.status_code == 202
    return response.json()["id"]


@pytest.fixture
def bobs_rows(bob, bobs_job) -> dict[str, str]:
    """A row of Bob's for each kind of id in a route."""
    quota = changes.create(Quota(organization=bob.organization, scope="organization", limit=9), by=SERVICE)
    asked = asking.ask(quota, Decimal(1), reason="Bob's reason", asked_by=bob.owner, by=SERVICE)
    return {
        "<uuid:job_id>": bobs_job,
        "<uuid:comparison_id>": str(make_comparison(bob.project).pk),
        "<uuid:quota_id>": str(quota.pk),
        "<uuid:request_id>": str(asked.pk),
    }


def test_every_route_is_listed_here():
    found = {route: entry for route, entry in patterns(get_resolver()) if route.startswith("api/")}
    assert found.keys() == ROUTES.keys() | PUBLIC
    for route, methods in ROUTES.items():
        view = found[route].callback.view_class
        assert sorted(m.upper() for m in ("get", "post", "put", "patch", "delete") if hasattr(view, m)) == methods


@pytest.mark.parametrize(("route", "method"), CASES)
def test_without_a_key_nothing_is_answered(db, bobs_job, route, method):
    response = send(APIClient(), route, method, bobs_job)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (401, "not_authenticated")
    assert response["WWW-Authenticate"] == 'Bearer realm="bursar"'
    assert "bk_live_" in problem["detail"]


@pytest.mark.parametrize(("route", "method"), CASES)
def test_a_key_that_is_over_opens_nothing(api_key, bobs_job, route, method):
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {api_key.secret}")
    api_keys.revoke(api_key.api_key)
    response = send(client, route, method, bobs_job)
    assert (response.status_code, response.json()["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize("header", ["Basic eDp5", "Bearer", "Bearer ", "Bearer x", "bk_live_x", "Bearer \xff"])
def test_a_header_that_is_no_key_opens_nothing(db, header):
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=header)
    assert client.get("/api/v1/jobs").status_code == 401


@pytest.mark.parametrize(("route", "method"), CASES)
def test_nothing_of_another_tenant_shows(client, bob, bobs_job, bobs_rows, route, method):
    kind = next((kind for kind in bobs_rows if kind in route), "")
    row = bobs_rows.get(kind, bobs_job)
    response = send(client, route, method, row)
    if (route, method) in MANAGED:
        assert (response.status_code, response.json()["code"]) == (403, "not_a_management_key")
    elif kind:
        unknown = send(client, route, method, "00000000-0000-7000-8000-000000000000")
        assert response.status_code == unknown.status_code == 404
        varying = {"instance", "request_id"}
        assert {**response.json(), **dict.fromkeys(varying)} == {**unknown.json(), **dict.fromkeys(varying)}
    text = response.getvalue().decode().replace(row, "", 1 if "<uuid:" in route else 0)
    for secret in (*bobs_rows.values(), str(bob.organization.pk), str(bob.project.pk), "Bob", bob.owner.email):
        assert secret not in text
    assert Job.objects.get(pk=bobs_job).status == "queued"
    assert Quota.objects.get(pk=bobs_rows["<uuid:quota_id>"]).limit == 9
    assert QuotaRequest.objects.get(pk=bobs_rows["<uuid:request_id>"]).status == "pending"


def test_a_cursor_of_another_tenant_shows_nothing_of_theirs(client, bobs_job, submit):
    mine = submit()["id"]
    assert [job["id"] for job in client.get(f"/api/v1/jobs?cursor={bobs_job}").json()["data"]] == []
    assert [job["id"] for job in client.get("/api/v1/jobs?metadata[of]=Bob").json()["data"]] == []
    assert [job["id"] for job in client.get("/api/v1/jobs").json()["data"]] == [mine]


def test_two_projects_of_one_organization_do_not_see_each_other(client, organization, owner, submit):
    sibling = organization.projects.create(name="Sibling", slug="sibling")
    issued = api_keys.issue(sibling, name="sibling", created_by=owner)
    other = APIClient()
    other.credentials(HTTP_AUTHORIZATION=f"Bearer {issued.secret}")
    job = submit()
    assert other.get(f"/api/v1/jobs/{job['id']}").status_code == 404
    assert other.get("/api/v1/jobs").json()["data"] == []


def test_the_key_of_someone_who_left_opens_nothing(client, owner):
    owner.is_active = False
    owner.save()
    assert client.get("/api/v1/jobs").status_code == 401


def test_an_expired_key_opens_nothing(client, api_key):
    api_key.api_key.expires_at = timezone.now()
    api_key.api_key.save()
    assert client.get("/api/v1/jobs").json()["code"] == "invalid_api_key"
