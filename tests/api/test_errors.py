"""Every error that reaches a caller is a problem with the same members, and says nothing of the inside."""

import logging

import psycopg
import pytest
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from psycopg_pool import PoolTimeout
from rest_framework.exceptions import Throttled

from accounts.api.idempotency_key import IdempotencyKeyInvalid
from accounts.errors import (
    AlreadyMember,
    DomainError,
    IdempotencyKeyInFlight,
    IdempotencyKeyReused,
    LastOwner,
    NameTaken,
    RoleNotYours,
    TeamOwnsProjects,
)
from accounts.wall import WallMissing
from billing.errors import (
    AlreadyAsked,
    AlreadyReleased,
    LimitTooSmall,
    NoSuchReservation,
    NotAllowed,
    OwnRequest,
    PreviewTooLarge,
    RequestDecided,
    UnknownPrice,
)
from billing.webhooks.endpoints import EndpointDisabled, TooManyEndpoints
from billing.webhooks.urls import UrlRefused
from config.errors import STATUS, problem_of
from jobs.batches.errors import BatchNotCancellable, FileInUse, FileTooLarge
from jobs.comparisons.errors import ComparisonNotCancellable, WordingHasNoPlace
from jobs.errors import (
    AdviceBlocks,
    BacklogFull,
    MaxCostTooSmall,
    NotCancellable,
    NotErasable,
    RateLimitUnknown,
    RequestTooLarge,
    TooManyWaiting,
)
from jobs.validation import RequestRejected
from tests.api.conftest import PROMPT, client_of

MEMBERS = {"type", "title", "status", "detail", "instance", "code", "request_id"}


@pytest.fixture
def failing(alice, monkeypatch):
    """A client whose submissions raise what they are told to."""

    def client(error):
        def submit(*args):
            raise error

        monkeypatch.setattr("jobs.submission.submit", submit)
        return client_of(alice)

    return client


def post(client):
    return client.post("/api/v1/jobs", {"model": "o1-mini", "prompt": PROMPT}, format="json")


EXPECTED = [
    (LimitTooSmall("Too dear.", budget={"scope": "project"}), 402, "exceeds_limit", {"budget"}),
    (MaxCostTooSmall(param="max_cost_usd"), 402, "max_cost_exceeded", {"errors"}),
    (UnknownPrice(), 400, "price_unknown", set()),
    (RateLimitUnknown(), 403, "rate_limit_unknown", set()),
    (RequestTooLarge(), 400, "request_too_large", set()),
    (AdviceBlocks(advice=[]), 400, "advice_blocks", {"advice"}),
    (NotCancellable(), 409, "not_cancellable", set()),
    (NotErasable(), 409, "not_erasable", set()),
    (IdempotencyKeyInvalid(), 400, "idempotency_key_invalid", set()),
    (IdempotencyKeyReused(), 422, "idempotency_key_reused", set()),
    (IdempotencyKeyInFlight(), 409, "idempotency_key_in_flight", set()),
    (BacklogFull(limit=5), 429, "backlog_full", {"limit"}),
    (TooManyWaiting(), 503, "too_many_waiting", set()),
    (WallMissing(), 503, "wall_missing", set()),
    (RoleNotYours(), 403, "role_not_yours", set()),
    (LastOwner(), 409, "last_owner", set()),
    (AlreadyMember(), 409, "already_member", set()),
    (NameTaken(), 409, "name_taken", set()),
    (TeamOwnsProjects(), 409, "team_owns_projects", set()),
    (NotAllowed(), 403, "not_allowed", set()),
    (OwnRequest(), 403, "own_request", set()),
    (AlreadyAsked(), 409, "already_asked", set()),
    (RequestDecided(), 409, "request_decided", set()),
    (PreviewTooLarge(), 400, "preview_too_large", set()),
    (UrlRefused(), 400, "webhook_url_refused", set()),
    (TooManyEndpoints(), 409, "too_many_webhooks", set()),
    (EndpointDisabled(), 409, "webhook_disabled", set()),
    (FileTooLarge(), 413, "file_too_large", set()),
    (FileInUse(), 409, "file_in_use", set()),
    (BatchNotCancellable(), 409, "batch_not_cancellable", set()),
    (ComparisonNotCancellable(), 409, "comparison_not_cancellable", set()),
    (WordingHasNoPlace(), 400, "wording_has_no_place", set()),
    (RequestRejected("No.", code="tier_too_low", status=403), 403, "tier_too_low", set()),
    (RequestRejected("No."), 400, "invalid_request", set()),
    (PermissionDenied(), 403, "permission_denied", set()),
    (SuspiciousOperation(), 400, "bad_request", set()),
    (Throttled(wait=1.2), 429, "throttled", set()),
    (OperationalError("connection refused"), 503, "database_unavailable", set()),
    (InterfaceError("connection already closed"), 503, "database_unavailable", set()),
    (PoolTimeout("no connection after 10 s"), 503, "database_unavailable", set()),
    (psycopg.InterfaceError("the connection is lost"), 503, "database_unavailable", set()),
]


