"""Alice sees nothing of Bob's, on any route: they are read from the URL conf, so that a new one cannot be forgotten."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import api_keys
from jobs.models import Job
from tests.api.conftest import PROMPT

# Every route of /api/v1 and what it takes; "job" is a job of the caller's project.
ROUTES = {
    "api/v1/jobs": ["GET", "POST"],
    "api/v1/jobs/<uuid:job_id>": ["GET"],
    "api/v1/jobs/<uuid:job_id>/cancel": ["POST"],
    "api/v1/jobs/<uuid:job_id>/attempts": ["GET"],
    "api/v1/models": ["GET"],
    "api/v1/limits": ["GET"],
    "api/v1/spend": ["GET"],
    "api/v1/reconciliation": ["GET"],
}
PUBLIC = {"api/v1/schema", "api/v1/docs", "api/v1/redoc"}
CASES = [(route, method) for route, methods in ROUTES.items() for method in methods]


def patterns(resolver: Any, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for entry in resolver.url_patterns:
        route = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from patterns(entry, route)
        else:
            yield route, entry


def send(client: APIClient, route: str, method: str, job_id: Any) -> Any:
    body = {"model": "o1-mini", "prompt": PROMPT} if method == "POST" else None
    return client.generic(
        method,
        "/" + route.replace("<uuid:job_id>", str(job_id)),
        json.dumps(body) if body else "",
        content_type="application/json",
    )


@pytest.fixture
def bobs_job(bobs_client) -> str:
    response = bobs_client.post(
        "/api/v1/jobs", {"model": "o1-mini", "prompt": "Bob's secret", "metadata": {"of": "Bob"}}, format="json"
    )
    assert response.status_code == 202
    return response.json()["id"]


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
def test_nothing_of_another_tenant_shows(client, bob, bobs_job, route, method):
    response = send(client, route, method, bobs_job)
    if "<uuid:job_id>" in route:
        unknown = send(client, route, method, "00000000-0000-7000-8000-000000000000")
        assert response.status_code == unknown.status_code == 404
        varying = {"instance", "request_id"}
        assert {**response.json(), **dict.fromkeys(varying)} == {**unknown.json(), **dict.fromkeys(varying)}
    text = response.content.decode().replace(str(bobs_job), "", 1 if "<uuid:job_id>" in route else 0)
    for secret in (bobs_job, str(bob.organization.pk), str(bob.project.pk), "Bob", bob.owner.email):
        assert secret not in text
    assert Job.objects.get(pk=bobs_job).status == "queued"


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
