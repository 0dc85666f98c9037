"""Files by the provider's own client: sent and fetched in pieces, listed, and nobody else's to see."""

import io
from datetime import timedelta

import openai
import pytest
from django.utils import timezone

from accounts.encryption import unseal
from jobs.batches import files
from jobs.models import File, FileChunk
from tests.batches.conftest import file_of, pk_of, request

SIX_CHUNKS = bytes(range(256)) * 6144  # 1.5 MB, any byte among them


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_what_is_sent_is_what_is_fetched_and_never_in_one_piece(live_batches):
    batches = live_batches
    file = batches.upload(SIX_CHUNKS + b"the end", "any name.jsonl")
    assert (file.object, file.purpose, file.status, file.bytes) == ("file", "batch", "processed", len(SIX_CHUNKS) + 7)
    assert file.id.startswith("file-")
    assert file.filename == "any name.jsonl"
    assert file.expires_at - file.created_at == 30 * 24 * 3600
    assert batches.client.files.content(file.id).read() == SIX_CHUNKS + b"the end"
    lengths = [len(unseal("jobs_filechunk.data", chunk.data)) for chunk in FileChunk.objects.order_by("position")]
    assert lengths == [files.CHUNK_BYTES] * 6 + [7]


def test_a_part_is_read_without_the_rest(batches):
    file = File.objects.get(pk=pk_of(batches.upload(SIX_CHUNKS)))
    start = files.CHUNK_BYTES - 3
    assert files.read(file, start, 6) == SIX_CHUNKS[start : start + 6]
    assert files.read(file, len(SIX_CHUNKS) - 2, 10) == SIX_CHUNKS[-2:]


def test_an_empty_file_is_taken_and_a_nameless_one_is_not_possible(batches):
    file = batches.upload(b"")
    assert file.bytes == 0
    assert batches.client.files.content(file.id).read() == b""


@pytest.mark.parametrize("length", [1001, 600_000], ids=["told at once", "by its own length"])
def test_a_file_that_is_too_large_is_refused_and_nothing_is_kept(batches, settings, length):
    settings.MAX_FILE_BYTES = 1000
    with pytest.raises(openai.APIStatusError) as refused:
        batches.upload(b"x" * length)
    assert (refused.value.status_code, refused.value.code) == (413, "file_too_large")
    assert not File.objects.exists()
    assert not FileChunk.objects.exists()


def test_the_size_of_other_bodies_does_not_bind_files(batches, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    assert batches.upload(b"x" * 100_000).bytes == 100_000


@pytest.mark.parametrize("purpose", ["fine-tune", "assistants"])
def test_files_for_anything_else_are_refused(batches, purpose):
    with pytest.raises(openai.BadRequestError, match="batch"):
        batches.client.files.create(file=io.BytesIO(b"{}"), purpose=purpose)
    assert not FileChunk.objects.exists()


def test_a_file_that_says_how_long_it_is_kept_is_kept_so_long(batches):
    file = batches.client.files.create(
        file=io.BytesIO(b"{}"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert file.expires_at - file.created_at == 3600
    with pytest.raises(openai.BadRequestError, match="3600"):
        batches.client.files.create(
            file=io.BytesIO(b"{}"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 60}
        )


def test_the_list_has_pages_an_order_and_purposes(batches):
    sent = [batches.upload(b"{}", f"{number}.jsonl").id for number in range(5)]
    assert [file.id for file in batches.client.files.list()] == sent[::-1]
    first = batches.client.files.list(limit=2, order="asc")
    assert ([file.id for file in first.data], first.has_more) == (sent[:2], True)
    assert [file.id for file in batches.client.files.list(limit=2, order="asc")] == sent  # every page of them
    assert [file.id for file in batches.client.files.list(after=sent[3])] == sent[:3][::-1]
    assert list(batches.client.files.list(purpose="batch_output")) == []


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": "x"}, {"order": "up"}, {"after": "file-none"}])
def test_a_list_that_cannot_be_is_refused(batches, query):
    with pytest.raises(openai.BadRequestError):
        batches.client.files.list(**query)


def test_a_deleted_file_is_gone(batches):
    file = batches.upload(SIX_CHUNKS)
    assert batches.client.files.delete(file.id).deleted is True
    assert not FileChunk.objects.exists()
    for ask in (batches.client.files.retrieve, batches.client.files.content, batches.client.files.delete):
        with pytest.raises(openai.NotFoundError):
            ask(file.id)


def test_a_file_that_a_batch_reads_is_not_deleted(batches):
    batch = batches.create(file_of(request("a")))
    with pytest.raises(openai.ConflictError, match="Cancel the batch"):
        batches.client.files.delete(batch.input_file_id)
    batches.work()
    assert batches.client.files.delete(batch.input_file_id).deleted is True


def test_what_expired_and_what_was_never_finished_is_erased_and_nothing_else(batches, alice):
    kept, old = batches.upload(b"kept"), batches.upload(b"old")
    File.objects.filter(pk=pk_of(old)).update(expires_at=timezone.now() - timedelta(hours=1))
    half = files.Upload(alice.project, alice.api_key.api_key, "half")
    half.write(SIX_CHUNKS)
    assert half.file.public_id not in [file.id for file in batches.client.files.list()]
    assert files.erase_old() == 1
    File.objects.filter(pk=half.file.pk).update(created_at=timezone.now() - timedelta(days=1))
    assert files.erase_old() == 1
    assert files.erase_old() == 0
    assert [unseal("jobs_filechunk.data", chunk.data) for chunk in FileChunk.objects.all()] == [b"kept"]
    assert [file.id for file in batches.client.files.list()] == [kept.id]


def test_a_file_of_others_is_as_one_that_is_not_there(batches, bob, client_for):
    file, theirs = batches.upload(b"{}"), client_for(bob.api_key.secret)
    for ask in (theirs.files.retrieve, theirs.files.content, theirs.files.delete):
        with pytest.raises(openai.NotFoundError) as refused:
            ask(file.id)
        with pytest.raises(openai.NotFoundError) as never:
            ask(f"file-{'0' * 32}")
        assert refused.value.message.replace(file.id, "ID") == never.value.message.replace(f"file-{'0' * 32}", "ID")
    assert list(theirs.files.list()) == []
    with pytest.raises(openai.NotFoundError):
        theirs.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    assert batches.client.files.content(file.id).read() == b"{}"


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"purpose": "batch"}, "file"),
        ({"purpose": "batch", "file": "no file"}, "file"),
        ({"purpose": "batch", "other": io.BytesIO(b"x")}, "file"),
        ({"file": io.BytesIO(b"x")}, "purpose"),
    ],
)
def test_a_form_without_a_file_or_a_purpose_is_refused(client, form, param):
    answer = client.post("/v1/files", form, format="multipart")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert not File.objects.exists()


def test_a_form_that_cannot_be_read_is_refused(client):
    answer = client.generic("POST", "/v1/files", b"no form", content_type="multipart/form-data; boundary=")
    assert answer.status_code == 400
    cut = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhalf of'
    client.generic("POST", "/v1/files", cut, content_type="multipart/form-data; boundary=x")
    assert not File.objects.exists()
