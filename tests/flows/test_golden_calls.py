from decimal import Decimal

import pytest

from billing.models import Budget, LedgerEntry, SpendRollup, UsageRecord
from tests.flows.conftest import PROMPT

CONCISE = PROMPT + " Limit yourself to the answer and don't add explanations or introductions."

GOLDEN = [
    # model, prompt, parameters, prompt tokens, completion, reasoning, cost, status
    ("o1-preview", PROMPT, {}, 43, 1279, 1024, "0.077385", "succeeded"),
    ("o1-preview", PROMPT, {"max_completion_tokens": 300}, 43, 300, 300, "0.018645", "incomplete"),
    ("o1-mini", PROMPT, {}, 43, 1511, 256, "0.018261", "succeeded"),
    ("o1-mini", CONCISE, {}, 55, 487, 320, "0.006009", "succeeded"),
]


@pytest.mark.parametrize(("model", "prompt", "parameters", "input_", "output", "reasoning", "cost", "status"), GOLDEN)
def test_each_golden_call_comes_out_to_the_last_digit(
    path, model, prompt, parameters, input_, output, reasoning, cost, status
):
    job = path.submit(model, prompt, **parameters)
    assert job.bound_usd >= Decimal(cost)
    path.run()
    job.refresh_from_db()
    assert (job.status, job.total_usd) == (status, Decimal(cost))
    record = UsageRecord.objects.get()
    assert (record.input_tokens, record.output_tokens, record.reasoning_tokens) == (input_, output, reasoning)
    assert record.snapshot == f"{model}-2024-09-12"
    assert record.is_empty == job.is_empty == (status == "incomplete")
    (line,) = path.bill(job)
    assert Decimal(line["cost_usd"]) == Decimal(cost)


def test_the_four_together_are_the_same_sum_in_every_book(path):
    jobs = [path.submit(model, prompt, **parameters) for model, prompt, parameters, *_ in GOLDEN]
    path.run()
    total = Decimal("0.120300")
    for job in jobs:
        job.refresh_from_db()
    assert sum(job.total_usd for job in jobs) == total
    assert sum(entry.spent_change_usd for entry in LedgerEntry.objects.all()) == total
    assert sum(record.total_usd for record in UsageRecord.objects.all()) == total
    assert sum(row.total_usd for row in SpendRollup.objects.all()) == total
    assert [(b.spent, b.held, b.limit) for b in Budget.objects.all()] == [(total, 0, 50_000)] * 2
    assert sum(Decimal(line["cost_usd"]) for job in jobs for line in path.bill(job)) == total
