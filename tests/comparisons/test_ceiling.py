"""A comparison never comes above its max_cost_usd: not by a digit, whoever works on it at once, whatever jobs cost."""

import threading
from decimal import Decimal as D

import pytest
from django.db import connection
from django.db.models import Sum
from rest_framework.test import APIClient

from billing.models import LedgerEntry, Price
from jobs import execution
from jobs.comparisons import feeding, steps
from jobs.models import Comparison, ComparisonRun, Job
from jobs.recovery import decisions
from tests.comparisons.conftest import SMALL, Comparisons

OTHER_THREADS = pytest.mark.django_db(transaction=True, serialized_rollback=True)


@pytest.fixture
def bound(comparisons) -> D:
    """What one call of the small variant can cost."""
    comparison = comparisons.make()
    found = comparison.runs.get().bound_usd
    steps.cancel(comparison)
    ComparisonRun.objects.all().delete()
    Comparison.objects.all().delete()
    Job.objects.all().delete()
    return found


def books() -> D:
    """Spent and held, of everything there is."""
    sums = LedgerEntry.objects.aggregate(spent=Sum("spent_change_usd"), held=Sum("held_change_usd"))
    return sum((value or D(0) for value in sums.values()), D(0))


def test_as_many_runs_become_jobs_as_can_never_come_above_it(comparisons, bound):
    comparisons.make(times=10, max_cost_usd=str(3 * bound))
    steps.work(60)
    assert Job.objects.count() == 3
    assert ComparisonRun.objects.filter(status="waiting").count() == 7
    assert set(Job.objects.values_list("max_cost_usd", "bound_usd")) == {(bound, bound)}


def test_a_ceiling_that_is_a_digit_too_low_lets_one_run_less_begin(comparisons, bound):
    comparisons.make(times=10, max_cost_usd=f"{3 * bound - D('0.000000000001'):f}")
    steps.work(60)
    assert Job.objects.count() == 2


def test_what_jobs_did_not_come_to_is_used_for_others_and_the_rest_is_told(comparisons, bound):
    comparison = comparisons.make(times=20, max_cost_usd=str(3 * bound))
    comparisons.work()
    found = comparisons.get(comparison)
    (variant,) = found["variants"]
    counts = variant["figures"]["counts"]
    assert found["status"] == "completed"
    assert counts["succeeded"] > 3
    assert counts["succeeded"] + counts["not_run"] == 20
    spent = D(found["spent_usd"])
    assert spent == books() == D(variant["figures"]["cost"]["total_usd"]) <= 3 * bound
    # No other would have fitted.
    assert spent + bound > 3 * bound
    last = comparisons.get(comparison, "/runs", limit=100)["data"][-1]
    assert (last["status"], last["reason"], last["job_id"]) == ("not_run", "ceiling_reached", None)
    assert D(last["figures"]["taken_usd"]) == spent
    assert D(last["figures"]["required_usd"]) == bound
    assert last["figures"]["taken_usd"] in last["message"]


def test_every_variant_is_run_once_before_any_twice(comparisons, bound):
    variants = [{**SMALL, "name": name} for name in "abc"]
    comparison = comparisons.make(variants=variants, times=3, max_cost_usd=str(4 * bound))
    order = list(comparison.runs.order_by("number").values_list("round", "variant"))
    assert order == [(turn, variant) for turn in (1, 2, 3) for variant in (1, 2, 3)]
    for _ in range(4):
        begun = [number for number, job in comparison.runs.order_by("number").values_list("number", "job") if job]
        assert begun == list(range(1, len(begun) + 1))
        comparisons.path.run()
        steps.work(60)
    assert len(begun) > 4


def test_a_variant_that_could_never_be_run_is_refused_at_the_door(comparisons, bound):
    answer = comparisons.post(max_cost_usd=f"{bound - D('0.000000000001'):f}")
    assert (answer.status_code, answer.json()["code"]) == (402, "max_cost_exceeded")
    assert "variants[0]" in answer.json()["detail"]
    assert not Comparison.objects.exists()


def test_a_price_that_rises_before_the_call_fails_the_job_and_not_the_ceiling(comparisons, bound):
    comparison = comparisons.make(times=5, max_cost_usd=str(2 * bound))
    with connection.cursor() as cursor:  # a stored price is not edited: as if a dearer one had begun since
        cursor.execute("SET LOCAL session_replication_role = replica")
        Price.objects.filter(model__startswith="o1-mini").update(output_usd_per_million=1000)
        cursor.execute("SET LOCAL session_replication_role = origin")
    comparisons.work()
    counts = comparisons.get(comparison)["variants"][0]["figures"]["counts"]
    assert counts == {"failed": 2, "not_run": 3}
    assert books() == 0


def test_what_was_presumed_spent_for_a_call_that_is_run_again_counts(comparisons, bound, simulator):
    comparison = comparisons.make(times=16, max_cost_usd=str(8 * bound))
    simulator.fault("cut_before_billing")
    for attempt in comparisons.path.dispatch():
        execution.execute(attempt.pk, worker="tests")
    (doubtful,) = Job.objects.filter(status="in_doubt")
    assert decisions.run_again(doubtful.attempts.get().pk, reason="somebody wants it all the same")
    steps.work(60)
    answered = Job.objects.filter(status="succeeded").aggregate(cost=Sum("total_usd"))["cost"]
    # Beside the answers, the lost call and the one that is made for it.
    left = 8 * bound - answered - 2 * bound
    assert left > 0
    assert Job.objects.filter(status="queued").count() == 1 + left // bound
    assert D(comparisons.get(comparison)["spent_usd"]) == answered + bound


@OTHER_THREADS
def test_several_that_step_at_once_while_jobs_end_never_bring_it_above_its_ceiling(
    client: APIClient, path, slots, monkeypatch
):
    slots(20)
    comparisons = Comparisons(client, path)
    monkeypatch.setattr(feeding, "RUNS_AT_ONCE", 2)
    bound = comparisons.make(max_cost_usd="1").runs.get().bound_usd
    comparisons.work()
    comparison = comparisons.make(times=20, variants=[SMALL, {**SMALL, "name": "again"}], max_cost_usd=str(5 * bound))
    over, seen, is_over = [], [], threading.Event()

    def step() -> None:
        try:
            while not is_over.is_set():
                steps.step(comparison.pk)
        finally:
            connection.close()

    def watch() -> None:
        committed = """
            SELECT COALESCE(sum(COALESCE(job.total_usd, job.bound_usd)), 0) FROM jobs_job job
            WHERE job.metadata->>'comparison_id' = %s
        """
        try:
            while not is_over.is_set():
                with connection.cursor() as cursor:
                    cursor.execute(committed, [str(comparison.pk)])
                    (sum_usd,) = cursor.fetchone()
                seen.append(sum_usd)
                if sum_usd > comparison.max_cost_usd:
                    over.append(sum_usd)
        finally:
            connection.close()

    threads = [threading.Thread(target=one) for one in (step, step, step, watch)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2000):
            path.run()
            if Comparison.objects.get(pk=comparison.pk).has_ended:
                break
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    found = comparisons.get(comparison)
    assert found["status"] == "completed"
    assert sum(variant["figures"]["counts"]["succeeded"] for variant in found["variants"]) > 5
    # Each run is one job, and no other job was made for any.
    made = Job.objects.filter(metadata__comparison_id=str(comparison.pk))
    assert made.count() == comparison.runs.exclude(job=None).count()
    assert over == []
    assert max(seen) > comparison.max_cost_usd / 2
    assert D(found["spent_usd"]) <= comparison.max_cost_usd
