"""The provider's administration API: its buckets sum to the ledger, and to what `/api/v1/spend` says."""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction
from openai import NotFoundError, OpenAI, PermissionDeniedError
from rest_framework.test import APIClient

from accounts.models import ApiKey, AuditEntry, Project, Role, Team
from billing import ledger
from billing.clock import database_now
from billing.models import LedgerEntry, Quota, Scope
from billing.pricing import Tokens
from billing.provider_api.base import written
from tests.api.managing import join, manager, manager_of
from tests.conftest import Tenant, make_claim, make_tenant

DAY = 86_400
COSTS, USAGE = "/v1/organization/costs", "/v1/organization/usage/completions"
LIMIT = "/v1/organization/spend_limit"


def today() -> int:
    return int(database_now().timestamp()) // DAY * DAY


def call(project: Project, tokens: Tokens, *, model: str = "o1-preview", key: ApiKey | None = None) -> None:
    """A settled call, by somebody's key where one is given."""
    owner = {"member_id": key.created_by_id, "api_key_id": key.pk} if key else {}
    with transaction.atomic():
        claim = make_claim(project, "2", model=model, **owner)
        assert ledger.reserve([claim]) == []
        ledger.settle(claim.reference, tokens, snapshot=f"{model}-2024-09-12")


def adjust(tenant: Tenant, usd: str, project: Project | None = None) -> None:
    with transaction.atomic():
        ledger.adjust(project or tenant.project, Decimal(usd), reason="late truth", actor=tenant.owner)


def booked(tenant: Tenant) -> Decimal:
    entries = LedgerEntry.objects.filter(organization=tenant.organization)
    return sum((entry.spent_change_usd for entry in entries), Decimal(0))


def page(client: APIClient, path: str, **query: Any) -> dict[str, Any]:
    query = {"start_time": today() - DAY, "end_time": today() + DAY, **query}
    answer = client.get(path, query)
    assert answer.status_code == 200, answer.content
    return json.loads(answer.content, parse_float=Decimal)


def results(client: APIClient, path: str, **query: Any) -> list[dict[str, Any]]:
    return [result for bucket in page(client, path, **query)["data"] for result in bucket["results"]]


def total(found: list[dict[str, Any]]) -> Decimal:
    for result in found:
        assert result["amount"]["value"] == Decimal(result["amount"]["usd"])
    return sum((Decimal(result["amount"]["value"]) for result in found), Decimal(0))


@pytest.fixture
def spent(alice: Tenant, bob: Tenant) -> dict[str, Project]:
    """Calls of two projects and two models, one of them by a key; an adjustment; and what Bob spent beside it."""
    other = alice.organization.projects.create(name="Other", slug="other")
    call(alice.project, Tokens(43, 0, 1279, 1024), key=alice.api_key.api_key)
    call(alice.project, Tokens(55, 10, 487, 320), model="o1-mini")
    call(other, Tokens(7, 3, 11, 0))
    call(bob.project, Tokens(1_000_000, 0, 0, 0))
    adjust(alice, "-0.000000000001")
    return {"own": alice.project, "other": other, "bob": bob.project}


@pytest.fixture
def owners(alice: Tenant) -> APIClient:
    return manager(alice.project, alice.owner)


@pytest.mark.parametrize(
    "group_by",
    [
        [],
        ["project_id"],
        ["line_item"],
        ["api_key_id", "user_id"],
        ["project_id", "user_id", "line_item", "api_key_id"],
    ],
)
def test_costs_sum_to_the_ledger_however_they_are_grouped(alice, spent, owners, group_by):
    found = results(owners, COSTS, group_by=group_by)
    assert total(found) == booked(alice)
    for name in ("project_id", "user_id", "line_item", "api_key_id"):
        assert (name in group_by) or all(result[name] is None for result in found)


def test_costs_without_adjustments_are_what_spend_says(spent, owners):
    spend = Decimal(owners.get("/api/v1/spend").json()["total"]["cost"]["total_usd"])
    found = results(owners, COSTS, group_by="line_item")
    assert total([one for one in found if one["line_item"] != "adjustment"]) == spend
    assert [one["amount"]["usd"] for one in found if one["line_item"] == "adjustment"] == ["-0.000000000001"]


