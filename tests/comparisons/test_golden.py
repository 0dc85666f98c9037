"""The four calls of the documentation's example, from the request to the table, to the last digit."""

from decimal import Decimal as D

from billing.models import LedgerEntry
from jobs.api.comparisons.examples import COMPLETED_COMPARISON, RUNNING_COMPARISON, SUBMISSION_BODY
from jobs.models import Job

GOLDEN = [
    # input, completion, reasoning, cost, saving per thousand calls and per cent
    (43, 1279, 1024, "0.077385", None, None),
    (43, 300, 300, "0.018645", "58.74", "75.9"),
    (43, 1511, 256, "0.018261", "59.124", "76.4"),
    (55, 487, 320, "0.006009", "71.376", "92.2"),
]
# What differs each time.
VARYING = {"id", "created_at", "finished_at", "job_id", "latency_ms", "output_text"}


def without_varying(value):
    """The same with what differs each time by its kind alone."""
    if isinstance(value, dict):
        return {name: type(part) if name in VARYING else without_varying(part) for name, part in value.items()}
    return [without_varying(part) for part in value] if isinstance(value, list) else value


def test_one_comparison_gives_the_table_of_the_four_calls(comparisons):
    comparison = comparisons.make_sample()
    comparisons.work()
    found = comparisons.get(comparison)
    assert (found["status"], found["spent_usd"]) == ("completed", "0.1203")
    for variant, (asked, output, reasoning, cost, saved, percent) in zip(found["variants"], GOLDEN, strict=True):
        tokens = {name: figure["mean"] for name, figure in variant["figures"]["tokens"].items()}
        visible = output - reasoning
        counted = {"input": asked, "cached": 0, "reasoning": reasoning, "visible": visible, "output": output}
        assert tokens == {name: str(count) for name, count in counted.items()}
        assert variant["figures"]["cost"]["mean_usd"] == cost
        saving = variant["saving"] or {"per_thousand_calls_usd": None, "percent": None}
        assert (saving["per_thousand_calls_usd"], saving["percent"]) == (saved, percent)
    assert [variant["figures"]["empty"] for variant in found["variants"]] == [0, 1, 0, 0]
    ledger = sum(entry.spent_change_usd for entry in LedgerEntry.objects.all())
    billed = [line for job in Job.objects.all() for line in comparisons.path.bill(job)]
    assert ledger == sum(D(line["cost_usd"]) for line in billed) == D("0.1203")


def test_the_answers_stand_side_by_side(comparisons):
    comparison = comparisons.make_sample()
    comparisons.work()
    (prompt,) = comparisons.get(comparison)["prompts"]
    answers = [variant["answer"] for variant in prompt["variants"]]
    texts = [Job.objects.get(pk=answer["job_id"]).content.message["content"] for answer in answers]
    assert [answer["output_text"] for answer in answers] == texts
    assert [bool(text) for text in texts] == [True, False, True, True]
    left_out = comparisons.get(comparison, answers="false")["prompts"][0]["variants"]
    assert [variant["answer"]["output_text"] for variant in left_out] == [None] * 4


def test_the_examples_of_the_documentation_are_what_is_answered(comparisons):
    posted = comparisons.post(**SUBMISSION_BODY)
    assert without_varying(posted.json()) == without_varying({**RUNNING_COMPARISON, "finished_at": None})
    comparisons.work()
    found = comparisons.client.get(f"/api/v1/comparisons/{posted.json()['id']}").json()
    assert without_varying(found) == without_varying(COMPLETED_COMPARISON)


def test_the_jobs_are_ordinary_ones_and_found_by_the_comparison(comparisons):
    comparison = comparisons.make_sample()
    listed = comparisons.client.get("/api/v1/jobs", {"metadata[comparison_id]": str(comparison.pk)}).json()["data"]
    assert len(listed) == 4
    assert {job["priority"] for job in listed} == {-5}
    assert {(job["metadata"]["prompt"], job["metadata"]["variant"]) for job in listed} == {
        ("1", str(number)) for number in range(1, 5)
    }
