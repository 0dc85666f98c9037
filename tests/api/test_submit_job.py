import json
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from billing.models import Quota
from jobs import waking
from jobs.models import Job
from tests.api.conftest import PROMPT

KEYS = {
    "id", "object", "status", "model", "snapshot", "service_tier", "priority", "metadata", "waiting_on", "bound",
    "expected",
    "max_cost_usd", "deadline", "usage", "cost", "reasoning_share", "output_text", "message", "finish_reason",
    "incomplete_reason", "warnings", "error", "doubt", "attempts", "queued_at", "started_at",
    "cancel_asked_at", "finished_at", "content_erased_at",
}  # fmt: skip


def test_a_prompt_is_accepted_and_queued(client, project, monkeypatch, django_capture_on_commit_callbacks):
    woken: list[bool] = []
    monkeypatch.setattr(waking, "wake", lambda: woken.append(True))
    with django_capture_on_commit_callbacks(execute=True):
        response = client.post("/api/v1/jobs", {"model": "o1-preview", "prompt": PROMPT}, format="json")
    assert response.status_code == 202
    assert response["Content-Type"] == "application/json"
    assert response["Cache-Control"] == "no-store"
    assert response["X-Request-Id"].startswith("req_")
    job = response.json()
    assert set(job) == KEYS | {"advice"}
    assert response["Location"] == f"http://testserver/api/v1/jobs/{job['id']}"
    assert (job["object"], job["status"], job["model"]) == ("job", "queued", "o1-preview")
    assert job["waiting_on"] == {"reason": "capacity"}
    assert job["bound"].keys() == {"input_tokens", "output_tokens", "cost_usd"}
    assert job["bound"]["output_tokens"] == 32_768
    bound = 15 * Decimal(job["bound"]["input_tokens"]) / 1_000_000 + 60 * Decimal(32_768) / 1_000_000
    assert Decimal(job["bound"]["cost_usd"]) == bound
    stored = Job.objects.get(pk=job["id"])
    assert stored.project == project
    assert stored.content.request == {"model": "o1-preview", "messages": [{"role": "user", "content": PROMPT}]}
    assert woken == [True]  # the dispatcher is woken when this commits


def test_every_field_of_ours_is_taken_and_shown(submit):
    deadline = timezone.now().replace(microsecond=0) + timedelta(hours=1)
    job = submit(
        priority=-100,
        max_cost_usd="0.50",
        deadline=deadline.isoformat(),
        metadata={"team": "a", "n": "1"},
        service_tier="standard",
        max_completion_tokens=1000,
        seed=None,
    )
    assert job["priority"] == -100
    assert job["max_cost_usd"] == "0.50"
    assert job["deadline"] == deadline.isoformat().replace("+00:00", "Z")
    assert job["metadata"] == {"team": "a", "n": "1"}
    assert job["bound"]["output_tokens"] == 1000


def test_null_is_the_same_as_nothing(submit):
    job = submit(priority=None, max_cost_usd=None, deadline=None, metadata=None, service_tier=None, messages=None)
    assert (job["priority"], job["max_cost_usd"], job["metadata"], job["service_tier"]) == (0, None, {}, "standard")


def test_messages_go_to_the_provider_as_they_were_sent(client):
    messages = [
        {"role": "user", "content": [{"type": "text", "text": " two\n"}], "name": "x"},
        {"role": "assistant", "content": "ok"},
        {"role": "user", "content": "again"},
    ]
    response = client.post("/api/v1/jobs", {"model": "o1-mini", "messages": messages}, format="json")
    assert response.status_code == 202, response.content
    assert Job.objects.get().content.request["messages"] == messages


def send(client, text):
    return client.post("/api/v1/jobs", text, content_type="application/json")


def test_a_maximum_cost_that_is_sent_as_a_number_stays_exact(client):
    response = send(
        client,
        '{"model": "o1-mini", "prompt": "Hi", "max_completion_tokens": 10, "max_cost_usd": 123456789012.123456789012}',
    )
    assert response.status_code == 202, response.content
    assert response.json()["max_cost_usd"] == "123456789012.123456789012"
    assert Job.objects.get().max_cost_usd == Decimal("123456789012.123456789012")


def test_a_fraction_for_the_provider_is_a_plain_number_again(client):
    response = send(client, '{"model": "gpt-4o", "prompt": "Hi", "temperature": 0.2, "top_p": 1.0}')
    assert response.status_code == 202, response.content
    request = Job.objects.get().content.request
    assert json.dumps([request["temperature"], request["top_p"]]) == "[0.2, 1.0]"


