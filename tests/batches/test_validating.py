"""What is wrong with a file is told for each line, and nothing of such a file runs."""

import json

import pytest

from jobs.batches import validating
from jobs.models import Batch, BatchLine, Job
from tests.batches.conftest import file_of, request


def report(batch) -> list[tuple[int | None, str | None, str | None]]:
    return [(fault.line, fault.code, fault.param) for fault in batch.errors.data]


def test_every_line_is_reported_that_is_no_request_of_the_batch(batches):
    good = request("good")
    faulty = [
        (b"not json", "invalid_json_line", None),
        (b"[1]", "invalid_json_line", None),
        (json.dumps({**good, "custom_id": None}).encode(), "missing_required_parameter", "custom_id"),
        (json.dumps({**good, "custom_id": 5}).encode(), "invalid_type", "custom_id"),
        (json.dumps({**good, "custom_id": "x" * 513}).encode(), "invalid_type", "custom_id"),
        (json.dumps(good).encode(), "duplicate_custom_id", "custom_id"),
        (json.dumps({**request("a"), "method": "GET"}).encode(), "invalid_method", "method"),
        (json.dumps({**request("b"), "url": "/v1/embeddings"}).encode(), "invalid_url", "url"),
        (json.dumps({**request("c"), "more": 1}).encode(), "unknown_parameter", "more"),
        (json.dumps({**request("d"), "body": None}).encode(), "missing_required_parameter", "body"),
        (json.dumps({**request("e"), "body": []}).encode(), "invalid_type", "body"),
        (json.dumps(request("f", model=None)).encode(), "missing_required_parameter", "body.model"),
        (json.dumps(request("g", model="gpt-4o-mini")).encode(), "mismatched_model", "body.model"),
        (json.dumps(request("h", messages=[])).encode(), "empty_array", "body.messages"),
        (json.dumps(request("i", temperature=0.5)).encode(), "unsupported_value", "body.temperature"),
        (json.dumps(request("j", service_tier="batch")).encode(), "invalid_value", "body.service_tier"),
        (json.dumps(request("k", stream=True)).encode(), "unsupported_value", "body.stream"),
        (b'{"custom_id": "\xff"}', "invalid_json_line", None),
        (json.dumps({**request("l"), "custom_id": "\0"}).encode(), "invalid_json_line", None),
    ]
    data = file_of(good) + b"".join(line + b"\n" for line, _, _ in faulty) + file_of(request("last"))
    batch = batches.validate(data)
    assert batch.status == "failed"
    assert batch.failed_at
    assert report(batch) == [(number, code, param) for number, (_, code, param) in enumerate(faulty, start=2)]
    assert batch.request_counts.total == 0
    assert not BatchLine.objects.exists()
    assert not Job.objects.exists()


def test_a_byte_order_mark_windows_line_ends_and_empty_lines_do_no_harm(batches):
    first, second = (json.dumps(request(name)).encode() for name in ("one", "two"))
    batch = batches.validate(b"\xef\xbb\xbf" + first + b"\r\n\r\n   \n\n" + second)
    assert batch.status == "in_progress"
    assert list(BatchLine.objects.order_by("number").values_list("number", "custom_id")) == [(1, "one"), (5, "two")]
    batches.work()
    done = batches.client.batches.retrieve(batch.id)
    assert [line["custom_id"] for line in batches.lines(done.output_file_id)] == ["one", "two"]


@pytest.mark.parametrize("data", [b"", b"\n\n \r\n"], ids=["nothing", "empty lines"])
def test_a_file_without_requests_fails(batches, data):
    batch = batches.validate(data)
    assert (batch.status, report(batch)) == ("failed", [(None, "empty_file", None)])


def test_a_line_longer_than_a_request_may_be_is_reported_and_never_in_memory(batches, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 300_000
    huge = json.dumps(request("huge", messages=[{"role": "user", "content": "x" * 1_500_000}])).encode()
    batch = batches.validate(file_of(request("a")) + huge + b"\n" + b"not json\n" + huge)
    assert report(batch) == [(2, "line_too_long", None), (3, "invalid_json_line", None), (4, "line_too_long", None)]


def test_an_unknown_model_is_told_for_each_line_up_to_a_hundred(batches):
    batch = batches.validate(file_of(*(request(str(number), model="o9") for number in range(150))))
    assert batch.status == "failed"
    assert [fault.code for fault in batch.errors.data] == ["model_not_found"] * validating.MOST_FAULTS


def test_a_duplicate_is_found_however_far_apart(batches):
    apart = validating.LINES_AT_ONCE + 5
    requests = [request(str(number)) for number in range(apart)]
    batch = batches.validate(file_of(*requests, request("0")))
    assert report(batch) == [(apart + 1, "duplicate_custom_id", "custom_id")]


def test_one_request_too_many_fails_the_batch(batches, monkeypatch):
    assert validating.MOST_LINES == 50_000
    monkeypatch.setattr(validating, "MOST_LINES", 600)
    batch = batches.validate(file_of(*(request(str(number)) for number in range(601))))
    assert (batch.status, report(batch)) == ("failed", [(601, "too_many_requests", None)])
    assert not BatchLine.objects.exists()


def test_as_many_as_may_be_are_not_too_many(batches, monkeypatch):
    monkeypatch.setattr(validating, "MOST_LINES", 600)
    batch = batches.validate(file_of(*(request(str(number)) for number in range(600))))
    assert (batch.status, batch.request_counts.total) == ("in_progress", 600)
    assert Batch.objects.get().read_lines == 600
