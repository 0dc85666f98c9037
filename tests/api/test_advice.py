"""Advice with a submission, what it takes to be refused by it, and estimates. Nothing is dispatched."""

from decimal import Decimal

import pytest
from django.db import transaction

from accounts.models import AdviceRule, AuditEntry, Project, Role
from billing import ledger
from billing.models import Quota
from jobs import limiter
from jobs.learning.expectation import Expectation
from jobs.learning.predictions import Likeness
from jobs.models import Job, JobContent, Queue
from tests.api.conftest import PROMPT
from tests.api.managing import manager_of
from tests.conftest import make_claim

STEPS = "Is 2^61 - 1 prime? Let's think step by step."
HISTORY = Expectation(
    calls=800,
    level="class",
    mean_reasoning_tokens=Decimal(1000),
    mean_visible_tokens=Decimal(251),
    mean_cost_usd=Decimal("0.0777"),
    at=lambda share: int(4000 * share),
    over=lambda tokens: max(Decimal(0), 1 - Decimal(tokens) / 4000),
)


@pytest.fixture(autouse=True)
def _old_limiter() -> None:
    """A Redis that was emptied a moment ago is not believed to have room."""
    redis = limiter.connection()
    for key in redis.scan_iter("bursar:*"):
        redis.delete(key)
    redis.set(limiter.BORN_KEY, "0.000")


@pytest.fixture
def history(monkeypatch) -> None:
    monkeypatch.setattr(Likeness, "expectation", lambda like, price: HISTORY)


def post(client, path="jobs", **body):
    return client.post(f"/api/v1/{path}", {"model": "o1-preview", "prompt": STEPS, **body}, format="json")


def block(project, *rules):
    Project.objects.filter(pk=project.pk).update(blocks_on_advice=list(rules))


def test_advice_comes_with_the_job_and_does_not_stand_in_its_way(client):
    response = post(client, max_completion_tokens=300)
    assert response.status_code == 202, response.content
    steps, cap = response.json()["advice"]
    start = STEPS.index("think")
    assert steps["rule"] == "chain_of_thought"
    assert steps["passage"] == {"message": 0, "start": start, "end": len(STEPS) - 1, "quote": STEPS[start:-1]}
    assert steps["do"]
    assert steps["why"]
    assert steps["source"].startswith("OpenAI, Reasoning best practices")
    assert steps["saving_usd"] is None
    assert (cap["rule"], cap["passage"]) == ("small_cap", None)
    assert "from 300 to 25,000" in cap["do"]


def test_a_job_that_is_looked_at_shows_none(client):
    job = post(client).json()
    assert job["advice"]
    assert "advice" not in client.get(f"/api/v1/jobs/{job['id']}").json()


def test_what_is_kept_for_repetitions_has_no_words_of_the_prompt(client):
    first, again = (
        client.post(
            "/api/v1/jobs", {"model": "o1", "prompt": STEPS}, format="json", headers={"Idempotency-Key": "steps"}
        )
        for _ in range(2)
    )
    assert first.content == again.content
    passage = again.json()["advice"][0]["passage"]
    assert (passage["start"], passage["quote"]) == (STEPS.index("think"), None)
    assert b"think step by step" not in first.content


def test_what_is_ignored_is_not_said(client):
    assert post(client, ignore_advice=["chain_of_thought"]).json()["advice"] == []


def test_a_rule_that_is_not_known_cannot_be_ignored(client):
    problem = post(client, ignore_advice=["chain_of_though"]).json()
    assert [error["pointer"] for error in problem["errors"]] == ["#/ignore_advice/0"]
    assert problem["errors"][0]["code"] == "invalid_choice"


def test_a_project_may_refuse_jobs_by_advice(client, project):
    block(project, AdviceRule.CHAIN_OF_THOUGHT)
    response = post(client)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (400, "advice_blocks")
    assert "chain_of_thought" in problem["detail"]
    assert "think step by step" in problem["detail"]
    assert "ignore_advice" in problem["detail"]
    assert [one["rule"] for one in problem["advice"]] == ["chain_of_thought"]
    assert [error["pointer"] for error in problem["errors"]] == ["#/messages/0"]
    assert not Job.objects.exists()
    assert not JobContent.objects.exists()
    assert post(client, ignore_advice=["chain_of_thought"]).status_code == 202


def test_other_advice_does_not_stand_in_the_way_of_such_a_project(client, project):
    block(project, AdviceRule.SMALL_CAP)
    assert post(client).status_code == 202
    problem = post(client, max_completion_tokens=10).json()
    assert [error["pointer"] for error in problem["errors"]] == ["#/max_completion_tokens"]


def test_the_setting_is_changed_over_the_api_with_an_entry_in_the_audit_trail(alice, project):
    admins_client = manager_of(alice, Role.ADMIN)
    path = f"/api/v1/projects/{project.pk}"
    changed = admins_client.patch(path, {"blocks_on_advice": ["small_cap", "chain_of_thought"]}, format="json")
    assert changed.status_code == 200, changed.content
    assert changed.json()["blocks_on_advice"] == ["chain_of_thought", "small_cap"]
    entry = AuditEntry.objects.filter(subject_id=str(project.pk)).latest("at")
    assert entry.after == {"blocks_on_advice": ["chain_of_thought", "small_cap"]}
    assert admins_client.patch(path, {"blocks_on_advice": ["haste"]}, format="json").status_code == 400