def test_the_digits_of_an_amount_are_all_there(alice, owners):
    call(alice.project, Tokens(43, 0, 1279, 1024))
    adjust(alice, "123456789.000000000001")
    answer = owners.get(COSTS, {"start_time": today()})
    assert b'"value":123456789.077385000001,' in answer.content
    assert answer["Content-Type"].startswith("application/json")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("1E+3"), "1000.00"),
        (Decimal("-0.000000000001"), "-0.000000000001"),
        ({"a": [None, True, 1, 'ü"']}, '{"a":[null,true,1,"\\u00fc\\""]}'),
    ],
)
def test_json_is_written_exactly(value, text):
    assert written(value) == text


def test_line_items_are_priced_apart_and_filtered(spent, owners):
    found = {one["line_item"]: one for one in results(owners, COSTS, group_by="line_item")}
    assert found["o1-preview, input"]["quantity"] == 43 + 4
    assert found["o1-preview, output"]["quantity"] == 1279 + 11
    assert found["o1-preview, output"]["quantity_unit"] == "tokens"
    assert found["o1-mini, cached input"]["quantity"] == 10
    assert total(results(owners, COSTS, line_items="o1-preview, output")) == (1279 + 11) * Decimal("0.00006")
    one = results(owners, COSTS, **{"line_items[]": "adjustment"})
    assert total(one) == Decimal("-0.000000000001")


@pytest.mark.parametrize("width", ["1m", "1h", "1d"])
def test_usage_is_the_same_in_every_width(alice, spent, owners, width):
    # A page of minutes is a day at most.
    days = [today() - DAY, today()]
    spans = [(day, day + DAY) for day in days] if width == "1m" else [(days[0], days[1] + DAY)]
    limit = {"1m": 1440, "1h": 48, "1d": 2}[width]
    grouped = {"bucket_width": width, "limit": limit, "group_by": ["model", "batch", "service_tier"]}
    found = [one for start, end in spans for one in results(owners, USAGE, start_time=start, end_time=end, **grouped)]
    by_model = {one["model"]: one for one in found}
    assert {name: one["num_model_requests"] for name, one in by_model.items()} == {"o1-preview": 2, "o1-mini": 1}
    preview = by_model["o1-preview"]
    assert (preview["input_tokens"], preview["input_cached_tokens"], preview["input_uncached_tokens"]) == (50, 3, 47)
    assert (preview["output_tokens"], preview["output_reasoning_tokens"]) == (1290, 1024)
    assert (preview["batch"], preview["service_tier"], preview["project_id"]) == (False, "default", None)


def test_filters(alice, spent, owners):
    key = alice.api_key.api_key
    assert [one["num_model_requests"] for one in results(owners, USAGE, api_key_ids=str(key.pk))] == [1]
    assert [one["num_model_requests"] for one in results(owners, USAGE, user_ids=str(alice.owner.pk))] == [1]
    assert [one["num_model_requests"] for one in results(owners, USAGE, models="o1-mini")] == [1]
    assert results(owners, USAGE, batch="true") == []
    assert results(owners, USAGE, project_ids="nothing") == results(owners, COSTS, project_ids="nothing") == []
    both = [str(spent["own"].pk), str(spent["other"].pk)]
    assert total(results(owners, COSTS, **{"project_ids[]": both})) == booked(alice)
    # An adjustment is of no key.
    assert total(results(owners, COSTS, api_key_ids=str(key.pk))) == Decimal("0.077385")


def test_others_see_none_of_it(alice, bob, spent, owners):
    theirs = results(manager(bob.project, bob.owner), COSTS, group_by="project_id")
    assert [one["project_id"] for one in theirs] == [str(bob.project.pk)]
    assert results(owners, COSTS, project_ids=str(bob.project.pk)) == []
    assert results(owners, USAGE, project_ids=str(bob.project.pk)) == []
    assert owners.get(f"/v1/organization/projects/{bob.project.pk}").status_code == 404
    assert str(bob.project.pk) not in owners.get("/v1/organization/projects").content.decode()