@pytest.mark.parametrize(("error", "status", "code", "more"), EXPECTED, ids=lambda value: type(value).__name__)
def test_each_error_has_its_status_and_code(failing, error, status, code, more):
    response = post(failing(error))
    problem = response.json()
    assert response["Content-Type"] == "application/problem+json"
    assert problem.keys() == MEMBERS | more
    assert (response.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert problem["type"] == f"urn:bursar:problem:{code}"
    assert problem["instance"] == "/api/v1/jobs"
    assert problem["request_id"] == response["X-Request-Id"]
    assert problem["detail"]
    assert problem["title"] == code.replace("_", " ").capitalize()
    assert response["Cache-Control"] == "no-store"


def test_every_error_that_the_table_knows_is_tried_here():
    assert {type(error) for error, *_ in EXPECTED} >= STATUS.keys()


@pytest.mark.parametrize(
    ("error", "retry_after"),
    [(OperationalError(), "5"), (IdempotencyKeyInFlight(), "1"), (Throttled(wait=1.2), "2")],
    ids=["database", "in flight", "throttled"],
)
def test_what_passes_says_when_to_come_back(failing, error, retry_after):
    assert post(failing(error))["Retry-After"] == retry_after


@pytest.mark.parametrize(
    "error",
    [
        ValueError("secret"),
        LookupError("secret"),
        AssertionError("secret"),
        NoSuchReservation("secret"),
        AlreadyReleased("secret"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_nobody_expected_is_a_500_that_only_the_log_explains(failing, error, caplog):
    with caplog.at_level(logging.ERROR):
        response = post(failing(error))
    problem = response.json()
    assert (response.status_code, problem["code"]) == (500, "internal_error")
    assert "secret" not in response.content.decode()
    assert problem["request_id"] == response["X-Request-Id"]
    assert problem["request_id"] in caplog.text
    assert "secret" in caplog.text


def test_the_words_of_the_database_stay_inside(failing):
    assert "10.0.0.1" not in post(failing(OperationalError("could not connect to 10.0.0.1"))).content.decode()


def test_a_database_that_is_away_while_the_key_is_looked_up_is_a_503(client, monkeypatch):
    def find(*args):
        raise OperationalError("gone")

    monkeypatch.setattr("accounts.api_keys.find", find)
    assert client.get("/api/v1/jobs").status_code == 503


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_a_method_that_a_route_does_not_have_names_those_that_it_has(client, method):
    response = client.generic(method, "/api/v1/jobs")
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert response["Allow"] == "GET, POST, HEAD, OPTIONS"


def test_an_answer_that_is_no_json_cannot_be_had(client):
    response = client.get("/api/v1/jobs", headers={"Accept": "text/html"})
    assert (response.status_code, response.json()["code"]) == (406, "not_acceptable")


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/v1/jobs/", "/api/v1/", "/api/v2/jobs", "/api/v1/jobs/x/y"])
def test_an_address_that_does_not_exist_is_a_problem_too(client, path):
    response = client.get(path)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert response["Content-Type"] == "application/problem+json"


def test_outside_the_api_pages_stay_pages(db, client):
    response = client.get("/nothing")
    assert response.status_code == 404
    assert response["Content-Type"].startswith("text/html")
    assert "Cache-Control" not in response


def test_a_strange_host_is_a_problem(client):
    response = client.get("/api/v1/jobs", headers={"Host": "evil.example"})
    assert (response.status_code, response.json()["code"]) == (400, "bad_request")


def test_the_callers_own_request_id_comes_back(client):
    response = client.get("/api/v1/jobs", headers={"X-Client-Request-Id": "mine-1"})
    assert response["X-Client-Request-Id"] == "mine-1"
    assert "X-Client-Request-Id" not in client.get("/api/v1/jobs", headers={"X-Client-Request-Id": "a\tb"})


def test_an_error_of_a_new_kind_is_ours_until_the_table_lists_it():
    class Unlisted(DomainError):
        """Something new."""

    assert problem_of(Unlisted(), is_query=False) is None
