"""What was said of lines is encrypted and goes with its project's content, and no answer before it is in its file."""

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F

from accounts import reencryption
from accounts.encryption import VERSION
from accounts.models import Project
from jobs import erasure, execution
from jobs.batches import erasing, files, steps
from jobs.models import Batch, BatchLine, File, FileChunk, Job
from tests.batches.conftest import file_of, request

DAY = timedelta(days=1)


@pytest.fixture
def keep(batches):
    """Says how many days the project keeps content."""

    def keep(days: int | None) -> None:
        Project.objects.filter(pk=batches.path.api_key.project_id).update(content_retention_days=days)

    return keep


def age(by: timedelta) -> None:
    """As if everything had ended so much earlier."""
    Job.objects.update(finished_at=F("finished_at") - by)
    Batch.objects.update(completed_at=F("completed_at") - by, failed_at=F("failed_at") - by)


def refused(batches, simulator, count: int = 1):
    """A batch that has ended, with a line that was answered and some that the provider has refused."""
    batch = batches.create(file_of(*(request(f"line {number}") for number in range(count + 1))))
    for _ in range(count):
        simulator.fault("404")
    batches.work()
    return batches.client.batches.retrieve(batch.id)


def stored(table: str, column: str) -> list[bytes]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL")
        return [bytes(value) for (value,) in cursor.fetchall()]


def test_what_is_said_of_a_file_and_of_its_lines_is_sealed_where_it_is_stored(batches, simulator):
    batches.validate(file_of(request("a", temperature=0.1)))
    refused(batches, simulator)
    for found in (stored("jobs_batch", "errors"), stored("jobs_batchline", "error")):
        assert found
        assert all(value.startswith(VERSION) and b"code" not in value for value in found)
    assert Batch.objects.get(status="failed").errors[0]["code"] == "unsupported_value"
    assert BatchLine.objects.get(error__isnull=False).error["status"] == 404


def test_errors_go_when_their_project_keeps_content_no_longer_and_codes_stay(batches, simulator, keep, monkeypatch):
    monkeypatch.setattr(erasing, "LINES_AT_ONCE", 2)
    faulty = batches.validate(file_of(request("a", temperature=0.1)))
    done = refused(batches, simulator, 5)
    age(DAY - timedelta(minutes=1))
    keep(None)
    erasure.erase_due()
    keep(1)
    erasure.erase_due()
    assert BatchLine.objects.filter(error__isnull=False).count() == 5
    age(timedelta(minutes=1))
    erasure.erase_due()
    assert not BatchLine.objects.filter(error__isnull=False).exists()
    (fault,) = batches.client.batches.retrieve(faulty.id).errors.data
    assert (fault.code, fault.line, fault.message, fault.param) == ("unsupported_value", 1, None, None)
    assert batches.client.batches.retrieve(done.id).request_counts.failed == 5
    noted = set(Batch.objects.values_list("content_erased_at", flat=True))
    assert None not in noted
    erasure.erase_due()
    assert set(Batch.objects.values_list("content_erased_at", flat=True)) == noted


def test_an_erased_job_takes_what_was_said_of_its_line_along(batches, simulator):
    refused(batches, simulator)
    line = BatchLine.objects.get(error__isnull=False)
    assert line.job_id
    erasure._erase([line.job_id])
    line.refresh_from_db()
    assert line.error is None


def test_a_line_whose_job_was_erased_before_the_file_was_written_says_so(batches, simulator):
    batch = batches.validate(file_of(request("a"), request("b")))
    steps.work(60)
    simulator.fault("404")
    batches.path.run()
    erasure._erase(list(Job.objects.filter(status="failed").values_list("pk", flat=True)))
    steps.work(60)
    BatchLine.objects.filter(status="failed").update(error=None)
    batches.work()
    done = batches.client.batches.retrieve(batch.id)
    assert (done.request_counts.completed, done.request_counts.failed) == (1, 1)
    assert len(batches.lines(done.output_file_id)) == 1


@pytest.mark.parametrize("days", [0, 1])
def test_an_answer_is_not_erased_before_it_is_in_its_file(batches, keep, days):
    keep(days)
    batch = batches.validate(file_of(request("a"), request("b")))
    steps.work(60)
    first, second = batches.path.dispatch()
    execution.execute(first.pk, worker="tests")
    age(2 * DAY)
    assert erasure.erase_due() == 0
    execution.execute(second.pk, worker="tests")
    batches.work()
    done = batches.client.batches.retrieve(batch.id)
    bodies = [line["response"]["body"] for line in batches.lines(done.output_file_id)]
    answers = [body["choices"][0]["message"]["content"] for body in bodies]
    assert len(answers) == 2
    assert all(answers)
    age(2 * DAY)
    assert erasure.erase_due() == 2


def test_files_are_kept_no_longer_than_other_content(batches, keep):
    for days, seconds in ((None, 30 * 86_400), (90, 30 * 86_400), (2, 2 * 86_400), (0, 3600)):
        keep(days)
        file = batches.upload(file_of(request("a")))
        assert file.expires_at - file.created_at == seconds
        batch = batches.create(file_of(request("a")), output_expires_after={"anchor": "created_at", "seconds": 7200})
        batches.work()
        done = batches.client.batches.retrieve(batch.id)
        output = batches.client.files.retrieve(done.output_file_id)
        assert abs(output.expires_at - output.created_at - min(seconds, 7200)) < 60


def test_files_are_written_anew_with_the_new_key(batches, settings, monkeypatch):
    monkeypatch.setattr(reencryption, "BATCH_OF_PIECES", 2)
    data = file_of(request("a", messages=[{"role": "user", "content": "x" * files.CHUNK_BYTES * 4}]))
    file = batches.upload(data)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "the new key of the test", [settings.SECRET_KEY]
    assert reencryption.reencrypt()["jobs_filechunk.data"] == FileChunk.objects.count() > 4
    settings.SECRET_KEY_FALLBACKS = []
    assert b"".join(files.content(File.objects.get())) == data
    assert file.bytes == len(data)
