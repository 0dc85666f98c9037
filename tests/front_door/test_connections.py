"""What becomes of a connection, and of the job behind it."""

import http.client
import json
import threading
import time

import openai
import pytest
from django.db import connection, transaction

from jobs.models import Attempt, Job, Undelivered
from tests.conftest import Tenant
from tests.front_door.conftest import (
    BODY,
    KEEPALIVE_SECONDS,
    Connection,
    Door,
    ask,
    eventually,
    send,
    start_door,
    stop_door,
)

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)


def retry(web: Door, tenant: Tenant, **headers: str) -> Connection:
    return send(web, tenant, **{"x-stainless-retry-count": "1", **headers})


def queued(count: int = 1) -> bool:
    return Job.objects.count() == count


def nobody_waits() -> bool:
    return Undelivered.objects.filter(waiter=None).count() == 1


# --- Retries ----------------------------------------------------------------------------------------------------------
def test_a_retry_gets_the_answer_that_its_broken_connection_was_owed(idle_engine, web, alice, simulator):
    billed = simulator.bill()["calls"]
    first = send(web, alice)
    eventually(queued)
    first.close()
    eventually(nobody_waits)
    again = retry(web, alice)
    idle_engine.start()
    answer = again.getresponse()
    assert (answer.status, json.loads(answer.read())["object"]) == (200, "chat.completion")
    assert Job.objects.count() == 1
    assert simulator.bill()["calls"] == billed + 1
    eventually(lambda: not Undelivered.objects.exists())


def test_a_retry_that_comes_before_the_break_is_noticed_waits_to_know(idle_engine, web, alice):
    first = send(web, alice)
    eventually(queued)
    first.close()
    again = retry(web, alice)
    idle_engine.start()
    assert again.getresponse().status == 200
    assert Job.objects.count() == 1


def test_a_client_that_gives_up_and_tries_again_pays_once(engine, web, alice, simulator):
    billed = simulator.bill()["calls"]
    simulator.set_latency(3.0)
    with openai.OpenAI(base_url=web.base_url, api_key=alice.api_key.secret, timeout=1.0, max_retries=6) as client:
        assert ask(client, prompt="slow").choices[0].message.content
    assert Job.objects.count() == Attempt.objects.count() == 1
    assert simulator.bill()["calls"] == billed + 1


def test_each_of_two_identical_requests_has_its_own_job_and_a_retry_takes_one_alone(idle_engine, web, alice):
    both = [send(web, alice), send(web, alice)]
    eventually(lambda: queued(2))
    for each in both:
        each.close()
    eventually(lambda: Undelivered.objects.filter(waiter=None).count() == 2)
    again = [retry(web, alice) for _ in both]
    eventually(lambda: Undelivered.objects.exclude(waiter=None).count() == 2)
    idle_engine.start()
    answers = [json.loads(each.getresponse().read()) for each in again]
    assert answers[0]["id"] != answers[1]["id"]
    assert Job.objects.count() == 2


def test_a_retry_takes_nothing_from_a_connection_that_waits(idle_engine, web, alice):
    first = send(web, alice)
    eventually(queued)
    other = retry(web, alice)
    eventually(lambda: queued(2))
    idle_engine.start()
    answers = [json.loads(each.getresponse().read()) for each in (first, other)]
    assert answers[0]["id"] != answers[1]["id"]


def test_a_request_that_is_no_retry_or_another_gets_a_job_of_its_own(idle_engine, web, alice, bob):
    first = send(web, alice)
    eventually(queued)
    first.close()
    eventually(nobody_waits)
    fresh, theirs = send(web, alice), retry(web, bob)
    different = send(web, alice, body=BODY.replace("hello", "hi"), **{"x-stainless-retry-count": "1"})
    eventually(lambda: queued(4))
    for each in (fresh, theirs, different):
        each.close()


def test_a_retry_finds_the_job_of_a_web_process_that_was_killed(idle_engine, web, alice, simulator):
    doomed = start_door(simulator)
    try:
        first = send(doomed, alice)
        eventually(queued)
    finally:
        stop_door(doomed)
    with pytest.raises((http.client.HTTPException, OSError)):
        first.getresponse()
    again = retry(web, alice)
    idle_engine.start()
    assert again.getresponse().status == 200
    assert Job.objects.count() == 1


