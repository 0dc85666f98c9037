"""Jobs as they are listed, looked at and cancelled."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from django.db import transaction
from django.utils import timezone

from accounts.models import Project
from billing import ledger
from billing.pricing import Tokens
from jobs import waiting, workers
from jobs.models import Attempt, Job, JobContent, Queue
from jobs.queues import queue_of
from tests.conftest import make_claim

D = Decimal


def make_job(project: Project, *, message: dict[str, Any] | None = None, content: bool = True, **fields: Any) -> Job:
    job = Job.objects.create(
        organization=project.organization,
        project=project,
        queue_id=queue_of(project, fields.get("model", "o1-preview")),
        created_by=project.api_keys.get().created_by,
        bound_input_tokens=90,
        bound_output_tokens=fields.pop("cap", 32_768),
        bound_usd=D("1.5"),
        admission_tokens=90,
        **{"model": "o1-preview", "queued_at": timezone.now(), **fields},
    )
    if content:
        JobContent.objects.create(job=job, request={}, message=message)
    return job


def finished(project: Project, output: int, reasoning: int, **fields: Any) -> Job:
    """A job with the golden prompt of 43 tokens, at the prices of September 2024."""
    costs = {
        "input_usd": D("0.000645"),
        "cached_input_usd": D(0),
        "output_usd": D(60) * (output - reasoning) / 1_000_000,
        "reasoning_usd": D(60) * reasoning / 1_000_000,
    }
    return make_job(
        project,
        usage={
            "prompt_tokens": 43,
            "completion_tokens": output,
            "total_tokens": 43 + output,
            "completion_tokens_details": {"reasoning_tokens": reasoning},
        },
        **costs,
        total_usd=sum(costs.values()),
        snapshot="o1-preview-2024-09-12",
        attempt_count=1,
        started_at=timezone.now(),
        finished_at=timezone.now(),
        **fields,
    )


def get(client, job: Job) -> dict[str, Any]:
    response = client.get(f"/api/v1/jobs/{job.pk}")
    assert response.status_code == 200
    return response.json()


# --- One job ----------------------------------------------------------------------------------------------------------
def test_a_job_that_succeeded_shows_answer_tokens_and_cost(client, project):
    message = {"role": "assistant", "content": "Here is a script", "refusal": None}
    job = get(client, finished(project, 1279, 1024, status="succeeded", finish_reason="stop", message=message))
    assert job["output_text"] == "Here is a script"
    assert job["message"] == message
    assert job["usage"]["completion_tokens_details"] == {"reasoning_tokens": 1024}
    assert job["cost"] == {
        "input_usd": "0.000645",
        "cached_input_usd": "0.00",
        "output_usd": "0.0153",
        "reasoning_usd": "0.06144",
        "total_usd": "0.077385",
    }
    assert job["reasoning_share"] == "0.8006"
    assert (job["finish_reason"], job["incomplete_reason"], job["warnings"]) == ("stop", None, [])
    assert (job["snapshot"], job["attempts"], job["waiting_on"]) == ("o1-preview-2024-09-12", 1, None)


def test_an_empty_answer_that_was_paid_for_warns_with_its_price(client, project):
    empty = {"role": "assistant", "content": ""}
    job = get(
        client,
        finished(project, 300, 300, status="incomplete", finish_reason="length", is_empty=True, cap=300, message=empty),
    )
    assert (job["status"], job["incomplete_reason"], job["output_text"]) == ("incomplete", "max_completion_tokens", "")
    assert job["reasoning_share"] == "1.0000"
    (warning,) = job["warnings"]
    assert warning["code"] == "empty_answer_paid"
    assert "0.018645 USD" in warning["message"]
    assert "cap of 300 tokens" in warning["message"]
    assert "25,000" in warning["message"]


def test_a_filtered_answer_says_so_and_advises_no_larger_cap(client, project):
    job = get(client, finished(project, 10, 10, status="incomplete", finish_reason="content_filter", is_empty=True))
    assert job["incomplete_reason"] == "content_filter"
    assert "max_completion_tokens" not in job["warnings"][0]["message"]


def test_a_job_whose_content_was_erased_keeps_its_figures(client, project):
    job = get(client, finished(project, 20, 5, status="succeeded", finish_reason="stop", content=False))
    assert (job["message"], job["output_text"]) == (None, None)
    assert job["cost"]["total_usd"] == "0.001845"


def test_a_job_that_failed_shows_why(client, project):
    error = {
        "status": 400,
        "code": "invalid_prompt",
        "type": "invalid_request_error",
        "param": None,
        "message": "Flagged.",
    }
    job = get(client, make_job(project, status="failed", finished_at=timezone.now(), error=error))
    assert job["error"] == error
    assert (job["cost"], job["usage"], job["reasoning_share"], job["snapshot"]) == (None, None, None, None)


def tell(job: Job, **fields: Any) -> None:
    Queue.objects.filter(pk=job.queue_id).update(**fields)


@pytest.fixture
def slots(db) -> None:
    workers.report("tests", slots=3, now=timezone.now() + timedelta(days=1))


def test_a_queued_job_shows_what_it_waits_for_itself_before_what_its_queue_does(client, project, slots):
    again = timezone.now() + timedelta(seconds=60)
    retry = {"reason": "retry", "attempts": 2, "error": {"code": "server_error"}}
    queued = make_job(project, waiting_on=retry, run_after=again)
    tell(queued, waiting_on={"reason": "limiter_unavailable"})
    told = get(client, queued)["waiting_on"]
    assert told == retry | {
        "jobs_ahead": None,
        "more_ahead": False,
        "expected_start": f"{again.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
    }
    Project.objects.filter(pk=project.pk).update(
        paused_at=timezone.now(), paused_reason="A call was dearer than its bound."
    )
    told = get(client, queued)["waiting_on"]
    assert (told["reason"], told["message"]) == ("project_paused", "A call was dearer than its bound.")
    assert told["expected_start"] is None


def test_a_queued_job_shows_how_many_are_ahead_of_it_and_when_it_may_start(client, project, slots, monkeypatch):
    jobs = [make_job(project) for _ in range(5)]
    first = make_job(project, priority=1)
    make_job(project, model="o1-mini")  # another line
    told = get(client, jobs[-1])["waiting_on"]
    assert told == {
        "reason": "capacity",
        "slots": 3,
        "in_use": 0,
        "jobs_ahead": 5,
        "more_ahead": False,
        "expected_start": None,
    }
    assert get(client, first)["waiting_on"]["jobs_ahead"] == 0
    now = timezone.now()
    tell(first, starts_per_minute=D(6), started_at=now)
    expected = datetime.fromisoformat(get(client, jobs[-1])["waiting_on"]["expected_start"])
    assert timedelta(seconds=55) < expected - now < timedelta(seconds=90)  # five ahead, ten seconds for each
    monkeypatch.setattr(waiting, "MOST_COUNTED", 3)
    told = get(client, jobs[-1])["waiting_on"]
    assert (told["jobs_ahead"], told["more_ahead"], told["expected_start"]) == (3, True, None)


def test_a_queued_job_shows_its_own_need_beside_the_budget_of_its_queue(client, project, slots):
    job = make_job(project)
    budget = {"reason": "budget", "scope": "project", "measure": "usd", "limit": "20.00", "required": "9.00"}
    budget |= {"spent": "19.00", "held": "0.00", "remaining": "1.00", "resets_at": "2024-10-01T00:00:00Z"}
    tell(job, waiting_on=budget)
    told = get(client, job)["waiting_on"]
    assert (told["required"], told["expected_start"]) == ("1.50", "2024-10-01T00:00:00Z")
    tell(job, waiting_on=budget | {"spent": "1.00", "held": "18.00"})  # calls under way may make room before
    assert get(client, job)["waiting_on"]["expected_start"] is None


def test_a_queued_job_says_that_no_worker_lives(client, project):
    job = make_job(project)
    tell(job, waiting_on={"reason": "rate_limit"}, starts_per_minute=D(6), started_at=timezone.now())
    told = get(client, job)["waiting_on"]
    assert (told["reason"], told["slots"], told["expected_start"]) == ("capacity", 0, None)


def test_a_usage_without_details_has_no_reasoning(client, project):
    job = finished(project, 20, 0, status="succeeded", finish_reason="stop")
    Job.objects.filter(pk=job.pk).update(usage={"prompt_tokens": 43, "completion_tokens": 20, "total_tokens": 63})
    assert get(client, job)["reasoning_share"] == "0.0000"


@pytest.mark.parametrize("job_id", [uuid4(), "not-an-id", "1", "%00"])
def test_an_unknown_id_is_not_found(client, job_id):
    response = client.get(f"/api/v1/jobs/{job_id}")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


# --- Lists ------------------------------------------------------------------------------------------------------------
def walk(client, **query) -> list[str]:
    """The ids of every page, in order."""
    url, ids = f"/api/v1/jobs?{urlencode(query, doseq=True)}", []
    while url:
        page = client.get(url).json()
        assert page.keys() == {"data", "has_more", "next"}
        assert page["has_more"] == (page["next"] is not None)
        assert page["next"] is None or page["next"].startswith("http://testserver/api/v1/jobs?")
        ids += [job["id"] for job in page["data"]]
        url = page["next"]
    return ids


def test_no_jobs_are_an_empty_page(client):
    assert client.get("/api/v1/jobs").json() == {"data": [], "has_more": False, "next": None}


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8, 100])
def test_pages_walk_every_job_exactly_once_newest_first(client, project, other_project, limit):
    mine = [make_job(project) for _ in range(7)]
    make_job(other_project)
    assert walk(client, limit=limit) == [str(job.pk) for job in reversed(mine)]


def test_a_job_that_comes_while_one_reads_is_on_no_later_page(client, project):
    jobs = [make_job(project) for _ in range(4)]
    first = client.get("/api/v1/jobs?limit=2").json()
    make_job(project)
    second = client.get(first["next"]).json()
    assert [job["id"] for job in first["data"] + second["data"]] == [str(job.pk) for job in reversed(jobs)]


def test_a_page_has_twenty_jobs_unless_told_otherwise(client, project):
    for _ in range(21):
        make_job(project)
    assert len(client.get("/api/v1/jobs").json()["data"]) == 20


def test_a_page_asks_the_database_the_same_number_of_questions_whatever_its_size(
    client, project, django_assert_num_queries
):
    make_job(project)
    client.get("/api/v1/jobs")
    with django_assert_num_queries(3):  # whether the key is good, its rows, the page
        client.get("/api/v1/jobs")
    for _ in range(10):
        make_job(project)
    with django_assert_num_queries(3):
        client.get("/api/v1/jobs")


def test_filters_narrow_the_list_and_stay_with_its_pages(client, project):
    now = timezone.now().replace(microsecond=0)
    old = make_job(project, queued_at=now - timedelta(days=2), metadata={"team": "a", "x": "1"})
    failed = make_job(project, status="failed", finished_at=now, queued_at=now, metadata={"team": "a"})
    cancelled = make_job(project, status="cancelled", finished_at=now, queued_at=now, model="o1-mini")
    ids = {name: str(job.pk) for name, job in [("old", old), ("failed", failed), ("cancelled", cancelled)]}
    assert walk(client, status="failed") == [ids["failed"]]
    assert walk(client, status="failed,cancelled", limit=1) == [ids["cancelled"], ids["failed"]]
    assert walk(client, status=["failed", "queued"], limit=1) == [ids["failed"], ids["old"]]
    assert walk(client, model="o1-mini") == [ids["cancelled"]]
    assert walk(client, created_after=now.isoformat()) == [ids["cancelled"], ids["failed"]]
    assert walk(client, created_before=now.isoformat()) == [ids["old"]]
    assert walk(client, **{"metadata[team]": "a"}) == [ids["failed"], ids["old"]]
    assert walk(client, **{"metadata[team]": "a", "metadata[x]": "1"}) == [ids["old"]]
    assert walk(client, **{"metadata[team]": "b"}) == []


@pytest.mark.parametrize(
    ("query", "parameter", "code"),
    [
        ("limit=0", "limit", "min_value"),
        ("limit=101", "limit", "max_value"),
        ("limit=x", "limit", "invalid"),
        ("limit=1&limit=2", "limit", "repeated_parameter"),
        ("cursor=1", "cursor", "invalid"),
        ("status=done", "status", "invalid_choice"),
        ("created_after=2024-09-30T00:00:00", "created_after", "naive"),
        ("staus=failed", "staus", "unknown_parameter"),
    ],
)
def test_a_query_that_is_wrong_is_refused(client, query, parameter, code):
    response = client.get(f"/api/v1/jobs?{query}")
    problem = response.json()
    assert (response.status_code, problem["code"]) == (400, "invalid_request")
    assert [(error["parameter"], error["code"]) for error in problem["errors"]] == [(parameter, code)]


# --- Cancelling -------------------------------------------------------------------------------------------------------
def test_a_queued_job_is_cancelled_and_cancelling_again_changes_nothing(client, project):
    job = make_job(project)
    first = client.post(f"/api/v1/jobs/{job.pk}/cancel")
    again = client.post(f"/api/v1/jobs/{job.pk}/cancel", {}, format="json")
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()
    assert (first.json()["status"], first.json()["waiting_on"]) == ("cancelled", None)


@pytest.mark.parametrize("status", ["running", "in_doubt", "succeeded", "incomplete", "failed"])
def test_a_job_that_has_left_the_queue_is_not_cancelled(client, project, status):
    is_final = status in {"succeeded", "incomplete", "failed"}
    job = make_job(project, status=status, finished_at=timezone.now() if is_final else None)
    response = client.post(f"/api/v1/jobs/{job.pk}/cancel")
    assert (response.status_code, response.json()["code"]) == (409, "not_cancellable")
    assert Job.objects.get().status == status


# --- Attempts ---------------------------------------------------------------------------------------------------------
ATTEMPT_KEYS = {
    "id", "object", "number", "status", "snapshot", "hold", "usage", "cost", "http_status", "error", "doubt",
    "provider_request_id", "provider_response_id", "created_at", "calling_at", "finished_at",
}  # fmt: skip


def make_attempt(job: Job, number: int, status: str, **fields: Any) -> Attempt:
    now = timezone.now()
    calling_at = None if status in {"created", "abandoned"} else now
    return Attempt.objects.create(
        job=job, number=number, status=status, created_at=now, lease_expires_at=now, calling_at=calling_at, **fields
    )


def test_attempts_show_each_call_with_its_hold_and_its_bill(client, project):
    job = make_job(project)
    refused = make_attempt(
        job, 1, "rejected", http_status=429, error_code="rate_limit_exceeded", error_message="Slow down."
    )
    answered = make_attempt(job, 2, "answered", http_status=200, provider_response_id="chatcmpl-1")
    with transaction.atomic():
        for attempt in (refused, answered):
            ledger.reserve([make_claim(project, "1.5", reference=attempt.pk)])
        ledger.release(refused.pk, reason="refused")
        ledger.settle(answered.pk, Tokens(43, 0, 1279, 1024), snapshot="o1-preview-2024-09-12")
    page = client.get(f"/api/v1/jobs/{job.pk}/attempts").json()
    assert (page["has_more"], page["next"]) == (False, None)
    first, second = page["data"]
    assert first.keys() == second.keys() == ATTEMPT_KEYS
    assert first["error"] == {"code": "rate_limit_exceeded", "message": "Slow down."}
    assert first["hold"] == {"status": "released", "is_in_doubt": False, "amount_usd": "1.50"}
    assert (first["usage"], first["cost"], first["snapshot"]) == (None, None, None)
    assert second["hold"] == {"status": "settled", "is_in_doubt": False, "amount_usd": "1.50"}
    assert second["usage"] == {
        "input_tokens": 43,
        "cached_input_tokens": 0,
        "output_tokens": 1279,
        "reasoning_tokens": 1024,
        "cache_write_tokens": 0,
    }
    assert second["cost"]["total_usd"] == "0.077385"
    assert (second["error"], second["provider_response_id"]) == (None, "chatcmpl-1")


def test_a_job_that_was_never_tried_has_no_attempts(client, project):
    assert client.get(f"/api/v1/jobs/{make_job(project).pk}/attempts").json()["data"] == []