def test_a_fraction_that_the_model_refuses_is_named_as_it_was_sent(client):
    problem = send(client, '{"model": "o1-mini", "prompt": "Hi", "temperature": 0.2}').json()
    assert problem["detail"] == (
        "Unsupported value: 'temperature' does not support 0.2 with this model. "
        "Only the default (1) value is supported."
    )
    assert problem["errors"] == [
        {"pointer": "#/temperature", "detail": problem["detail"], "code": "unsupported_value"},
    ]


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"prompt": None}, "#/prompt", "invalid"),
        ({"messages": [{"role": "user", "content": "both"}]}, "#/prompt", "invalid"),
        ({"prompt": " \n"}, "#/prompt", "blank"),
        ({"prompt": 5}, "#/prompt", "invalid"),
        ({"model": None}, "#/model", "null"),
        ({"model": ["o1-mini"]}, "#/model", "invalid"),
        ({"priority": 101}, "#/priority", "max_value"),
        ({"priority": -101}, "#/priority", "min_value"),
        ({"priority": "5"}, "#/priority", "invalid"),
        ({"priority": True}, "#/priority", "invalid"),
        ({"priority": 5.0}, "#/priority", "invalid"),
        ({"max_cost_usd": 0}, "#/max_cost_usd", "not_positive"),
        ({"max_cost_usd": -1}, "#/max_cost_usd", "not_positive"),
        ({"max_cost_usd": "-1"}, "#/max_cost_usd", "invalid"),
        ({"max_cost_usd": ""}, "#/max_cost_usd", "invalid"),
        ({"max_cost_usd": " 1"}, "#/max_cost_usd", "invalid"),
        ({"max_cost_usd": "1_000"}, "#/max_cost_usd", "invalid"),
        ({"max_cost_usd": "NaN"}, "#/max_cost_usd", "invalid"),
        ({"max_cost_usd": "Infinity"}, "#/max_cost_usd", "invalid"),
        ({"max_cost_usd": True}, "#/max_cost_usd", "invalid"),
        ({"max_cost_usd": ["1"]}, "#/max_cost_usd", "invalid"),
        ({"max_cost_usd": "1e300"}, "#/max_cost_usd", "max_digits"),
        ({"max_cost_usd": "0.0000000000001"}, "#/max_cost_usd", "max_decimal_places"),
        ({"deadline": "2099-01-01T00:00:00"}, "#/deadline", "naive"),
        ({"deadline": "tomorrow"}, "#/deadline", "invalid"),
        ({"deadline": "2099-13-01T00:00:00Z"}, "#/deadline", "invalid"),
        ({"deadline": "9999-12-31T23:59:59-14:00"}, "#/deadline", "overflow"),
        ({"deadline": 5}, "#/deadline", "invalid"),
        ({"service_tier": "batch"}, "#/service_tier", "batch"),
        ({"service_tier": "auto"}, "#/service_tier", "invalid_choice"),
        ({"service_tier": {}}, "#/service_tier", "invalid_choice"),
        ({"metadata": []}, "#/metadata", "not_a_dict"),
        ({"metadata": {"k": 1}}, "#/metadata/k", "invalid"),
        ({"metadata": {"a/b~": None}}, "#/metadata/a~1b~0", "invalid"),
        ({"metadata": {"k" * 65: "v"}}, "#/metadata/" + "k" * 65, "max_length"),
        ({"metadata": {"k": "v" * 513}}, "#/metadata/k", "max_length"),
        ({"metadata": {str(i): "v" for i in range(17)}}, "#/metadata", "max_length"),
    ],
)
def test_a_field_of_ours_that_is_wrong_is_named(client, body, pointer, code):
    response = client.post("/api/v1/jobs", {"model": "o1-mini", "prompt": PROMPT, **body}, format="json")
    problem = response.json()
    assert (response.status_code, problem["code"]) == (400, "invalid_request")
    assert [(error["pointer"], error["code"]) for error in problem["errors"]] == [(pointer, code)]
    assert not Job.objects.exists()


def test_all_wrong_fields_are_named_at_once(client):
    problem = client.post("/api/v1/jobs", {"priority": 500, "deadline": "x"}, format="json").json()
    assert {error["pointer"] for error in problem["errors"]} == {"#/model", "#/priority", "#/deadline"}
    assert "And 2 more" in problem["detail"]


@pytest.mark.parametrize(
    ("body", "status", "code", "pointer"),
    [
        ({"model": "o9"}, 404, "model_not_found", None),
        ({"max_tokens": 5}, 400, "unsupported_parameter", "#/max_tokens"),
        ({"prompt": None, "messages": "Hi"}, 400, "invalid_type", "#/messages"),
        ({"prompt": None, "messages": []}, 400, "empty_array", "#/messages"),
        ({"prompt": None, "messages": [None]}, 400, "invalid_type", "#/messages/0"),
        (
            {"prompt": None, "messages": [{"role": "system", "content": "x"}]},
            400,
            "unsupported_value",
            "#/messages/0/role",
        ),
        ({"no_such_parameter": 1}, 400, "invalid_request", None),
        ({"deadline": "2001-01-01T00:00:00Z"}, 400, "invalid_request", "#/deadline"),
        ({"max_cost_usd": "0.01"}, 402, "max_cost_exceeded", "#/max_cost_usd"),
        ({"service_tier": "priority"}, 400, "price_unknown", "#/service_tier"),
    ],
)
def test_a_request_that_can_never_run_is_refused(client, body, status, code, pointer):
    response = client.post("/api/v1/jobs", {"model": "o1-mini", "prompt": PROMPT, **body}, format="json")
    problem = response.json()
    assert (response.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert response["Content-Type"] == "application/problem+json"
    assert [error["pointer"] for error in problem.get("errors", [])] == ([pointer] if pointer else [])
    assert not Job.objects.exists()


def test_a_limit_that_the_call_could_never_fit_into_is_named_with_its_figures(client, project):
    Quota.objects.create(organization=project.organization, project=project, limit=Decimal("0.01"))
    response = client.post("/api/v1/jobs", {"model": "o1-mini", "prompt": PROMPT}, format="json")
    problem = response.json()
    assert (response.status_code, problem["code"]) == (402, "exceeds_limit")
    budget = problem["budget"]
    assert budget.keys() == {
        "scope", "id", "name", "origin", "measure", "model", "is_hard", "limit", "spent", "held", "remaining",
        "window_start", "resets_at", "required",
    }  # fmt: skip
    assert (budget["scope"], budget["id"]) == ("project", str(project.pk))
    assert (budget["limit"], budget["spent"], budget["held"]) == ("0.01", "0.00", "0.00")
    assert f"come to {budget['required']} USD" in problem["detail"]