def test_a_key_sees_what_its_maker_may(alice, spent):
    """A lead sees the team's projects, and a plain key is none of the administration's."""
    team = Team.objects.create(organization=alice.organization, name="Numbers")
    spent["other"].team = team
    spent["other"].save()
    place = join(alice.organization, "lead", Role.MEMBER)
    team.leads.add(place)
    seen = {one["project_id"] for one in results(manager(alice.project, place.user), COSTS, group_by="project_id")}
    assert seen == {str(spent["own"].pk), str(spent["other"].pk)}
    narrow = manager(alice.project, join(alice.organization, "member", Role.MEMBER).user)
    assert {one["project_id"] for one in results(narrow, COSTS, group_by="project_id")} == {str(spent["own"].pk)}


@pytest.mark.parametrize("path", [COSTS, USAGE, LIMIT, "/v1/organization/projects"])
def test_a_plain_key_is_refused(client, path):
    answer = client.get(path, {"start_time": 0})
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "not_a_management_key"
    assert APIClient().get(path).status_code == 401


def test_pages(alice, owners):
    call(alice.project, Tokens(1, 0, 1, 0))
    start, buckets, query = today() - 9 * DAY, [], {}
    while True:
        found = page(owners, COSTS, start_time=start, limit=4, **query)
        buckets += found["data"]
        assert len(found["data"]) <= 4
        if not found["has_more"]:
            break
        query = {"page": found["next_page"]}
    assert found["next_page"] is None
    assert [bucket["start_time"] for bucket in buckets] == [start + day * DAY for day in range(10)]
    assert all(bucket["end_time"] == bucket["start_time"] + DAY for bucket in buckets)
    assert [len(bucket["results"]) for bucket in buckets] == [0] * 9 + [1]


def test_buckets_are_whole_wherever_the_query_begins(alice, owners):
    call(alice.project, Tokens(43, 0, 1279, 1024))
    found = page(owners, COSTS, start_time=today() + DAY - 1, end_time=today() + DAY)
    assert [bucket["start_time"] for bucket in found["data"]] == [today()]
    assert total(found["data"][0]["results"]) == booked(alice)
    without_end = owners.get(COSTS, {"start_time": today()}).json()
    assert len(without_end["data"]) == 1


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({}, "start_time"),
        ({"start_time": "x"}, "start_time"),
        ({"start_time": "-1"}, "start_time"),
        ({"start_time": "999999999999"}, "start_time"),
        ({"start_time": 0, "end_time": 0}, "end_time"),
        ({"start_time": 0, "limit": 181}, "limit"),
        ({"start_time": 0, "limit": 0}, "limit"),
        ({"start_time": 0, "bucket_width": "1h"}, "bucket_width"),
        ({"start_time": 0, "group_by": "model"}, "group_by"),
        ({"start_time": 0, "page": "page_x"}, "page"),
        ({"start_time": 0, "page": "page_MQ"}, "page"),
        ({"start_time": 0, "page": "ä"}, "page"),
        ({"start_time": [0, 1]}, "start_time"),
        ({"start_time": 0, "projekt_ids": "x"}, "projekt_ids"),
    ],
)
def test_a_wrong_query_is_refused_in_the_providers_envelope(owners, query, param):
    answer = owners.get(COSTS, query)
    assert answer.status_code == 400, answer.content
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.json()["error"]["param"] == param


# --- Spend limits -----------------------------------------------------------------------------------------------------
@pytest.fixture(params=["organization", "project"])
def limit_path(request, alice: Tenant) -> str:
    return LIMIT if request.param == "organization" else f"/v1/organization/projects/{alice.project.pk}/spend_limit"


def set_limit(client: APIClient, path: str, cents: Any, **more: Any) -> Any:
    body = {"threshold_amount": cents, "currency": "USD", "interval": "month", **more}
    return client.post(path, body, format="json")


