"""Submissions through the whole WSGI application against a view that answers nothing, and the counting of tokens."""

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import path

from config.urls import urlpatterns as real_urls
from jobs.estimates import count_tokens
from tests.flows.conftest import PROMPT

REQUESTS = 50
BODY = {"model": "o1-mini", "prompt": PROMPT}


def empty(request):
    return HttpResponse(status=204)


urlpatterns = [path("empty", empty), *real_urls]


@pytest.mark.benchmark
@pytest.mark.urls(__name__)
@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_submissions_per_second(alice, per_second, report, monkeypatch):
    monkeypatch.setattr("jobs.dispatch.wake", lambda: None)
    client = Client(headers={"Authorization": f"Bearer {alice.api_key.secret}"})

    def submit() -> None:
        for _ in range(REQUESTS):
            assert client.post("/api/v1/jobs", BODY, content_type="application/json").status_code == 202

    def nothing() -> None:
        for _ in range(REQUESTS):
            assert client.post("/empty", BODY, content_type="application/json").status_code == 204

    bare = per_second(nothing, REQUESTS)
    ours = per_second(submit, REQUESTS)
    report("submissions over WSGI", ours, bare, "an empty view")


@pytest.mark.benchmark
@pytest.mark.parametrize(("name", "text"), [("short prompts", PROMPT), ("prompts of 250,000 words", "word " * 250_000)])
def test_tokens_counted_per_second(per_second, report, name, text):
    times = max(1, 200_000 // len(text))
    tokens = count_tokens(text)
    ours = per_second(lambda: [count_tokens(text) for _ in range(times)], tokens * times)
    bare = per_second(lambda: [text.encode("utf-8").decode() for _ in range(times)], tokens * times)
    report(f"tokens counted, {name}", ours, bare, "encode and decode UTF-8", unit="tokens/s")
