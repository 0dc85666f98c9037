import json

import pytest
from django.core.management import call_command
from drf_spectacular.generators import SchemaGenerator

from jobs.api import examples
from tests.api.conftest import PROMPT

METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture(scope="module")
def schema():
    return json.loads(json.dumps(SchemaGenerator().get_schema(request=None, public=True)))


def operations(schema):
    return [
        (path, method, op) for path, ops in schema["paths"].items() for method, op in ops.items() if method in METHODS
    ]


def test_the_schema_is_valid_and_complete(tmp_path):
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "schema.yaml"))


def test_every_operation_has_a_name_a_tag_an_example_and_its_problems(schema):
    assert schema["openapi"] == "3.1.0"
    names = [op["operationId"] for _, _, op in operations(schema)]
    assert sorted(names) == [
        "addTeamLead", "addTeamMember", "approveQuotaRequest", "askForQuota", "askForReconciliation",
        "cancelComparison", "cancelJob",
        "changeKey", "changeMember", "changeOrganization", "changeProject", "changeQuota", "changeWebhook",
        "createComparison", "createKey", "createProject", "createQuota", "createTeam", "createWebhook", "deleteWebhook",
        "eraseComparisonContent",
        "eraseJobContent", "estimateJob", "exportComparisonRuns", "exportSpend", "getCalibration", "getComparison",
        "getExpectations",
        "getJob", "getKey", "getLimits", "getMember", "getOrganization", "getProject", "getQuota", "getQuotaRequest",
        "getReconciliation", "getReconciliationRun", "getSpend", "getTeam", "getWaste", "getWebhook", "inviteMember",
        "listAlerts", "listAttempts", "listAuditEntries", "listComparisonRuns", "listComparisons",
        "listJobs", "listKeys", "listMembers", "listModels",
        "listProjects", "listQuotaRequests", "listQuotas", "listTeams", "listWebhookDeliveries", "listWebhooks",
        "previewQuota", "refuseQuotaRequest", "removeMember", "removeQuota", "removeTeam", "removeTeamLead",
        "removeTeamMember", "renameTeam", "replayWebhookDelivery", "revokeKey", "rotateWebhookSecret", "submitJob",
        "testWebhook", "withdrawQuotaRequest",
    ]  # fmt: skip
    for path, _, op in operations(schema):
        assert op["tags"], path
        assert op["summary"], path
        assert op["security"] == [{"apiKey": []}]
        assert {"401", "429", "503"} <= op["responses"].keys()
        for status, response in op["responses"].items():
            assert "X-Request-Id" in response["headers"]
            assert status == "204" or ("application/problem+json" in response["content"]) == (status >= "400")


def test_the_problem_the_key_and_the_idempotency_key_are_described(schema):
    problem = schema["components"]["schemas"]["Problem"]["properties"]
    assert problem.keys() >= {"type", "title", "status", "detail", "instance", "code", "request_id", "errors"}
    assert schema["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"
    submit = schema["paths"]["/api/v1/jobs"]["post"]
    assert "Idempotency-Key" in {parameter["name"] for parameter in submit["parameters"]}
    assert submit["responses"]["202"]["headers"].keys() == {
        *("X-Request-Id", "RateLimit", "RateLimit-Policy", "Location", "Idempotent-Replayed")
    }
    assert submit["requestBody"]["content"]["application/json"]["examples"]


def test_whatever_takes_an_idempotency_key_says_what_is_wrong_with_one(schema):
    """400 where it is no key, 409 while its request is under way, 422 where it was another one's."""
    for path, method, op in operations(schema):
        if any(parameter["name"] == "Idempotency-Key" for parameter in op.get("parameters", [])):
            assert {"400", "409", "422"} <= op["responses"].keys(), (method, path)


def test_the_examples_have_the_members_that_answers_have(schema, client, submit):
    submitted = submit()
    assert examples.QUEUED.value.keys() == submitted.keys()
    assert set(schema["components"]["schemas"]["SubmittedJob"]["properties"]) == submitted.keys()
    job = client.get(f"/api/v1/jobs/{submitted['id']}").json()
    assert examples.QUEUED_JOB.keys() == examples.SUCCEEDED_JOB.keys() == job.keys()
    assert set(schema["components"]["schemas"]["Job"]["properties"]) == job.keys()
    estimate = client.post("/api/v1/jobs/estimate", {"model": "o1-mini", "prompt": PROMPT}, format="json").json()
    assert examples.ESTIMATE.value.keys() == estimate.keys()
    assert set(schema["components"]["schemas"]["Estimate"]["properties"]) == estimate.keys()
    model = client.get("/api/v1/models").json()["data"][0]
    assert set(schema["components"]["schemas"]["Model"]["properties"]) == model.keys()
    assert examples.MODELS.value["data"][0].keys() == model.keys()
    limits = client.get("/api/v1/limits").json()
    assert examples.LIMITS.value.keys() == limits.keys()
    assert examples.LIMITS.value["budgets"][0].keys() == limits["budgets"][0].keys()


def test_the_schema_is_served(client):
    response = client.get("/api/v1/schema", headers={"Accept": "application/vnd.oai.openapi+json"})
    assert response.status_code == 200
    assert response.json()["info"]["title"] == "Bursar"


@pytest.mark.parametrize("page", ["docs", "redoc"])
def test_the_pages_load_nothing_from_elsewhere(client, page):
    client.credentials()
    response = client.get(f"/api/v1/{page}")
    html = response.content.decode()
    assert response.status_code == 200
    assert "/static/drf_spectacular_sidecar/" in html
    for elsewhere in ("cdn", "unpkg", "googleapis", "jsdelivr"):
        assert elsewhere not in html


def test_the_front_door_leads_to_the_documentation(client):
    response = client.get("/")
    assert (response.status_code, response["Location"]) == (302, "/api/v1/docs")
