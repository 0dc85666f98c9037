"""A batch never comes above its X-Max-Cost-USD: not by a digit, whoever works on it at once, whatever its jobs cost."""

import threading
from collections import Counter
from decimal import Decimal as D

import openai
import pytest
from django.db import connection
from django.db.models import Sum

from billing.models import LedgerEntry, Price
from jobs import execution
from jobs.batches import feeding, steps
from jobs.models import Batch, BatchLine, Job
from jobs.recovery import decisions
from tests.batches.conftest import file_of, pk_of, request

OTHER_THREADS = pytest.mark.django_db(transaction=True, serialized_rollback=True)
LIMIT = "batch_cost_limit_reached"


def lines(count: int, **body) -> bytes:
    return file_of(*(request(f"line {number}", **body) for number in range(count)))


def capped(batches, data: bytes, most: D | str):
    """A batch with a ceiling, looked at and not yet fed."""
    batch = batches.create(data, extra_headers={"X-Max-Cost-USD": f"{most}"})
    while Batch.objects.filter(pk=pk_of(batch), status="validating").exists():
        steps.step(pk_of(batch))
    return batches.client.batches.retrieve(batch.id)


@pytest.fixture
def bound(batches) -> D:
    """What one call of a line can cost."""
    file = batches.upload(lines(1))
    found = batches.client.post("/batches/preview", cast_to=dict, body={"input_file_id": file.id})
    return D(found["bound"]["cost_usd"])


def books() -> D:
    """Spent and held, of everything there is."""
    sums = LedgerEntry.objects.aggregate(spent=Sum("spent_change_usd"), held=Sum("held_change_usd"))
    return sum((value or D(0) for value in sums.values()), D(0))


def told(batches, batch) -> Counter:
    """How the lines ended, by the codes of the error file and `answered`."""
    done = batches.client.batches.retrieve(batch.id)
    assert done.status == "completed"
    found = Counter(line["error"]["code"] for line in batches.lines(done.error_file_id))
    return found + Counter(answered=len(batches.lines(done.output_file_id)))


def test_a_batch_shows_its_ceiling_and_has_none_where_nobody_asked_for_one(batches):
    assert capped(batches, lines(1), "12.50").to_dict()["max_cost_usd"] == "12.50"
    assert batches.create(lines(1)).to_dict()["max_cost_usd"] is None


@pytest.mark.parametrize("header", ["", "x", "0", "-1", "NaN", "1e400", "0.0000000000001"])
def test_a_ceiling_that_is_no_amount_is_refused(batches, header):
    with pytest.raises(openai.BadRequestError) as refused:
        batches.create(lines(1), extra_headers={"X-Max-Cost-USD": header})
    assert refused.value.param == "X-Max-Cost-USD"
    assert not Batch.objects.exists()


def test_as_many_lines_become_jobs_as_can_never_come_above_it(batches, bound):
    capped(batches, lines(10), 3 * bound)
    steps.work(60)
    assert Job.objects.count() == 3
    assert BatchLine.objects.filter(status="waiting").count() == 7
    assert set(Job.objects.values_list("max_cost_usd", "bound_usd")) == {(bound, bound)}


def test_a_ceiling_that_is_a_digit_too_low_lets_one_line_less_run(batches, bound):
    capped(batches, lines(10), 3 * bound - D("0.000000000001"))
    steps.work(60)
    assert Job.objects.count() == 2


def test_what_jobs_did_not_come_to_is_used_for_others_and_the_rest_is_told(batches, bound):
    batch = capped(batches, lines(30), 3 * bound)
    batches.work()
    found = told(batches, batch)
    assert found.keys() == {"answered", LIMIT}
    assert found.total() == 30
    assert found["answered"] > 3
    done = batches.client.batches.retrieve(batch.id)
    assert (done.request_counts.completed, done.request_counts.failed) == (found["answered"], found[LIMIT])
    cost = D(done.to_dict()["cost"]["total_usd"])
    assert cost == books() <= 3 * bound
    # No other would have fitted.
    assert cost + bound > 3 * bound


