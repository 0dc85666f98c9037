"""Batches at the provider that do not simply end well: refusals, doubts, full queues, cancellation and expiry."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db.models import F
from django.utils import timezone

from billing.models import UsageRecord
from jobs.batches import files, steps
from jobs.batches.at_provider import holding, looking
from jobs.models import Attempt, Batch, BatchLine, File, Job, LanguageModel, ProviderBatch
from jobs.recovery import decisions
from tests.batches.at_provider import (
    billed,
    cost_of,
    held,
    in_both_files,
    line,
    lines,
    names,
    spent,
)
from tests.batches.conftest import file_of

D = Decimal
pytestmark = pytest.mark.timeout(300)  # making the database takes long on a busy machine


# --- Answers that are none --------------------------------------------------------------------------------------------
def test_a_refusal_stands_in_the_error_file_and_costs_nothing(there, simulator):
    # The provider's own cap is lower than the catalogue's here.
    LanguageModel.objects.filter(name="gpt-4o-mini").update(max_output_tokens=100_000)
    batch = there.batches.create(file_of(line("good"), line("bad", max_completion_tokens=90_000)))
    there.work()
    done = there.batches.client.batches.retrieve(batch.id)
    assert (done.request_counts.completed, done.request_counts.failed) == (1, 1)
    (refused,) = there.batches.lines(done.error_file_id)
    assert (refused["custom_id"], refused["response"]["status_code"]) == ("bad", 400)
    assert spent() == cost_of(simulator)
    assert held() == 0


@pytest.mark.parametrize("kind", ["no_usage", "reasoning_above_output", "huge_usage", "negative_usage"])
def test_an_answer_whose_bill_cannot_be_true_is_in_doubt_and_stays_held(there, simulator, kind):
    simulator.fault(kind, match="strange")
    data = file_of(line("a"), line("b", messages=[{"role": "user", "content": "something strange"}]))
    there.batches.create(data)
    for _ in range(5):
        steps.work(20)
        there.look()
    doubtful = Job.objects.get(status="in_doubt")
    assert doubtful.metadata["custom_id"] == "b"
    assert doubtful.content.message is not None  # it can be read all the same
    assert held() == 2 * doubtful.bound_usd  # of the organization, and of its project
    assert Batch.objects.get().completed == 1


def test_a_line_that_the_provider_leaves_out_is_in_doubt(there, simulator):
    simulator.fault("batch_line_left_out", match="Mexico")
    there.batches.create(lines(3))
    for _ in range(5):
        steps.work(20)
        there.look()
    assert sorted(Job.objects.values_list("status", flat=True)) == ["in_doubt", "succeeded", "succeeded"]
    assert Attempt.objects.get(status="in_doubt").error_code == "line_left_out"
    assert len(billed(simulator)) == 3
    assert held() > 0


def test_a_line_that_fails_there_for_the_moment_is_tried_again_and_at_last_as_an_ordinary_job(there, simulator):
    simulator.fault("batch_line_refused", count=None)
    batch = there.batches.create(lines(2))
    there.work()
    done = there.batches.client.batches.retrieve(batch.id)
    assert done.request_counts.completed == 2
    assert set(BatchLine.objects.values_list("returned", flat=True)) == {2}
    tiers = list(Job.objects.order_by("pk").values_list("service_tier", "status"))
    assert tiers.count(("batch", "failed")) == 4
    assert tiers.count(("standard", "succeeded")) == 2
    assert spent() == cost_of(simulator)
    assert sorted(in_both_files(there.batches, done)) == names(2)


# --- The provider says no ---------------------------------------------------------------------------------------------
def test_a_full_queue_there_is_tried_later_with_fewer_lines(there, simulator, monkeypatch):
    monkeypatch.setattr(looking, "FEWEST_LINES", 4)
    simulator.set_batches(enqueued_tokens=130)
    batch = there.batches.create(lines(16))
    while not ProviderBatch.objects.filter(status="sending").exists():
        steps.work(20)
    while not ProviderBatch.objects.filter(status="closed").exists():
        there.look()
    (row,) = ProviderBatch.objects.all()
    assert (row.status, row.provider_status, row.error_code) == ("closed", "failed", "token_limit_exceeded")
    ours = Batch.objects.get()
    assert ours.at_provider
    assert (ours.at_provider_lines, ours.at_provider_after > timezone.now()) == (8, True)
    assert held() == 0
    assert set(BatchLine.objects.values_list("status", "returned")) == {("waiting", 0)}
    for _ in range(200):
        Batch.objects.update(at_provider_after=None)
        steps.work(20)
        there.look()
        if Batch.objects.get().status == "completed":
            break
    done = there.batches.client.batches.retrieve(batch.id)
    assert (done.status, done.request_counts.completed) == ("completed", 16)
    assert len(billed(simulator)) == 16
    assert spent() == cost_of(simulator)


def test_a_batch_that_fails_validation_there_runs_as_ordinary_jobs(there, simulator):
    simulator.fault("batch_invalid", code="model_not_found")
    batch = there.batches.create(lines(3))
    there.work()
    done = there.batches.client.batches.retrieve(batch.id)
    assert (done.status, done.request_counts.completed) == ("completed", 3)
    assert done.to_dict()["at_provider"]["allowed"] is False
    assert {one["service_tier"] for one in billed(simulator)} == {"default"}
    assert spent() == cost_of(simulator)


def test_a_refusal_of_the_moment_is_asked_again(there, simulator):
    simulator.fault("batch_create_refused")
    batch = there.batches.create(lines(3))
    there.work()
    assert there.batches.client.batches.retrieve(batch.id).request_counts.completed == 3
    assert len(billed(simulator)) == 3
    assert ProviderBatch.objects.count() == 1


# --- Cancelling and expiry --------------------------------------------------------------------------------------------
def test_cancelling_stops_the_batch_there_and_what_ran_is_billed(there, simulator):
    simulator.set_batches(runs=4)
    batch = there.held_and_sent(lines(10))
    for _ in range(100):
        there.look()
        if len(billed(simulator)) == 4:
            break
    there.batches.client.batches.cancel(batch.id)
    there.work()
    done = there.batches.client.batches.retrieve(batch.id)
    counts = done.to_dict()["request_counts"]
    assert (done.status, counts["completed"], counts["cancelled"]) == ("cancelled", 4, 6)
    assert sorted(in_both_files(there.batches, done)) == sorted(names(10))
    assert spent() == cost_of(simulator) > 0
    assert held() == 0
    assert ProviderBatch.objects.get().provider_status == "cancelled"


def test_lines_that_are_held_and_not_sent_are_given_back_when_the_batch_is_cancelled(there, monkeypatch, simulator):
    monkeypatch.setattr(holding, "LINES_AT_ONCE", 2)
    batch = there.batches.validate(lines(6))
    steps.step(Batch.objects.get().pk)
    assert ProviderBatch.objects.get().status == "filling"
    assert held() > 0
    there.batches.client.batches.cancel(batch.id)
    there.work()
    done = there.batches.client.batches.retrieve(batch.id)
    assert (done.status, done.to_dict()["request_counts"]["cancelled"]) == ("cancelled", 6)
    assert held() == 0
    assert spent() == 0
    assert set(Attempt.objects.values_list("status", flat=True)) == {"abandoned"}
    assert billed(simulator) == []


def test_what_the_provider_did_not_run_in_time_runs_as_ordinary_jobs_or_expires(there, simulator):
    simulator.set_batches(runs=2, expires=True)
    batch = there.batches.create(lines(5), completion_window="48h")
    there.work()
    done = there.batches.client.batches.retrieve(batch.id)
    assert (done.status, done.request_counts.completed) == ("completed", 5)
    assert len(billed(simulator)) == 5
    assert spent() == cost_of(simulator)
    assert held() == 0


def test_at_the_end_of_the_window_the_batch_there_is_stopped_and_the_rest_expires(there, simulator):
    simulator.set_batches(runs=2)
    batch = there.held_and_sent(lines(5))
    for _ in range(100):
        there.look()
        if len(billed(simulator)) == 2:
            break
    Batch.objects.update(
        created_at=F("created_at") - timedelta(hours=25), expires_at=F("created_at") - timedelta(hours=1)
    )
    there.work()
    done = there.batches.client.batches.retrieve(batch.id)
    counts = done.to_dict()["request_counts"]
    assert (done.status, counts["completed"], counts["expired"]) == ("expired", 2, 3)
    assert {one["error"]["code"] for one in there.batches.lines(done.error_file_id)} == {"batch_expired"}
    assert spent() == cost_of(simulator)
    assert held() == 0


def test_what_is_decided_to_run_again_is_called_at_the_standard_price(there, simulator):
    simulator.fault("batch_line_left_out", match="Mexico")
    there.batches.create(lines(1))
    for _ in range(5):
        steps.work(20)
        there.look()
    doubtful = Attempt.objects.get(status="in_doubt")
    decisions.run_again(doubtful.pk, reason="tests")
    there.batches.path.run()
    records = UsageRecord.objects.order_by("pk").values_list("service_tier", flat=True)
    assert sorted(records) == ["batch", "standard"]


def test_files_that_nobody_reads_any_more_are_erased(there, project):
    old = timezone.now() - timedelta(hours=7)
    lost = File.objects.create(project=project, filename="answers.jsonl", purpose="fetched", created_at=old)
    files.append(lost, b"{}")
    read = File.objects.create(project=project, filename="answers.jsonl", purpose="fetched", created_at=old)
    there.held_and_sent(lines(1))
    ProviderBatch.objects.update(answers=read)
    assert files.erase_old() == 1
    assert set(File.objects.filter(purpose="fetched", status="erased").values_list("pk", flat=True)) == {lost.pk}