def test_whoever_waits_goes_on_waiting_while_the_database_is_away(idle_engine, web, alice):
    waiting = send(web, alice)
    eventually(queued)
    with connection.cursor() as cursor:
        for _ in range(20):
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            time.sleep(0.05)
    idle_engine.start()
    answer = waiting.getresponse()
    assert (answer.status, json.loads(answer.read())["object"]) == (200, "chat.completion")


# --- Disconnects ------------------------------------------------------------------------------------------------------
def test_a_job_goes_on_without_its_client(idle_engine, web, alice):
    waiting = send(web, alice)
    eventually(queued)
    waiting.close()
    eventually(nobody_waits)
    idle_engine.start()
    eventually(lambda: Job.objects.get().status == "succeeded")


def test_a_queued_job_is_withdrawn_with_its_client_where_that_is_wished(idle_engine, web, alice):
    waiting = send(web, alice, **{"X-On-Disconnect": "cancel"})
    eventually(queued)
    waiting.close()
    eventually(lambda: Job.objects.get().status == "cancelled")
    eventually(lambda: not Undelivered.objects.exists())


def test_a_call_that_has_begun_is_not_withdrawn(engine, web, alice, simulator):
    simulator.set_latency(3.0)
    waiting = send(web, alice, **{"X-On-Disconnect": "cancel"})
    eventually(lambda: Job.objects.filter(status="running").exists())
    waiting.close()
    eventually(lambda: Job.objects.get().status == "succeeded")


# --- Signs of life ----------------------------------------------------------------------------------------------------
def test_blanks_come_before_an_answer_that_takes_long(engine, web, alice, simulator):
    simulator.set_latency(2 * KEEPALIVE_SECONDS + 1)
    began = time.monotonic()
    answer = send(web, alice).getresponse()
    assert time.monotonic() - began < KEEPALIVE_SECONDS + 1.5
    assert answer.status == 200
    text = answer.read().decode()
    assert text.startswith("  ")
    assert json.loads(text)["object"] == "chat.completion"


def test_a_failure_after_them_breaks_the_connection_and_is_told_to_the_retry(engine, web, alice, simulator):
    simulator.fault("404", seconds=KEEPALIVE_SECONDS + 1)
    calls = simulator.counters()
    client = openai.OpenAI(base_url=web.base_url, api_key=alice.api_key.secret)
    with client, pytest.raises(openai.NotFoundError):
        ask(client)
    assert calls != simulator.counters()
    assert Job.objects.count() == Attempt.objects.count() == 1
    eventually(lambda: not Undelivered.objects.exists())


# --- Room -------------------------------------------------------------------------------------------------------------
def test_no_more_wait_than_there_are_threads_for_and_others_are_served_meanwhile(idle_engine, alice, simulator):
    door = start_door(simulator, BURSAR_WEB_THREADS="20")  # four of them may wait
    try:
        waiting = [send(door, alice) for _ in range(4)]
        eventually(lambda: queued(4))
        refused = send(door, alice).getresponse()
        assert refused.status == 503
        assert json.loads(refused.read())["error"]["code"] == "too_many_waiting"
        assert refused.headers["Retry-After"] == "2"
        health = Connection(door)
        health.request("GET", "/readyz")
        assert health.getresponse().status == 200
        assert queued(4)
        waiting.pop().close()
        eventually(nobody_waits)
        assert send(door, alice, Prefer="wait=1").getresponse().status == 202
    finally:
        stop_door(door)


def test_a_burst_waits_for_a_database_that_is_busy_and_is_not_refused(idle_engine, web, alice):
    statuses = []

    def one() -> None:
        statuses.append(send(web, alice, Prefer="respond-async").getresponse().status)

    threads = [threading.Thread(target=one) for _ in range(60)]
    with transaction.atomic(), connection.cursor() as cursor:
        # For longer than anybody waits for a connection of the pool.
        cursor.execute("LOCK TABLE jobs_job IN ACCESS EXCLUSIVE MODE")
        for thread in threads:
            thread.start()
        time.sleep(7)
    for thread in threads:
        thread.join()
    assert statuses == [202] * 60
