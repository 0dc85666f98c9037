"""Calls that are made as streams: booked as any other, and asked for as streams only where somebody reads along."""

import json
from decimal import Decimal
from typing import Any

import pytest

from billing.models import Budget, LedgerEntry, UsageRecord
from jobs import provider
from jobs.execution import streaming
from jobs.models import Attempt, Doubt, Job, LanguageModel
from jobs.recovery import looks
from tests.flows.conftest import LONG_AGO

# What differs between two calls whatever they are.
OWN = {"id", "job", "reservation", "reference", "fencing_token", "seal", "sequence", "wants_stream"}
IDS = {"provider_request_id", "provider_response_id"}


@pytest.fixture(autouse=True)
def _no_stream_was_refused_before(monkeypatch) -> None:
    monkeypatch.setattr(streaming, "_refused_at", {})


@pytest.fixture
def requests(monkeypatch) -> list[dict[str, Any]]:
    """The bodies of all calls, as they are sent."""
    bodies: list[dict[str, Any]] = []
    send = provider.send

    async def noted(clients, access, method, path, body=None, **more):
        bodies.append(json.loads(json.dumps(body)))
        return await send(clients, access, method, path, body, **more)

    monkeypatch.setattr(provider, "send", noted)
    return bodies


def told(row: Any) -> dict[str, Any]:
    """All that a row says, but for ids and times; of ids only whether they are there."""
    values = {}
    for field in row._meta.concrete_fields:
        value = field.value_from_object(row)
        if field.name in OWN or field.get_internal_type() == "DateTimeField":
            values[field.name] = value is not None
        elif field.name in IDS:
            values[field.name] = bool(value)
        else:
            values[field.name] = value
    return values


def everything(path, job: Job) -> dict[str, Any]:
    """What job, attempts, ledger and usage records say of a job, and what it was answered."""
    job.refresh_from_db()
    references = [str(pk) for pk in job.attempts.values_list("pk", flat=True)]
    of_job = {"reservation__reference__in": references}
    message = {name: value for name, value in job.content.message.items() if name != "annotations"}
    rest: dict[str, Any] = job.content.rest or {}
    return {
        "job": told(job),
        "attempts": [told(row) for row in job.attempts.order_by("number")],
        "ledger": [told(row) for row in LedgerEntry.objects.filter(**of_job).order_by("sequence")],
        "usage": [told(row) for row in UsageRecord.objects.filter(**of_job)],
        "message": message,
        "rest": {**rest, "completion": sorted(rest["completion"])},
        "billed": [line["cost_usd"] for line in path.bill(job)],
    }


@pytest.mark.parametrize("model", ["gpt-4o", "o3-mini"])
@pytest.mark.parametrize("more", [{}, {"max_completion_tokens": 100}, {"store": False}], ids=["", "cut", "not kept"])
def test_a_streamed_call_is_booked_as_one_that_was_not(path, requests, settings, model, more):
    settings.BACKGROUND = "off"
    streamed, whole = path.submit(model, wants_stream=True, **more), path.submit(model, **more)
    path.run()
    assert everything(path, streamed) == everything(path, whole)
    asked = sorted(body.pop("stream", False) for body in requests)
    assert asked == [False, True]
    assert Decimal(everything(path, streamed)["billed"][0]) == streamed.total_usd > 0


def test_every_choice_is_put_together(path):
    streamed, whole = (path.submit("gpt-4o", n=3, wants_stream=wants) for wants in (True, False))
    path.run()
    of_streamed, of_whole = everything(path, streamed), everything(path, whole)
    for choice in of_whole["rest"]["choices"]:
        del choice["message"]["annotations"]  # which no stream has
    assert of_streamed == of_whole
    assert len(streamed.content.rest["choices"]) == 2


def test_nobody_reads_along_so_no_stream_is_asked_for(path, requests):
    path.submit("gpt-4o")
    path.submit("o1-mini", wants_stream=True)  # a model that does not stream
    path.submit("o3-mini")
    LanguageModel.objects.filter(name="o1").update(endpoints=["responses", "batch"])
    path.submit("o1", wants_stream=True)
    path.run()
    assert not any("stream" in (body or {}) for body in requests)
    assert set(Job.objects.values_list("status", flat=True)) == {"succeeded"}


def test_who_reads_along_is_told_by_chat_what_others_have_made_in_the_background(path, requests):
    job = path.submit("o3-mini", wants_stream=True)
    path.run()
    assert requests[-1]["stream_options"] == {"include_usage": True}
    assert requests[-1]["metadata"].keys() == {"bursar_attempt"}  # so that it can be found when it is lost
    job.refresh_from_db()
    assert job.status == "succeeded"


# --- Streams that the provider refuses --------------------------------------------------------------------------------
def test_a_stream_that_the_provider_refuses_is_asked_for_whole(path, requests, settings):
    settings.MAX_ATTEMPTS = 1
    job = path.submit("o3", wants_stream=True)  # the organization is not verified
    path.run()
    path.run()
    job.refresh_from_db()
    assert (job.status, job.wants_stream, job.attempt_count) == ("succeeded", False, 2)
    refused, answered = job.attempts.order_by("number")
    assert (refused.status, refused.error_code, answered.status) == ("rejected", "unsupported_value", "answered")
    assert [(body or {}).get("stream", False) for body in requests] == [True, False, False]  # the last one looks
    assert not Budget.objects.exclude(held=0).exists()
    assert len(path.bill(job)) == 1

    # For a while nobody else tries.
    again = path.submit("o3", wants_stream=True)
    path.run()
    assert sum("stream" in (body or {}) for body in requests) == 1
    assert again.attempts.get().status == "answered"
    other = path.submit("gpt-4o", wants_stream=True)
    path.run()
    assert requests[-1]["stream"] is True
    assert other.attempts.get().status == "answered"


def test_a_refusal_of_something_else_is_final(path):
    path.simulator.fault("404")
    job = path.submit("gpt-4o", wants_stream=True)
    path.run()
    job.refresh_from_db()
    assert (job.status, job.attempt_count) == ("failed", 1)


# --- Streams that are cut ---------------------------------------------------------------------------------------------
def test_a_stream_that_was_cut_is_found_where_the_provider_keeps_it(path):
    whole = path.submit("gpt-4o")
    path.run()
    path.simulator.fault("cut_in_the_body")
    job = path.submit("gpt-4o", wants_stream=True)
    path.run()
    attempt = Attempt.objects.get(job=job)
    assert (attempt.status, attempt.error_code, attempt.is_findable) == ("in_doubt", "connection_lost", True)
    assert Budget.objects.exclude(held=0).exists()
    Doubt.objects.update(next_look_at=LONG_AGO)
    assert looks.look_up() == 1
    job.refresh_from_db()
    assert (job.status, job.attempts.get().status) == ("succeeded", "resolved")
    whole.refresh_from_db()
    assert (job.content.message, job.total_usd) == (whole.content.message, whole.total_usd)
    assert not Budget.objects.exclude(held=0).exists()


def test_an_error_in_a_stream_leaves_the_attempt_in_doubt_and_says_why(path):
    path.simulator.fault("error_event")
    job = path.submit("gpt-4o", wants_stream=True)
    path.run()
    attempt = job.attempts.get()
    assert (attempt.status, attempt.error_code, attempt.http_status) == ("in_doubt", "error_in_stream", 200)
    assert "had an error while processing" in attempt.error_message
