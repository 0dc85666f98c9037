"""Comparisons from beginning to end: what is refused, cancelled, lost, erased and written."""

import csv
import io
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from accounts import api_keys
from accounts.models import Project
from jobs import erasure, execution
from jobs.comparisons import steps
from jobs.models import Comparison, ComparisonRun, Doubt, Job
from tests.comparisons.conftest import QUESTION, SMALL

FAULTS = [
    (
        {"variants": [SMALL, SMALL, {"model": "o1-mini", "max_completion_tokens": -1}]},
        "#/variants/2/max_completion_tokens",
    ),
    ({"variants": [SMALL, {"model": "no-such-model"}]}, "#/variants/1/model"),
    ({"variants": [SMALL, {"max_completion_tokens": 5}]}, "#/variants/1/model"),
    ({"variants": [{**SMALL, "temperature": 0.5}]}, "#/variants/0/temperature"),
    ({"variants": [{**SMALL, "metadata": {}}]}, "#/variants/0/metadata"),
    ({"variants": [{**SMALL, "name": "a"}, {**SMALL, "name": "a"}]}, "#/variants/1/name"),
    ({"variants": []}, "#/variants"),
    ({"variants": [SMALL] * 13}, "#/variants"),
    ({"variants": ["o1-mini"]}, "#/variants/0"),
    ({"prompt": None}, "#/prompts"),
    ({"prompts": ["a"]}, "#/prompts"),
    ({"prompt": None, "prompts": ["a", {"name": "b"}]}, "#/prompts/1/messages"),
    (
        {"prompt": None, "prompts": ["a", {"messages": [{"role": "wizard", "content": "x"}]}]},
        "#/prompts/1/messages/0/role",
    ),
    (
        {
            "prompt": None,
            "messages": [{"role": "assistant", "content": "x"}],
            "variants": [{**SMALL, "wording": "Be short."}],
        },
        "#/variants/0/wording",
    ),
    ({"times": 21}, "#/times"),
    ({"times": 20, "variants": [SMALL] * 12, "prompt": None, "prompts": ["a"] * 5}, "#/times"),
    ({"max_cost_usd": "0"}, "#/max_cost_usd"),
    ({"max_cost_usd": None}, "#/max_cost_usd"),
    ({"baseline": "another"}, "#/baseline"),
    ({"baseline": 2}, "#/baseline"),
    ({"priority": 5}, "#/priority"),
]


@pytest.mark.parametrize(("body", "pointer"), FAULTS)
def test_what_is_wrong_is_named_before_anything_is_stored(comparisons, body, pointer):
    answer = comparisons.post(**body)
    assert answer.status_code in {400, 404}, answer.json()
    assert pointer in [fault["pointer"] for fault in answer.json()["errors"]], answer.json()
    assert not Comparison.objects.exists()
    assert not Job.objects.exists()


def test_a_wording_stands_behind_the_last_message_of_the_user(comparisons):
    messages = [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Two?"},
    ]
    comparisons.make(prompt=None, messages=messages, variants=[SMALL, {**SMALL, "wording": "Be short."}])
    plain, worded = (job.content.request["messages"] for job in Job.objects.order_by("pk"))
    assert plain == messages
    assert worded == [*messages[:2], {"role": "user", "content": "Two? Be short."}]


def test_names_tell_variants_apart(comparisons):
    variants = [SMALL, SMALL, {"model": "o1-mini", "name": "mine"}, {"model": "o1-mini", "wording": "Be short."}]
    comparison = comparisons.make(variants=variants, baseline="mine")
    names = [variant["name"] for variant in comparison.variants]
    assert names == ["o1-mini, cap 2000", "o1-mini, cap 2000 (2)", "mine", "o1-mini, other wording"]
    assert comparison.baseline == 3


def test_a_set_of_prompts_has_figures_for_each(comparisons):
    prompts = [{"name": "capital", "prompt": QUESTION}, "Why is the sky blue?"]
    comparison = comparisons.make(prompt=None, prompts=prompts, variants=[SMALL, {**SMALL, "name": "again"}], times=2)
    comparisons.work()
    found = comparisons.get(comparison)
    assert [prompt["name"] for prompt in found["prompts"]] == ["capital", "Prompt 2"]
    for prompt in found["prompts"]:
        assert [cell["figures"]["counts"] for cell in prompt["variants"]] == [{"succeeded": 2}] * 2
    saving = found["variants"][1]["saving"]
    assert (saving["prompts"], saving["runs"], saving["confidence_95"]) == (2, 2, None)
    assert saving["range"] is not None


def test_runs_come_in_pages_and_as_a_file(comparisons):
    comparison = comparisons.make(times=5, name="=cmd")
    comparisons.work()
    first = comparisons.get(comparison, "/runs", limit=3)
    rest = comparisons.client.get(first["next"]).json()
    assert [run["number"] for run in first["data"] + rest["data"]] == [1, 2, 3, 4, 5]
    assert (first["has_more"], rest["has_more"], rest["next"]) == (True, False, None)
    answer = comparisons.client.get(f"/api/v1/comparisons/{comparison.pk}/runs.csv")
    assert answer.headers["Content-Type"].startswith("text/csv")
    lines = list(csv.DictReader(io.StringIO(answer.content.decode())))
    told = [(run["job_id"], run["cost_usd"], str(run["tokens"]["reasoning"])) for run in first["data"] + rest["data"]]
    assert [(line["job_id"], line["cost_usd"], line["reasoning_tokens"]) for line in lines] == told