def test_a_line_that_is_too_dear_does_not_keep_smaller_ones_behind_it_from_running(batches, bound):
    dear = [request("dear", max_completion_tokens=60_000)]
    data = file_of(*dear, *(request(f"line {number}") for number in range(3)))
    batch = capped(batches, data, 3 * bound)
    batches.work()
    assert told(batches, batch) == {"answered": 3, LIMIT: 1}
    error = batches.lines(batches.client.batches.retrieve(batch.id).error_file_id)[0]
    assert (error["custom_id"], error["response"]) == ("dear", None)


def test_a_price_that_rises_before_the_call_fails_the_job_and_not_the_ceiling(batches, bound):
    batch = capped(batches, lines(5), 2 * bound)
    steps.work(60)
    with connection.cursor() as cursor:  # a stored price is not edited: as if a dearer one had begun since
        cursor.execute("SET LOCAL session_replication_role = replica")
        Price.objects.filter(model__startswith="o1-mini").update(output_usd_per_million=1000)
        cursor.execute("SET LOCAL session_replication_role = origin")
    batches.path.run()
    assert set(Job.objects.values_list("status", flat=True)) == {"failed"}
    batches.work()
    assert told(batches, batch) == {LIMIT: 5}
    assert books() == 0


def test_what_was_presumed_spent_for_a_call_that_is_run_again_counts(batches, bound, simulator):
    capped(batches, lines(16), 8 * bound)
    steps.work(60)
    simulator.fault("cut_before_billing")
    for attempt in batches.path.dispatch():
        execution.execute(attempt.pk, worker="tests")
    (doubtful,) = Job.objects.filter(status="in_doubt")
    assert decisions.run_again(doubtful.attempts.get().pk, reason="somebody wants it all the same")
    steps.work(60)
    answered = Job.objects.filter(status="succeeded").aggregate(cost=Sum("total_usd"))["cost"]
    # Beside the answers, the lost call and the one that is made for it.
    left = 8 * bound - answered - 2 * bound
    assert left > 0
    assert Job.objects.filter(status="queued").count() == 1 + left // bound


@OTHER_THREADS
def test_two_that_step_at_once_while_jobs_end_never_bring_it_above_its_ceiling(live_batches, monkeypatch):
    batches = live_batches
    monkeypatch.setattr(feeding, "LINES_AT_ONCE", 2)
    file = batches.upload(lines(1))
    preview = batches.client.post("/batches/preview", cast_to=dict, body={"input_file_id": file.id})
    most = 5 * D(preview["bound"]["cost_usd"])
    batch = capped(batches, lines(40), most)
    over, seen, is_over = [], [], threading.Event()

    def step() -> None:
        try:
            while not is_over.is_set():
                steps.step(pk_of(batch))
        finally:
            connection.close()

    def watch() -> None:
        committed = """
            SELECT (SELECT coalesce(sum(job.total_usd), 0) FROM jobs_job job)
                + (SELECT coalesce(sum(job.bound_usd), 0) FROM jobs_job job WHERE job.total_usd IS NULL)
        """
        try:
            while not is_over.is_set():
                with connection.cursor() as cursor:
                    cursor.execute(committed)
                    (sum_usd,) = cursor.fetchone()
                seen.append(sum_usd)
                if sum_usd > most:
                    over.append(sum_usd)
        finally:
            connection.close()

    threads = [threading.Thread(target=one) for one in (step, step, step, watch)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2000):
            batches.path.run()
            if Batch.objects.get(pk=pk_of(batch)).status == "completed":
                break
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    found = told(batches, batch)
    assert found.total() == 40
    assert found["answered"] > 5
    assert over == []
    assert max(seen) > most / 2
    assert books() <= most
