"""The provider's webhooks: who signs is listened to, and is believed no further than to look."""

import base64
import hashlib
import hmac
import json
import time
from datetime import timedelta

import pytest
from celery import current_app
from django.test import Client
from django.utils import timezone
from kombu.exceptions import OperationalError as BrokerError

from jobs import execution
from jobs.background import adoption
from jobs.background.webhook import ADOPT_TASK, is_signed
from jobs.models import Attempt, Job

SECRET = "whsec_c2VjcmV0IG9mIGEgdGVzdA=="
OLD = "whsec_YW4gb2xkZXIgc2VjcmV0"
PLAIN = "a secret that is no base64"


def signed(body: bytes, *, secret: str = SECRET, at: float | None = None, delivery: str = "wh_1") -> dict[str, str]:
    """The headers of a delivery, made by other code than what checks them."""
    timestamp = str(int(time.time() if at is None else at))
    key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()
    digest = hmac.digest(key, f"{delivery}.{timestamp}.{body.decode()}".encode(), hashlib.sha256)
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": delivery, "webhook-timestamp": timestamp, "webhook-signature": signature}


def event(response_id: str = "resp_1", kind: str = "response.completed") -> bytes:
    said = {"object": "event", "id": "evt_1", "type": kind, "created_at": 1, "data": {"id": response_id}}
    return json.dumps(said).encode()


def deliver(body: bytes, headers: dict[str, str]) -> int:
    return Client().post("/webhooks/openai", body, content_type="application/json", headers=headers).status_code


@pytest.fixture
def adopted(monkeypatch, settings) -> list[str]:
    """The responses that somebody is asked to adopt."""
    settings.PROVIDER_WEBHOOK_SECRETS = [SECRET]
    found: list[str] = []

    def send(name: str, args: list[str] | None = None, **options: object) -> None:
        if name == ADOPT_TASK:
            found.extend(args or [])

    monkeypatch.setattr(current_app._get_current_object(), "send_task", send)
    return found


# --- Signatures -------------------------------------------------------------------------------------------------------
NOW = 1_800_000_000.0


@pytest.mark.parametrize("secret", [SECRET, OLD, PLAIN])
def test_a_delivery_signed_with_any_of_the_secrets_is_the_providers(secret):
    headers = signed(b"{}", secret=secret, at=NOW)
    assert is_signed(headers, b"{}", [SECRET, OLD, PLAIN], now=NOW)
    headers["webhook-signature"] = f"v1,AAAA {headers['webhook-signature']} v2,BBBB"
    assert is_signed(headers, b"{}", [SECRET, OLD, PLAIN], now=NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "wh_2"},
        {"webhook-id": ""},
        {"webhook-timestamp": str(int(NOW) + 1)},
        {"webhook-timestamp": "now"},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": "٣"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,é"},
    ],
)
def test_any_other_delivery_is_not(change):
    assert not is_signed(signed(b"{}", at=NOW) | change, b"{}", [SECRET], now=NOW)
    assert not is_signed(signed(b"{}", at=NOW), b"{ }", [SECRET], now=NOW)
    assert not is_signed(signed(b"{}", at=NOW, secret=OLD), b"{}", [SECRET], now=NOW)
    assert not is_signed(signed(b"{}", at=NOW), b"{}", [], now=NOW)


@pytest.mark.parametrize(("late", "expected"), [(0, True), (300, True), (301, False), (-300, True), (-301, False)])
def test_a_delivery_is_believed_for_five_minutes(late, expected):
    assert is_signed(signed(b"{}", at=NOW), b"{}", [SECRET], now=NOW + late) is expected


# --- What a delivery does ---------------------------------------------------------------------------------------------
def test_without_a_secret_nobody_listens(db, settings):
    settings.PROVIDER_WEBHOOK_SECRETS = []
    assert deliver(event(), signed(event())) == 404


def test_a_delivery_that_is_not_signed_is_refused_without_a_word(db, adopted):
    answer = Client().post("/webhooks/openai", event(), content_type="application/json", headers=signed(b"other"))
    assert (answer.status_code, answer.content) == (400, b"")
    assert Client().get("/webhooks/openai").status_code == 405
    assert adopted == []


def test_a_delivery_has_the_call_looked_at_and_says_nothing_else(path, adopted):
    path.simulator.set_latency(20)
    job = path.submit("o3", "hello")
    (attempt,) = path.dispatch()
    execution.execute(attempt.pk, worker="tests")
    path.simulator.set_latency(0)
    attempt.refresh_from_db()
    body = event(attempt.provider_response_id, "response.failed")
    Attempt.objects.update(look_at=timezone.now() + timedelta(hours=1))
    for _ in range(2):
        assert deliver(body, signed(body)) == 204
    attempt.refresh_from_db()
    assert attempt.look_at < timezone.now() + timedelta(minutes=1)
    assert (attempt.status, Job.objects.get(pk=job.pk).status) == ("accepted", "running")
    assert adopted == []


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"data": null}', b'{"data": {"id": 7}}', event("resp_../x"), event("batch_1")]
)
def test_what_is_about_something_else_is_taken_and_does_nothing(db, adopted, body):
    assert deliver(body, signed(body)) == 204
    assert adopted == []


def test_an_unknown_response_is_for_somebody_to_adopt_or_to_be_told_of_again(db, adopted, monkeypatch):
    assert deliver(event("resp_9"), signed(event("resp_9"))) == 204
    assert adopted == ["resp_9"]

    def away(name, args=None, **options):
        raise BrokerError("connection refused")

    monkeypatch.setattr(current_app._get_current_object(), "send_task", away)
    assert deliver(event("resp_9"), signed(event("resp_9"))) == 503


def test_an_attempt_whose_id_was_lost_is_found_by_what_the_response_says_of_it(path):
    path.simulator.fault("cut_after_billing")
    job = path.submit("o3", "hello")
    (attempt,) = path.dispatch()
    execution.execute(attempt.pk, worker="tests")
    assert Job.objects.get(pk=job.pk).status == "in_doubt"
    lines = [line for line in path.bill(job) if line["metadata"]["bursar_attempt"] == str(attempt.pk)]
    while not lines:
        lines = path.bill(job)
    assert not adoption.adopt("resp_unknown")
    assert adoption.adopt(lines[0]["id"])
    assert not adoption.adopt(lines[0]["id"])
    path.look()
    attempt.refresh_from_db()
    job.refresh_from_db()
    assert (job.status, attempt.status) == ("succeeded", "resolved")
    assert str(job.total_usd.normalize()) == lines[0]["cost_usd"]


def test_a_response_of_somebody_elses_attempt_is_not_adopted(path):
    job = path.submit("o3", "hello")
    path.run()
    response_id = job.attempts.get().provider_response_id
    path.simulator.fault("cut_before_billing")
    path.submit("o3", "hello")
    (lost,) = path.dispatch()
    execution.execute(lost.pk, worker="tests")
    assert not adoption.adopt(response_id)
    assert Attempt.objects.get(pk=lost.pk).provider_response_id == ""
