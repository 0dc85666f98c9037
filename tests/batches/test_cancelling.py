"""Batches of thousands end by small steps, and whoever asks for it waits for none of them."""

from collections import Counter

import pytest
from django.db import connection
from django.db.models import Count
from django.test.utils import CaptureQueriesContext

from accounts import remembered
from jobs.batches import ending, feeding, harvesting, noting, steps
from jobs.models import Batch, BatchLine, Job
from tests.batches.conftest import file_of, pk_of, request

LINES = 1500


@pytest.fixture(autouse=True)
def _few_at_a_time(monkeypatch) -> None:
    """As small against so many lines as the real figures are against fifty thousand."""
    monkeypatch.setattr(remembered, "is_on", True)
    monkeypatch.setattr(noting, "ENDED_AT_ONCE", 300)
    monkeypatch.setattr(ending, "JOBS_AT_ONCE", 50)
    monkeypatch.setattr(harvesting, "LINES_AT_ONCE", 50)
    monkeypatch.setattr(feeding, "QUEUED_AHEAD", 120)


def of_lines() -> Counter:
    return Counter(dict(BatchLine.objects.values_list("status").annotate(Count("pk")).order_by()))


def requests(count: int) -> bytes:
    return file_of(*(request(f"line {number}") for number in range(count)))


def test_thousands_of_lines_are_cancelled_a_few_hundred_at_a_time(batches):
    batch = batches.validate(requests(LINES))
    while steps.step(pk_of(batch)):
        pass
    assert of_lines() == {"waiting": LINES - 120, "fed": 120}
    with CaptureQueriesContext(connection) as asked:
        assert batches.client.batches.cancel(batch.id).status == "cancelling"
    assert len(asked) < 15
    assert of_lines()["cancelled"] == 0
    most, made = 0, 0
    while Batch.objects.get().status == "cancelling":
        before, written = of_lines(), Batch.objects.get().written_lines
        steps.step(pk_of(batch))
        made += 1
        most = max(most, of_lines()["cancelled"] - before["cancelled"])
        assert Batch.objects.get().written_lines - written <= ending.STEP_LINES
        assert made < 100
    assert 300 <= most <= 350
    assert made > LINES / 350 + LINES / ending.STEP_LINES
    done = batches.client.batches.retrieve(batch.id)
    assert (done.status, done.to_dict()["request_counts"]["cancelled"]) == ("cancelled", LINES)
    assert len(batches.lines(done.error_file_id)) == LINES
    assert set(Job.objects.values_list("status", flat=True)) == {"cancelled"}


def test_lines_of_a_batch_that_never_ran_are_deleted_piece_by_piece(batches):
    batch = batches.create(requests(1000))
    steps.step(pk_of(batch))
    assert of_lines() == {"waiting": 500}
    batches.client.batches.cancel(batch.id)
    left = []
    while Batch.objects.get().status == "cancelling":
        steps.step(pk_of(batch))
        left.append(BatchLine.objects.count())
    assert left == [200, 0]
    assert batches.client.batches.retrieve(batch.id).request_counts.total == 0


@pytest.mark.parametrize("faults", [1, 100])
def test_a_batch_that_fails_late_deletes_its_lines_piece_by_piece(batches, faults):
    batch = batches.create(requests(700) + b"not json\n" * faults)
    left = []
    while Batch.objects.get().status == "validating":
        steps.step(pk_of(batch))
        left.append(BatchLine.objects.count())
    assert left[-3:] == [400, 100, 0]
    done = batches.client.batches.retrieve(batch.id)
    assert (done.status, len(done.errors.data)) == ("failed", faults)
    assert [fault.line for fault in done.errors.data] == list(range(701, 701 + faults))
