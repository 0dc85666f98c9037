from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connection, transaction

from accounts.errors import IdempotencyKeyInFlight
from accounts.models import IdempotencyRecord
from jobs.models import Job
from tests.api.conftest import PROMPT, client_of

BODY = {"model": "o1-mini", "prompt": PROMPT, "metadata": {"zz": "1", "a": "2"}}


def post(client, key, body=BODY):
    return client.post("/api/v1/jobs", body, format="json", headers={"Idempotency-Key": key})


def test_a_repetition_gets_the_same_bytes_again(client):
    first, again = post(client, "k-1"), post(client, "k-1")
    assert first.status_code == again.status_code == 202
    assert first.content == again.content
    assert first["Location"] == again["Location"]
    assert "Idempotent-Replayed" not in first
    assert again["Idempotent-Replayed"] == "true"
    assert Job.objects.count() == 1


def test_a_quoted_key_is_the_same_as_a_bare_one(client):
    assert post(client, '"a \\"b\\" \\\\"').status_code == 202
    assert post(client, 'a "b" \\')["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize("key", ["", '""', "k" * 256, '"open', '"a"b"', '"a";p=1', "tab\tkey", "ключ", "a\x7f"])
def test_a_key_that_is_none_is_refused(client, key):
    response = post(client, key)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (400, "idempotency_key_invalid")
    assert problem["errors"][0]["header"] == "Idempotency-Key"
    assert not Job.objects.exists()


def test_the_longest_key_is_taken(client):
    assert post(client, "k" * 255).status_code == 202


def test_another_body_under_the_same_key_is_refused(client):
    post(client, "k")
    response = post(client, "k", {**BODY, "priority": 1})
    assert (response.status_code, response.json()["code"]) == (422, "idempotency_key_reused")
    assert Job.objects.count() == 1


def test_a_refused_request_leaves_its_key_free(client):
    assert post(client, "k", {**BODY, "model": "o9"}).status_code == 404
    assert post(client, "k", {**BODY, "priority": 1000}).status_code == 400
    assert not IdempotencyRecord.objects.exists()
    assert post(client, "k").status_code == 202


def test_keys_of_two_projects_do_not_meet(client, bobs_client):
    assert post(client, "k").json()["id"] != post(bobs_client, "k").json()["id"]


def test_a_request_under_way_is_a_conflict_that_says_when_to_come_back(client, monkeypatch):
    def in_flight(*args):
        raise IdempotencyKeyInFlight(param="Idempotency-Key")

    monkeypatch.setattr("accounts.api.once.run_once", in_flight)
    response = post(client, "k")
    assert (response.status_code, response.json()["code"]) == (409, "idempotency_key_in_flight")
    assert response["Retry-After"] == "1"


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_twenty_at_once_under_one_key_are_one_job(alice, monkeypatch):
    monkeypatch.setattr("jobs.waking.wake", lambda: None)
    barrier = Barrier(20)

    def one(_):
        try:
            client = client_of(alice)
            barrier.wait()
            return post(client, "same")
        finally:
            connection.close()

    with ThreadPoolExecutor(20) as pool:
        responses = list(pool.map(one, range(20)))
    assert {response.status_code for response in responses} == {202}
    assert len({response.content for response in responses}) == 1
    assert sum("Idempotent-Replayed" in response for response in responses) == 19
    assert Job.objects.count() == IdempotencyRecord.objects.count() == 1


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_first_request_that_takes_long_makes_the_second_a_conflict(alice, monkeypatch):
    monkeypatch.setattr("accounts.idempotency.WAIT_FOR_FIRST", "50ms")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO jobs_idempotencyrecord (project_id, key, fingerprint, created_at) VALUES (%s, 'k', '', now())",
            [alice.project.pk],
        )
        with ThreadPoolExecutor(1) as pool:

            def second():
                try:
                    return post(client_of(alice), "k")
                finally:
                    connection.close()

            response = pool.submit(second).result()
    assert (response.status_code, response.json()["code"]) == (409, "idempotency_key_in_flight")
    assert not Job.objects.exists()
