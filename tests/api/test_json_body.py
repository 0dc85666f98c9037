"""Whatever the body is, the answer is a problem with a reason and never a 5xx."""

import pytest
from rest_framework.test import APIClient

from jobs.models import Job

GARBAGE = {
    "nothing": b"",
    "not json": b"model=o1-mini",
    "half": b'{"model": "o1-mini", ',
    "array": b"[]",
    "array of jobs": b'[{"model": "o1-mini", "prompt": "x"}]',
    "null": b"null",
    "text": b'"o1-mini"',
    "number": b"5",
    "true": b"true",
    "deep arrays": b"[" * 100_000,
    "deep arrays, closed": b"[" * 900 + b"]" * 900,
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "deep parameter": b'{"model": "o1-mini", "prompt": "x", "tools": ' + b"[" * 150 + b"]" * 150 + b"}",
    "NUL in a prompt": b'{"model": "o1-mini", "prompt": "a\\u0000b"}',
    "NUL in a key": b'{"model": "o1-mini", "prompt": "x", "metadata": {"a\\u0000": "b"}}',
    "NUL in a message": b'{"model": "o1-mini", "messages": [{"role": "user", "content": "\\u0000"}]}',
    "raw NUL": b'{"model": "o1-mini", "prompt": "a\x00b"}',
    "NUL in a model": b'{"model": "o1\\u0000", "prompt": "x"}',
    "surrogate in a prompt": b'{"model": "o1-mini", "prompt": "\\ud800"}',
    "surrogate in metadata": b'{"model": "o1-mini", "prompt": "x", "metadata": {"k": "\\udfff"}}',
    "surrogate in a model": b'{"model": "\\ud83d", "prompt": "x"}',
    "encoded surrogate": b'{"model": "o1-mini", "prompt": "\xed\xa0\x80"}',
    "not UTF-8": b'{"model": "o1-mini", "prompt": "\xff"}',
    "UTF-16": '{"model": "o1-mini", "prompt": "x"}'.encode("utf-16"),
    "infinite": b'{"model": "gpt-4o", "prompt": "x", "temperature": 1e400}',
    "infinite cost": b'{"model": "o1-mini", "prompt": "x", "max_cost_usd": 1e400}',
    "huge exponent": b'{"model": "gpt-4o", "prompt": "x", "temperature": 1e99999999999999999999}',
    "tiny": b'{"model": "o1-mini", "prompt": "x", "max_cost_usd": 1e-999999999}',
    "NaN": b'{"model": "gpt-4o", "prompt": "x", "temperature": NaN}',
    "Infinity": b'{"model": "o1-mini", "prompt": "x", "max_cost_usd": -Infinity}',
    "huge integer": b'{"model": "o1-mini", "prompt": "x", "seed": ' + b"9" * 100_000 + b"}",
    "65 bits": b'{"model": "gpt-4o", "prompt": "x", "seed": 9223372036854775808}',
    "key twice": b'{"model": "o1-mini", "prompt": "x", "max_cost_usd": "1", "max_cost_usd": "100"}',
    "key twice, inside": b'{"model": "o1-mini", "messages": [{"role": "user", "content": "a", "content": "b"}]}',
    "huge cap": b'{"model": "o1-mini", "prompt": "x", "max_completion_tokens": 9223372036854775807}',
    "many answers": b'{"model": "gpt-4o", "prompt": "x", "n": 9223372036854775807}',
    "empty name": b'{"model": "o1-mini", "prompt": "x", "": 1}',
}


@pytest.mark.parametrize("body", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_refused_with_a_reason(client, body):
    response = client.post("/api/v1/jobs", body, content_type="application/json")
    problem = response.json()
    assert response.status_code == problem["status"] == 400, problem
    assert response["Content-Type"] == "application/problem+json"
    assert problem["detail"]
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/xml"]
)
def test_another_media_type_is_refused(client, content_type):
    response = client.generic("POST", "/api/v1/jobs", b"model=o1-mini", content_type=content_type)
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


def test_a_body_that_is_too_large_is_refused(client, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    response = client.post("/api/v1/jobs", {"model": "o1-mini", "prompt": "x" * 1000}, format="json")
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


def test_a_body_in_chunks_is_not_taken_for_an_empty_one(client):
    response = client.generic("POST", "/api/v1/jobs", headers={"Transfer-Encoding": "chunked"})
    assert (response.status_code, response.json()["code"]) == (411, "length_required")


def test_text_beyond_ascii_comes_through(submit):
    job = submit(prompt="Ünïcödé 🙂 \t", metadata={"🙂": "漢字"})
    assert job["metadata"] == {"🙂": "漢字"}
    assert Job.objects.get().content.request["messages"][0]["content"] == "Ünïcödé 🙂 \t"


@pytest.mark.parametrize(
    "query",
    [
        "model=%00",
        "metadata[%00]=1",
        "metadata[a]=%00",
        "cursor=x",
        "cursor=%00",
        "limit=" + "9" * 5000,
        "created_after=%ff",
    ],
)
def test_garbage_in_a_query_is_refused(client: APIClient, query):
    response = client.get(f"/api/v1/jobs?{query}")
    assert response.status_code == 400, response.content


def test_an_undecodable_byte_in_a_query_finds_nothing(client):
    assert client.get("/api/v1/jobs?model=%ff&metadata[%ed%a0%80]=%ff").json()["data"] == []