def test_a_limit_is_a_quota(alice, owners, limit_path):
    assert owners.get(limit_path).status_code == 404
    made = set_limit(owners, limit_path, 1250)
    assert made.status_code == 200, made.content
    scope = "organization" if limit_path == LIMIT else "project"
    assert made.json() == {
        "object": f"{scope}.spend_limit",
        "threshold_amount": 1250,
        "currency": "USD",
        "interval": "month",
        "enforcement": {"status": "inactive"},
        "threshold_usd": "12.50",
        "remaining_usd": "12.50",
    }
    quota = Quota.objects.get()
    assert (quota.scope, quota.limit, quota.is_hard, quota.window) == (scope, Decimal("12.5"), True, "month")
    assert set_limit(owners, limit_path, 300).json()["threshold_amount"] == 300
    assert owners.get(limit_path).json()["threshold_usd"] == "3.00"
    assert [entry.action for entry in AuditEntry.objects.order_by("pk")] == ["created", "updated"]
    assert AuditEntry.objects.filter(subject_type="quota", subject_id=str(quota.pk)).count() == 2

    gone = owners.delete(limit_path)
    assert gone.json() == {"object": f"{scope}.spend_limit.deleted", "deleted": True}
    assert not Quota.objects.exists()
    assert owners.delete(limit_path).status_code == owners.get(limit_path).status_code == 404


def test_a_limit_counts_what_was_spent_and_refuses_what_is_beyond_it(alice, owners, limit_path):
    call(alice.project, Tokens(43, 0, 1279, 1024))
    assert set_limit(owners, limit_path, 8).json()["remaining_usd"] == "0.002615"
    with transaction.atomic():
        (refusal,) = ledger.reserve([make_claim(alice.project, "0.002616")])
    assert refusal is not None
    assert set_limit(owners, limit_path, 7).json()["enforcement"] == {"status": "enforcing"}
    assert owners.get(limit_path).json()["remaining_usd"] == "0.00"
    # What has counted is ended and kept.
    assert owners.delete(limit_path).status_code == 200
    assert Quota.objects.get().expires_at is not None
    assert owners.get(limit_path).status_code == 404


def test_cents_never_say_more_than_may_be_spent(alice, owners):
    Quota.objects.create(organization=alice.organization, scope=Scope.ORGANIZATION, limit=Decimal("1.999"))
    assert owners.get(LIMIT).json()["threshold_amount"] == 199
    assert owners.get(LIMIT).json()["threshold_usd"] == "1.999"


def test_several_limits_are_shown_and_not_guessed_at(alice, owners):
    for limit in ("3", "2"):
        Quota.objects.create(organization=alice.organization, scope=Scope.ORGANIZATION, limit=Decimal(limit))
    assert owners.get(LIMIT).json()["threshold_amount"] == 200
    for answer in (set_limit(owners, LIMIT, 500), owners.delete(LIMIT)):
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "several_spend_limits")
    assert Quota.objects.filter(expires_at=None).count() == 2


@pytest.mark.parametrize("cents", [-1, 1.5, "100", True, None, 10**14])
def test_a_limit_is_a_whole_number_of_cents(owners, cents):
    answer = set_limit(owners, LIMIT, cents)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "threshold_amount"
    for more in ({"currency": "EUR"}, {"interval": "day"}, {"hard": True}):
        assert set_limit(owners, LIMIT, 100, **more).status_code == 400


@pytest.mark.parametrize("role", list(Role))
def test_who_may_set_a_limit(alice, bob, limit_path, role):
    client = manager_of(alice, role)
    may = role in {Role.OWNER, Role.ADMIN, Role.BILLING}
    assert set_limit(client, limit_path, 100).status_code == (200 if may else 403)
    assert Quota.objects.count() == int(may)
    theirs = f"/v1/organization/projects/{bob.project.pk}/spend_limit"
    unknown = f"/v1/organization/projects/{uuid4()}/spend_limit"
    for path in (theirs, unknown):
        assert client.get(path).status_code == 404
        assert set_limit(client, path, 100).status_code == client.delete(path).status_code == (404 if may else 403)
    assert client.delete(limit_path).status_code == (200 if may else 403)


