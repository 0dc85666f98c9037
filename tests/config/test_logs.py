"""Log lines: whom they are about, in either format, and never a secret."""

import json
import logging
import sys

import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from accounts import log_context
from config.logs import JsonFormatter, TextFormatter
from config.requests import RequestIdMiddleware
from tests.api.conftest import client_of


def record(message="it happened", *args, exc_info=None):
    return logging.LogRecord("jobs.something", logging.WARNING, __file__, 1, message, args, exc_info)


def as_json(**more) -> dict[str, str]:
    return json.loads(JsonFormatter("web").format(record(**more)))


@pytest.fixture
def about():
    with log_context.about(job_id="j1", attempt_id="a1", project_id=None):
        yield


def test_a_json_line_has_level_process_and_the_ids_that_are_known(about):
    line = as_json()
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "WARNING",
        "logger": "jobs.something",
        "message": "it happened",
        "process": "web",
        "job_id": "j1",
        "attempt_id": "a1",
    }


def test_a_text_line_has_them_too(about):
    assert TextFormatter().format(record()).endswith("WARNING jobs.something it happened [attempt_id=a1 job_id=j1]")


def test_without_ids_nothing_is_added():
    assert TextFormatter().format(record()).endswith("it happened")


def test_an_id_goes_by_no_name_that_a_line_has_itself():
    with log_context.about(level="mine"):
        assert as_json()["level"] == "WARNING"


@pytest.mark.parametrize("write", [TextFormatter().format, JsonFormatter("web").format], ids=["text", "json"])
def test_no_secret_is_written_whoever_says_it(write):
    try:
        raise ValueError(
            "bk_live_abcdefgh1234 at postgres://bursar:hunter2@db:5432/bursar and redis://:hunter2@cache/0"
        )
    except ValueError:
        line = write(record("key %s", "sk-proj-abcdef123456", exc_info=sys.exc_info()))
    for secret in ("abcdef", "abcdefgh1234", "hunter2"):
        assert secret not in line
    assert "sk-***" in line
    assert "postgres://bursar:***@db:5432/bursar" in line


def test_lines_of_a_request_are_about_it_and_about_the_project_of_its_key(alice, monkeypatch):
    seen = {}

    def submit(*args):
        seen.update(log_context.current())
        raise RuntimeError

    monkeypatch.setattr("jobs.submission.submit", submit)
    response = client_of(alice).post("/api/v1/jobs", {"model": "o1-mini", "prompt": "?"}, format="json")
    assert seen == {
        "request_id": response["X-Request-Id"],
        "organization_id": str(alice.organization.pk),
        "project_id": str(alice.project.pk),
    }
    assert log_context.current() == {}


@pytest.mark.parametrize(
    ("proxy", "given", "is_taken"),
    [(None, "from-afar", False), (("X", "https"), "from-afar", True), (("X", "https"), "two words", False)],
)
def test_the_id_of_a_request_is_the_proxys_where_there_is_one(settings, proxy, given, is_taken):
    settings.SECURE_PROXY_SSL_HEADER = proxy
    middleware = RequestIdMiddleware(lambda request: HttpResponse())
    response = middleware(RequestFactory().get("/healthz", headers={"X-Request-Id": given}))
    assert (response["X-Request-Id"] == given) is is_taken
    assert response["X-Request-Id"]
