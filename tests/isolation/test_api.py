"""Every operation of the API, asked with every kind of key for what is another organization's, and for what is not.

The operations are read from the URL configuration: one that takes a parameter which is not listed fails here.
"""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import transaction
from django.urls import get_resolver
from rest_framework.test import APIClient

from accounts import api_keys, remembered
from accounts.models import Membership, Role, User
from billing.models import ReconciliationRun, WebhookDelivery
from jobs.models import Batch, File, Job
from tests.api.test_tenants import PUBLIC, patterns
from tests.isolation import world as worlds
from tests.isolation.world import World, differing, in_turn, leaked, snapshot, told

pytestmark = pytest.mark.django_db

# The other organization's row that a parameter of a path names.
NAMED = {
    "job_id": lambda world: Job.objects.filter(organization=world.other.organization).earliest("pk").pk,
    "project_id": lambda world: world.other.project.pk,
    "team_id": lambda world: world.other.organization.teams.get().pk,
    "member_id": lambda world: world.other.organization.memberships.get().pk,
    "quota_id": lambda world: world.other.organization.quotas.get().pk,
    "request_id": lambda world: world.other.organization.quota_requests.get().pk,
    "run_id": lambda world: ReconciliationRun.objects.get(organization=world.other.organization).pk,
    "webhook_id": lambda world: world.other.organization.webhook_endpoints.get().pk,
    "delivery_id": lambda world: WebhookDelivery.objects.get(endpoint__organization=world.other.organization).pk,
    "key_id": lambda world: world.other.api_key.api_key.pk,
    "response_id": lambda world: (
        f"resp_{Job.objects.filter(organization=world.other.organization).earliest('pk').pk.hex}"
    ),
    "batch_id": lambda world: Batch.objects.get(project=world.other.project).public_id,
    "comparison_id": lambda world: world.other.project.comparisons.get().pk,
    "file_id": lambda world: File.objects.filter(project=world.other.project).earliest("pk").public_id,
}
# What a parameter names that is nobody's own.
OF_ALL = {"name"}
METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture(scope="module")
def world(django_db_setup, django_db_blocker) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remembered, "is_on", False)
        with django_db_blocker.unblock(), transaction.atomic():
            yield worlds.build()
            transaction.set_rollback(True)


@pytest.fixture(scope="module")
def callers(world) -> dict[str, APIClient]:
    """A plain key, management keys of makers in every role, and none."""
    project = world.own.project
    makers = {role: world.users[role] for role in worlds.ROLES}
    found = {"plain": _client(api_keys.issue(project, name="plain", created_by=world.users["owner"]))}
    for role, maker in makers.items():
        issued = api_keys.issue(project, name=f"of the {role}", created_by=maker)
        type(issued.api_key).objects.filter(pk=issued.api_key.pk).update(may_manage=True)
        found[role] = _client(issued)
    return {**found, "none": APIClient(raise_request_exception=False)}


def _client(issued: Any) -> APIClient:
    client = APIClient(raise_request_exception=False)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {issued.secret}")
    return client


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    """Route, method and converters of each."""
    found = []
    for route, entry in patterns(get_resolver()):
        if route.startswith(("api/", "v1/")) and route not in PUBLIC:
            view = entry.callback.view_class
            found += [(route, m, entry.pattern.converters) for m in METHODS if hasattr(view, m)]
    return found


def _send(client: APIClient, route: str, method: str, ids: dict[str, Any], query: str = "") -> Any:
    path = "/" + route
    for name, value in ids.items():
        path = path.replace(next(part for part in path.split("/") if part.endswith(f":{name}>")), str(value))
    body = json.dumps({"name": "x", "limit": "1", "role": "owner"}) if method != "get" else ""
    return client.generic(method.upper(), path + query, body, content_type="application/json")


def _missing(there: Any) -> Any:
    """An id of the same form that nothing has."""
    match there:
        case UUID():
            return uuid4()
        case str():
            return there[:-32] + uuid4().hex
        case _:
            return 987_654_321


def test_every_parameter_is_listed_here():
    assert {name for _, _, converters in operations() for name in converters} == {*NAMED, *OF_ALL}


def test_what_is_of_others_is_as_what_is_not_there(world, callers):
    for route, method, converters in operations():
        if not converters or OF_ALL & set(converters):
            continue
        theirs = {name: NAMED[name](world) for name in converters}
        missing = {name: _missing(value) for name, value in theirs.items()}
        before = snapshot(world) if method != "get" else None
        for who in in_turn(*callers):
            client = callers[who]
            with transaction.atomic():
                here = _send(client, route, method, theirs)
                nowhere = _send(client, route, method, missing)
            assert differing(told(here, *theirs.values()), told(nowhere, *missing.values())) == [], (route, method, who)
            assert here.status_code == (401 if who == "none" else 404) or here.status_code in {400, 403, 405, 422}
            assert leaked(world, here.getvalue().decode(), *theirs.values()) == [], (route, method, who)
        assert before is None or _without_use(snapshot(world)) == _without_use(before), (route, method)


def test_nothing_of_others_is_listed(world, callers):
    """Nor where they are asked for by parameters that the operations know, or might."""
    others = {
        "organization": world.other.organization.pk,
        "project": world.other.project.pk,
        "team": world.other.organization.teams.get().pk,
        "cursor": Job.objects.filter(organization=world.other.organization).earliest("pk").pk,
        "metadata[of]": worlds.OTHER,
    }
    queries = ["", "?group_by=project,model", *(f"?{name}={value}" for name, value in others.items())]
    for route, method, converters in operations():
        if converters or method != "get":
            continue
        for who in in_turn(*callers):
            for query in queries:
                answer = _send(callers[who], route, method, {}, query)
                assert leaked(world, answer.getvalue().decode(), *others.values()) == [], (route, who, query)


def test_a_key_stays_in_its_organization_whatever_its_maker_is_elsewhere(world):
    with transaction.atomic():
        maker = User.objects.create_user("both@quills.example")
        for tenant in (world.own, world.other):
            Membership.objects.create(organization=tenant.organization, user=maker, role=Role.OWNER)
        issued = api_keys.issue(world.own.project, name="both", created_by=maker)
        type(issued.api_key).objects.filter(pk=issued.api_key.pk).update(may_manage=True)
        client = _client(issued)
        for route, method, converters in operations():
            if not converters and method == "get":
                assert leaked(world, _send(client, route, method, {}).getvalue().decode()) == [], route
        transaction.set_rollback(True)


def _without_use(kept: dict[str, Any]) -> dict[str, Any]:
    """Keys note when they were used."""
    return {name: rows for name, rows in kept.items() if name not in {"accounts.ApiKey", "jobs.IdempotencyRecord"}}