def test_a_repeated_request_sets_a_limit_once(owners):
    answers = [
        owners.post(LIMIT, {"threshold_amount": 100}, format="json", headers={"Idempotency-Key": "k"}) for _ in "ab"
    ]
    assert answers[0].content == answers[1].content
    assert answers[1]["Idempotent-Replayed"] == "true"
    assert Quota.objects.count() == 1


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_two_who_set_it_at_once_set_one_limit(alice):
    clients = [manager(alice.project, alice.owner) for _ in range(6)]
    gate, statuses = threading.Barrier(len(clients)), []

    def put(client: APIClient, cents: int) -> None:
        gate.wait()
        statuses.append(set_limit(client, LIMIT, cents).status_code)
        connection.close()

    threads = [threading.Thread(target=put, args=(client, 100 + n)) for n, client in enumerate(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * len(clients)
    assert Quota.objects.count() == 1


# --- Projects, and the official client --------------------------------------------------------------------------------
def test_projects_are_listed_page_by_page(alice, owners):
    for name in ("B", "C"):
        alice.organization.projects.create(name=name, slug=name.lower())
    names, after = [], {}
    while True:
        found = owners.get("/v1/organization/projects", {"limit": 2, **after}).json()
        names += [project["name"] for project in found["data"]]
        if not found["has_more"]:
            break
        after = {"after": found["last_id"]}
    assert names == ["C", "B", "Alice research"]
    one = owners.get(f"/v1/organization/projects/{alice.project.pk}").json()
    assert (one["object"], one["status"], one["archived_at"]) == ("organization.project", "active", None)


@pytest.fixture
def official(live_server) -> Callable[[APIClient], OpenAI]:
    """The official client with the key of another one."""

    def connect(client: APIClient) -> OpenAI:
        secret = client._credentials["HTTP_AUTHORIZATION"].removeprefix("Bearer ")
        return OpenAI(base_url=f"{live_server.url}/v1", api_key=None, admin_api_key=secret, max_retries=0)

    return connect


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_the_official_client_reads_and_sets_everything(official):
    alice = make_tenant("Alice")
    call(alice.project, Tokens(43, 0, 1279, 1024), key=alice.api_key.api_key)
    with official(manager(alice.project, alice.owner)) as client:
        organization = client.admin.organization
        (bucket,) = organization.usage.costs(start_time=today(), group_by=["project_id", "line_item"]).data
        assert sum(Decimal(result.amount.usd) for result in bucket.results) == Decimal("0.077385")
        assert {result.project_id for result in bucket.results} == {str(alice.project.pk)}
        hours = organization.usage.completions(
            start_time=today(), bucket_width="1h", limit=24, group_by=["model", "batch"], batch=False
        )
        (result,) = [result for hour in hours.data for result in hour.results]
        assert (result.input_tokens, result.output_tokens, result.model) == (43, 1279, "o1-preview")

        with pytest.raises(NotFoundError):
            organization.spend_limit.retrieve()
        limit = organization.spend_limit.update(threshold_amount=10_000, currency="USD", interval="month")
        assert (limit.threshold_amount, limit.enforcement.status) == (10_000, "inactive")
        assert organization.spend_limit.retrieve() == organization.spend_limit.retrieve()
        assert organization.spend_limit.delete().deleted
        of_project = organization.projects.spend_limit
        assert (
            of_project.update(
                str(alice.project.pk), threshold_amount=5, currency="USD", interval="month"
            ).enforcement.status
            == "enforcing"
        )
        assert of_project.retrieve(str(alice.project.pk)).threshold_amount == 5
        assert [project.id for project in organization.projects.list()] == [str(alice.project.pk)]
        assert organization.projects.retrieve(str(alice.project.pk)).name == "Alice research"
    with official(manager_of(alice, Role.VIEWER)) as client, pytest.raises(PermissionDeniedError):
        client.admin.organization.spend_limit.delete()


def test_a_call_counts_in_its_own_minute(alice, owners):
    call(alice.project, Tokens(43, 0, 1279, 1024))
    booked_at = alice.organization.usage_records.get().booked_at
    minute = int(booked_at.timestamp()) // 60 * 60
    found = page(owners, USAGE, bucket_width="1m", start_time=minute - 60, end_time=minute + 60)
    assert [len(bucket["results"]) for bucket in found["data"]] == [0, 1]
    assert datetime.fromtimestamp(minute, UTC) <= booked_at < datetime.fromtimestamp(minute, UTC) + timedelta(minutes=1)
