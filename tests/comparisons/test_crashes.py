"""A worker that is killed in the middle of any step runs nothing twice and loses nothing."""

import pytest
from django.db.models import Sum

from billing.models import LedgerEntry
from jobs.comparisons import creation, feeding, steps
from jobs.models import Comparison, ComparisonRun, Job
from tests.comparisons.conftest import SMALL


class Killed(BaseException):
    """Stands for the end of the process: nobody catches it, and the transaction goes with it."""


def rows() -> tuple:
    """All that a step writes."""
    return (
        list(Comparison.objects.values()),
        list(ComparisonRun.objects.order_by("pk").values()),
        list(Job.objects.order_by("pk").values("pk", "status")),
    )


def killed(*_: object) -> None:
    raise Killed


def test_a_step_that_is_killed_before_its_commit_leaves_everything_as_it_was(comparisons, monkeypatch, simulator):
    monkeypatch.setattr(feeding, "RUNS_AT_ONCE", 2)
    comparison = comparisons.make(variants=[SMALL, {**SMALL, "name": "again"}], times=5)
    kills = 0
    while not Comparison.objects.get().has_ended:
        before = rows()
        with monkeypatch.context() as patch:
            patch.setattr(steps, "reach", killed)
            with pytest.raises(Killed):
                steps.step(comparison.pk)
        assert rows() == before
        kills += 1
        assert kills < 100
        if not steps.step(comparison.pk):
            comparisons.path.run()
    assert Job.objects.count() == simulator.counters()["billed"] == 10
    spent = LedgerEntry.objects.aggregate(spent=Sum("spent_change_usd"))["spent"]
    assert comparisons.get(comparison)["spent_usd"] == f"{spent.normalize():f}"
    assert kills > 4


def test_a_request_that_is_killed_before_its_commit_leaves_nothing(comparisons, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(creation.feeding, "end_waiting", killed)
        patch.setattr(ComparisonRun.objects, "bulk_update", killed)
        with pytest.raises(Killed):
            comparisons.post(times=3)
    assert not Comparison.objects.exists()
    assert not Job.objects.exists()


def test_a_request_that_is_repeated_makes_one_comparison(comparisons):
    first, again = (
        comparisons.client.post(
            "/api/v1/comparisons",
            {"prompt": "Why?", "variants": [SMALL], "max_cost_usd": "1"},
            format="json",
            headers={"Idempotency-Key": "once"},
        )
        for _ in range(2)
    )
    assert first.content == again.content
    assert again.headers["Idempotent-Replayed"] == "true"
    assert first.headers["Location"].endswith(f"/api/v1/comparisons/{first.json()['id']}")
    assert (Comparison.objects.count(), Job.objects.count()) == (1, 1)