def test_an_estimate_makes_nothing(client):
    response = post(client, "jobs/estimate", prompt=PROMPT)
    assert response.status_code == 200, response.content
    found = response.json()
    assert found["object"] == "job.estimate"
    assert found["bound"]["output_tokens"] == 32_768
    assert found["prompt_tokens"] < found["bound"]["input_tokens"]
    assert (found["expected"], found["refusal"], found["waits_for"]) == (None, None, None)
    assert found["recommended_max_completion_tokens"] == 25_000
    assert found["advice"] == []
    assert not Job.objects.exists()
    assert not Queue.objects.exists()


def test_an_estimate_and_the_job_have_the_same_bound_and_advice(client):
    body = {"prompt": STEPS, "max_completion_tokens": 300}
    estimate, job = post(client, "jobs/estimate", **body).json(), post(client, **body).json()
    assert estimate["bound"] == job["bound"]
    assert estimate["advice"] == job["advice"]


@pytest.mark.parametrize(
    "body",
    [
        {"model": "o9"},
        {"prompt": None},
        {"max_tokens": 5},
        {"priority": 500},
        {"deadline": "2001-01-01T00:00:00Z"},
        {"prompt": None, "messages": [{"role": "system", "content": "x"}]},
        {"service_tier": "priority"},
    ],
)
def test_what_can_never_run_is_refused_as_a_submission_of_it(client, body):
    estimate, submitted = post(client, "jobs/estimate", **body), post(client, **body)
    assert estimate.status_code == submitted.status_code >= 400
    own = {"instance", "request_id"}
    assert {k: v for k, v in estimate.json().items() if k not in own} == {
        k: v for k, v in submitted.json().items() if k not in own
    }


@pytest.mark.parametrize("body", [{"max_cost_usd": "0.01"}, {"max_completion_tokens": 10}])
def test_what_stands_in_the_way_is_told_with_the_rest(client, project, body):
    block(project, AdviceRule.SMALL_CAP)
    found, refused = post(client, "jobs/estimate", **body).json(), post(client, **body).json()
    assert found["refusal"] == {"code": refused["code"], "detail": refused["detail"]}
    assert found["bound"]["cost_usd"]


def test_limits_say_what_is_needed_and_what_would_be_left(client, project):
    Quota.objects.create(organization=project.organization, project=project, limit=Decimal("2"))
    found = post(client, "jobs/estimate", max_completion_tokens=25_000).json()
    tightest = found["limits"][0]
    assert (tightest["scope"], tightest["limit"], tightest["fits"]) == ("project", "2.00", True)
    assert tightest["required"] == found["bound"]["cost_usd"]
    assert Decimal(tightest["left"]) == 2 - Decimal(tightest["required"])


def test_a_spent_limit_is_what_the_job_would_wait_for(client, project):
    Quota.objects.create(organization=project.organization, project=project, limit=Decimal("2"))
    with transaction.atomic():
        assert ledger.reserve([make_claim(project, "1.50")]) == []
    found = post(client, "jobs/estimate", max_completion_tokens=25_000).json()
    assert found["refusal"] is None
    assert found["waits_for"]["reason"] == "budget"
    assert (found["waits_for"]["held"], found["waits_for"]["fits"]) == ("1.50", False)


def test_a_limit_that_it_could_never_fit_into_would_refuse_it(client, project):
    Quota.objects.create(organization=project.organization, project=project, limit=Decimal("0.01"))
    found = post(client, "jobs/estimate").json()
    assert found["refusal"]["code"] == "exceeds_limit"
    assert found["limits"][0]["left"] == "0.00"


def test_a_paused_project_is_what_the_job_would_wait_for(client, project):
    Project.objects.filter(pk=project.pk).update(paused_at="2024-09-30T12:00:00Z", paused_reason="Bill under review")
    assert post(client, "jobs/estimate").json()["waits_for"] == {
        "reason": "project_paused",
        "message": "Bill under review",
    }


@pytest.mark.usefixtures("history")
def test_earlier_calls_tell_what_is_expected(client):
    found = post(client, "jobs/estimate", max_completion_tokens=3000).json()
    expected = found["expected"]
    assert (expected["calls"], expected["level"]) == (800, "class")
    tokens = found["prompt_tokens"]
    for name, output in (("p50", 2000), ("p90", 3000), ("p99", 3000)):  # none needs more than the cap
        cost = 15 * Decimal(tokens) / 1_000_000 + 60 * Decimal(output) / 1_000_000
        assert (expected[name]["output_tokens"], Decimal(expected[name]["cost_usd"])) == (output, cost)
    assert expected["empty_probability"] == "0.2502"  # 1,001 of 4,000 need 3,000 tokens
    assert found["recommended_max_completion_tokens"] == 3960
    savings = {one["rule"]: one["saving_usd"] for one in found["advice"]}
    # 1,000 reasoning tokens at 60 USD a million; a quarter of the calls pay for 3,000 tokens and show nothing.
    assert savings == {"chain_of_thought": "0.06", "small_cap": "0.045045"}


@pytest.mark.usefixtures("history")
def test_a_cap_is_advised_by_earlier_calls_where_there_are_some(client):
    advice = post(client, max_completion_tokens=5000, prompt=PROMPT).json()["advice"]
    assert advice == []  # below 25,000, and more than they ever needed


def test_simple_work_is_advised_to_a_model_that_the_tier_may_call(client):
    (advice,) = post(client, prompt="Translate into French: The meeting is moved to Thursday.").json()["advice"]
    assert advice["rule"] == "large_model"
    assert "Try gpt-4o for this: its output costs 75 % less" in advice["do"]