def test_cancelling_withdraws_what_has_not_started_and_counts_what_has(comparisons, bound_of_small):
    comparison = comparisons.make(times=6, max_cost_usd=str(3 * bound_of_small))
    (attempt, *_) = comparisons.path.dispatch()
    url = f"/api/v1/comparisons/{comparison.pk}/cancel"
    assert comparisons.client.post(url).json()["status"] == "cancelling"
    for one in [attempt, *_]:
        execution.execute(one.pk, worker="tests")
    steps.work(60)
    found = comparisons.get(comparison)
    assert found["status"] == "cancelled"
    counts = found["variants"][0]["figures"]["counts"]
    assert counts == {"succeeded": 1 + len(_), "not_run": 6 - 1 - len(_)}
    assert found["spent_usd"] != "0.00"
    assert comparisons.client.post(url).json()["status"] == "cancelled"
    assert set(comparison.runs.filter(status="not_run").values_list("reason", flat=True)) == {"cancelled"}


@pytest.fixture
def bound_of_small(comparisons):
    comparison = comparisons.make(max_cost_usd="1")
    comparisons.work()
    return comparison.runs.get().bound_usd


def test_queued_jobs_are_withdrawn_at_once(comparisons):
    comparison = comparisons.make(times=3)
    assert comparisons.client.post(f"/api/v1/comparisons/{comparison.pk}/cancel").json()["status"] == "cancelled"
    assert set(Job.objects.values_list("status", flat=True)) == {"cancelled"}


def test_one_that_is_completed_is_not_cancelled(comparisons):
    comparison = comparisons.make()
    comparisons.work()
    answer = comparisons.client.post(f"/api/v1/comparisons/{comparison.pk}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "comparison_not_cancellable")


def test_a_key_that_ends_ends_what_has_not_begun(comparisons, bound_of_small):
    comparison = comparisons.make(times=3, max_cost_usd=str(bound_of_small))
    api_keys.revoke(comparison.api_key)
    steps.work(60)
    assert list(comparison.runs.order_by("number").values_list("status", "reason")) == [
        ("fed", ""),
        ("not_run", "invalid_api_key"),
        ("not_run", "invalid_api_key"),
    ]


def test_a_lost_answer_keeps_nobody_waiting_for_ever_and_its_bound_stays_taken(comparisons, simulator, bound_of_small):
    comparison = comparisons.make(times=2, max_cost_usd=str(bound_of_small))
    simulator.fault("cut_before_billing")
    for attempt in comparisons.path.dispatch():
        execution.execute(attempt.pk, worker="tests")
    steps.work(60)
    assert comparisons.get(comparison)["status"] == "running"
    Doubt.objects.update(opened_at=timezone.now() - steps.DOUBT_GRACE)
    steps.work(60)
    found = comparisons.get(comparison)
    assert found["status"] == "completed"
    assert found["variants"][0]["figures"]["counts"] == {"in_doubt": 1, "not_run": 1}


def test_content_is_encrypted_and_goes_with_the_projects_retention(comparisons):
    comparison = comparisons.make(prompt="a canary sings", variants=[{**SMALL, "wording": "another canary"}])
    with connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(c)::text, content FROM jobs_comparison c")
        told, content = cursor.fetchone()
    assert "canary" not in told
    assert b"canary" not in bytes(content)
    comparisons.work()
    Project.objects.update(content_retention_days=1)
    erasure.erase_due()
    assert comparisons.get(comparison)["prompts"][0]["messages"][0]["content"] == "a canary sings"
    long_ago = timezone.now() - timedelta(days=2)
    Comparison.objects.update(finished_at=long_ago)
    Job.objects.update(finished_at=long_ago)
    figures = comparisons.get(comparison)["variants"][0]["figures"]
    erasure.erase_due()
    found = comparisons.get(comparison)
    assert found["content_erased_at"] is not None
    assert "canary" not in str(found)
    assert (found["prompts"][0]["messages"], found["variants"][0]["wording"]) == (None, None)
    assert found["variants"][0]["figures"] == figures
    assert found["prompts"][0]["variants"][0]["answer"]["output_text"] is None


def test_where_nothing_is_kept_answers_are_handed_out_when_all_are_there(comparisons, bound_of_small):
    Project.objects.update(content_retention_days=0)
    comparison = comparisons.make(times=2, max_cost_usd=str(bound_of_small))
    comparisons.path.run()
    cell = comparisons.get(comparison)["prompts"][0]["variants"][0]
    assert cell["answer"] is not None
    assert cell["answer"]["output_text"] is None
    comparisons.work()
    assert comparisons.get(comparison)["prompts"][0]["variants"][0]["answer"]["output_text"]


def test_the_list_has_the_projects_own_newest_first(comparisons, bobs_secret):
    made = [str(comparisons.make().pk) for _ in range(3)]
    first = comparisons.client.get("/api/v1/comparisons", {"limit": 2}).json()
    rest = comparisons.client.get(first["next"]).json()
    assert [one["id"] for one in first["data"] + rest["data"]] == made[::-1]
    comparisons.client.credentials(HTTP_AUTHORIZATION=f"Bearer {bobs_secret}")
    assert comparisons.client.get("/api/v1/comparisons").json()["data"] == []
    assert comparisons.client.get(f"/api/v1/comparisons/{made[0]}").status_code == 404


@pytest.fixture
def bobs_secret(bob) -> str:
    return bob.api_key.secret


def test_a_run_is_one_job_at_most(comparisons):
    comparison = comparisons.make(times=2)
    steps.work(60)
    comparisons.work()
    assert Job.objects.count() == ComparisonRun.objects.exclude(job=None).count() == 2
    assert comparison.runs.values("job").distinct().count() == 2
