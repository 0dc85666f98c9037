"""Alerts are posted to endpoints: signed so that others can verify it, again until taken, and never lost or made up."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.db import transaction
from standardwebhooks import Webhook, WebhookVerificationError

from accounts.audit import SERVICE
from accounts.models import AuditEntry, Organization
from billing import tasks
from billing.alerts import News, raise_alert
from billing.clock import database_now
from billing.models import (
    Alert,
    AlertKind,
    DeliveryStatus,
    EventType,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookTry,
)
from billing.webhooks import endpoints, outbox, sender
from billing.webhooks.schedule import DELAYS, asked_for, next_try
from billing.webhooks.urls import UrlRefused
from billing.webhooks.wire import TOTAL_SECONDS, Answer
from tests.billing.receiver import Receiver, receiving

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
pytestmark = pytest.mark.usefixtures("_inside")


@pytest.fixture
def _inside(settings, monkeypatch) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.1/32"]
    monkeypatch.setattr("billing.alerts.current_app.send_task", lambda *a, **k: None)


@pytest.fixture
def receiver():
    with receiving() as running:
        yield running


def listen(organization: Organization, receiver: Receiver, *types: str) -> tuple[WebhookEndpoint, str]:
    return endpoints.create(organization, receiver.url, by=SERVICE, event_types=types)


def alarm(organization: Organization, kind: AlertKind = AlertKind.ANOMALY, reference: str = "") -> Alert:
    news = News("Much is spent.", organization.pk, data={"spent_usd": "5.00"})
    return raise_alert(kind, reference or str(uuid4()), news)


def make_due() -> None:
    WebhookDelivery.objects.update(due_at=NOW - timedelta(days=1000))


def statuses() -> list[str]:
    return list(WebhookDelivery.objects.order_by("id").values_list("status", flat=True))


def test_an_alert_is_delivered_signed_and_once(organization, receiver):
    _, secret = listen(organization, receiver)
    alert = alarm(organization)
    assert sender.send() == 1
    assert sender.send() == 0
    (got,) = receiver.got
    said = Webhook(secret).verify(got.body, got.headers)
    assert said == {
        "type": "spend.anomaly_detected",
        "timestamp": outbox.instant(alert.raised_at),
        "data": {
            "alert_id": str(alert.pk),
            "kind": "anomaly",
            "text": "Much is spent.",
            "organization": {"id": str(organization.pk), "name": "Alice"},
            "project": None,
            "team": None,
            "spent_usd": "5.00",
        },
    }
    assert got.headers["content-type"] == "application/json"
    delivery = WebhookDelivery.objects.get()
    assert (delivery.status, delivery.tries, got.id) == (DeliveryStatus.DELIVERED, 1, delivery.message_id)
    (tried,) = WebhookTry.objects.all()
    assert (tried.http_status, tried.error, tried.answer) == (200, "", "thanks")
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(got.body + b" ", got.headers)


def test_a_delivery_goes_with_the_transaction_that_is_rolled_back(organization, receiver):
    listen(organization, receiver)
    with transaction.atomic():
        alarm(organization)
        transaction.set_rollback(True)
    assert (WebhookDelivery.objects.count(), sender.send(), receiver.got) == (0, 0, [])


def test_an_endpoint_gets_what_it_subscribed_to_of_its_own_organization(organization, bob, receiver):
    listen(organization, receiver, EventType.EXHAUSTED)
    alarm(organization)
    alarm(bob.organization, AlertKind.EXHAUSTED)
    assert WebhookDelivery.objects.count() == 0
    alarm(organization, AlertKind.EXHAUSTED)
    assert WebhookDelivery.objects.count() == 1


def test_every_kind_has_its_type_and_the_largest_body_is_below_the_limit(organization, receiver):
    listen(organization, receiver)
    for kind in AlertKind:
        alarm(organization, kind)
    assert sorted(WebhookDelivery.objects.values_list("event_type", flat=True)) == sorted(EventType.values)
    longest = Alert(text="ü" * 500, raised_at=NOW, organization=organization, kind="anomaly", data={})
    assert len(outbox.body_of("spend.anomaly_detected", NOW, outbox.data_of(longest))) < 20_000


def test_a_failure_is_tried_again_by_the_schedule_under_the_same_id(organization, receiver):
    _, secret = listen(organization, receiver)
    alarm(organization)
    receiver.status = 500
    for number, delay in enumerate(DELAYS[1:], 1):
        make_due()
        assert sender.send() == 1
        delivery = WebhookDelivery.objects.get()
        assert (delivery.status, delivery.tries) == (DeliveryStatus.PENDING, number)
        waits = delivery.due_at - database_now()
        assert timedelta(seconds=delay) <= waits <= timedelta(seconds=delay * 1.1)
    receiver.status = 204
    make_due()
    sender.send()
    assert statuses() == [DeliveryStatus.DELIVERED]
    assert {got.id for got in receiver.got} == {WebhookDelivery.objects.get().message_id}
    assert len({got.body for got in receiver.got}) == 1
    assert len(receiver.got) == len(DELAYS)
    for got in receiver.got:
        Webhook(secret).verify(got.body, got.headers)


def test_an_endpoint_that_never_answers_is_disabled_and_its_owners_are_told(
    organization, receiver, settings, mailoutbox
):
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    endpoint, _ = listen(organization, receiver)
    alarm(organization)
    receiver.status = 503
    for _ in DELAYS:
        make_due()
        sender.send()
    endpoint.refresh_from_db()
    assert statuses() == [DeliveryStatus.FAILED]
    assert (endpoint.disabled_at is None, endpoint.disabled_reason) == (
        False,
        "it took no message in three days of tries",
    )
    tasks.mail_alerts.run()
    assert "have stopped: it took no message" in mailoutbox[0].body
    alarm(organization)
    assert len(statuses()) == 1


def test_an_endpoint_that_takes_others_is_not_disabled_for_one_that_it_does_not_want(organization, receiver):
    endpoint, _ = listen(organization, receiver)
    alarm(organization)
    receiver.status = 400
    for _ in DELAYS[1:]:
        make_due()
        sender.send()
    receiver.status = 200
    alarm(organization)
    WebhookDelivery.objects.filter(tries__gt=0).update(due_at=datetime.now(UTC) + timedelta(days=1))
    sender.send()
    receiver.status = 400
    make_due()
    sender.send()
    assert sorted(statuses()) == [DeliveryStatus.DELIVERED, DeliveryStatus.FAILED]
    endpoint.refresh_from_db()
    assert endpoint.disabled_at is None


def test_gone_disables_at_once(organization, receiver):
    endpoint, _ = listen(organization, receiver)
    alarm(organization)
    receiver.status = 410
    sender.send()
    endpoint.refresh_from_db()
    assert (statuses(), endpoint.disabled_reason) == ([DeliveryStatus.FAILED], "it answered 410 Gone")
    assert Alert.objects.filter(kind=AlertKind.ENDPOINT).count() == 1


def test_what_waits_for_a_disabled_endpoint_is_sent_when_it_is_enabled(organization, receiver):
    endpoint, _ = listen(organization, receiver)
    alarm(organization)
    endpoints.change(endpoint, by=SERVICE, is_enabled=False)
    assert sender.send() == 0
    endpoints.change(endpoint, by=SERVICE, is_enabled=True)
    assert sender.send() == 1


def test_a_replay_is_the_same_message(organization, receiver):
    listen(organization, receiver)
    alarm(organization)
    sender.send()
    outbox.replay(WebhookDelivery.objects.get())
    assert sender.send() == 1
    first, second = receiver.got
    assert (first.id, first.body) == (second.id, second.body)
    assert WebhookTry.objects.count() == 2


def test_after_a_rotation_both_secrets_verify_for_a_day(organization, receiver):
    endpoint, former = listen(organization, receiver)
    secret = endpoints.rotate(endpoint, by=SERVICE)
    alarm(organization)
    sender.send()
    (got,) = receiver.got
    for key in (secret, former):
        Webhook(key).verify(got.body, got.headers)
    WebhookEndpoint.objects.update(former_secret_until=datetime.now(UTC) - timedelta(seconds=1))
    alarm(organization)
    sender.send()
    got = receiver.got[1]
    Webhook(secret).verify(got.body, got.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(former).verify(got.body, got.headers)


def test_secrets_are_encrypted_at_rest_and_in_no_trail(organization, receiver):
    endpoint, secret = listen(organization, receiver)
    former, secret = secret, endpoints.rotate(endpoint, by=SERVICE)
    endpoints.change(endpoint, by=SERVICE, description="ours")
    endpoint.refresh_from_db()
    kept = f"{WebhookEndpoint.objects.values().get()} {list(AuditEntry.objects.values())}"
    assert secret not in kept
    assert former not in kept
    assert (endpoint.secret, AuditEntry.objects.count()) == (secret, 3)


def test_a_test_message_says_that_it_is_one(organization, receiver):
    endpoint, secret = listen(organization, receiver, EventType.EXHAUSTED)
    endpoints.test(endpoint)
    sender.send()
    (got,) = receiver.got
    assert Webhook(secret).verify(got.body, got.headers)["type"] == "webhook.test"


@pytest.mark.parametrize("url", ["https://localhost/", "http://8.8.8.8/", "https://u:p@example.com/", "nonsense"])
def test_an_endpoint_that_reaches_inside_is_not_made(organization, settings, url):
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    with pytest.raises(UrlRefused):
        endpoints.create(organization, url, by=SERVICE)


def test_there_is_an_end_to_endpoints(organization, receiver):
    for _ in range(endpoints.MOST_ENDPOINTS):
        listen(organization, receiver)
    with pytest.raises(endpoints.TooManyEndpoints):
        listen(organization, receiver)


# --- Claims -----------------------------------------------------------------------------------------------------------
def test_what_one_sender_has_nobody_else_gets_until_its_lease_is_over(organization, receiver):
    listen(organization, receiver)
    alarm(organization)
    (claimed,) = outbox.claim(10)
    assert outbox.claim(10) == []
    assert outbox.LEASE_SECONDS > TOTAL_SECONDS
    make_due()
    (again,) = outbox.claim(10)
    assert (again.delivery, again.claim) == (claimed.delivery, claimed.claim + 1)


def test_a_failure_that_is_booked_late_changes_nothing_and_a_success_does(organization, receiver):
    listen(organization, receiver)
    alarm(organization)
    (late,) = outbox.claim(10)
    make_due()
    (present,) = outbox.claim(10)
    due_at = WebhookDelivery.objects.get().due_at
    assert outbox.book(late, Answer(1, status=500), NOW) is None
    assert WebhookDelivery.objects.get().due_at == due_at
    assert outbox.book(late, Answer(1, status=200), NOW) == DeliveryStatus.DELIVERED
    assert outbox.book(present, Answer(1, status=500), NOW) is None
    assert statuses() == [DeliveryStatus.DELIVERED]


def test_an_endpoint_with_much_does_not_keep_the_others_waiting(organization, receiver):
    with receiving() as other:
        listen(organization, receiver)
        for _ in range(outbox.MOST_OF_AN_ENDPOINT + 5):
            alarm(organization)
        listen(organization, other, EventType.EXHAUSTED)
        alarm(organization, AlertKind.EXHAUSTED)
        claimed = outbox.claim(100)
        by_endpoint = [each.delivery.endpoint.url for each in claimed]
        assert (by_endpoint.count(receiver.url), by_endpoint.count(other.url)) == (outbox.MOST_OF_AN_ENDPOINT, 1)
        busy = WebhookEndpoint.objects.get(url=receiver.url)
        make_due()
        assert [each.delivery.endpoint.url for each in outbox.claim(100, [busy.pk])] == [other.url]


def test_old_deliveries_are_forgotten_and_alerts_are_not(organization, receiver):
    listen(organization, receiver)
    alarm(organization)
    sender.send()
    tasks.forget_old_deliveries.run()
    assert WebhookDelivery.objects.count() == 1
    WebhookDelivery.objects.update(created_at=NOW - timedelta(days=1000))
    tasks.forget_old_deliveries.run()
    assert (WebhookDelivery.objects.count(), WebhookTry.objects.count(), Alert.objects.count()) == (0, 0, 1)


# --- The schedule -----------------------------------------------------------------------------------------------------
def test_the_schedule_goes_over_three_days_and_ends():
    assert sum(DELAYS) == 5 + 300 + 1800 + 3600 * (2 + 5 + 10 + 14 + 20 + 24)
    assert next_try(1, NOW) == NOW + timedelta(seconds=5)
    assert next_try(1, NOW, permille=100) == NOW + timedelta(seconds=5.5)
    assert next_try(len(DELAYS), NOW) is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("-5", 0),
        ("", 0),
        ("soon", 0),
        ("9" * 30, 0),
        ("999999", 86400),
        ("Mon, 23 Nov 2026 12:10:00 GMT", 600),
        ("Mon, 23 Nov 2020 12:10:00 GMT", 0),
        ("²", 0),
    ],
)
def test_whoever_asks_for_patience_gets_up_to_a_day_of_it(header, seconds):
    assert asked_for(header, NOW) == NOW + timedelta(seconds=seconds)
    later = max(seconds, 300)
    assert next_try(2, NOW, retry_after=header) == NOW + timedelta(seconds=later)
