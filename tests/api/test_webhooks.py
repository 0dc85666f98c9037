"""Webhooks and alerts over REST: for management keys, with the role of their maker, within their organization."""

from collections.abc import Callable

import pytest
from rest_framework.test import APIClient

from accounts.models import AuditEntry, IdempotencyRecord, Membership, Role, User
from billing.alerts import News, raise_alert
from billing.models import AlertKind, WebhookDelivery, WebhookEndpoint
from tests.api.managing import manager as managing
from tests.conftest import Tenant

URL = "https://hooks.example.com/bursar"
pytestmark = pytest.mark.usefixtures("_no_broker")


@pytest.fixture
def _no_broker(monkeypatch) -> None:
    monkeypatch.setattr("billing.alerts.current_app.send_task", lambda *a, **k: None)


@pytest.fixture
def manager(alice: Tenant) -> APIClient:
    return managing(alice.project, alice.owner)


@pytest.fixture
def add(manager: APIClient) -> Callable[..., dict]:
    def add(**more) -> dict:
        answer = manager.post("/api/v1/webhooks", {"url": URL, **more}, format="json")
        assert answer.status_code == 201, answer.content
        return answer.json()

    return add


def alarm(tenant: Tenant, reference: str, kind: AlertKind = AlertKind.ANOMALY):
    return raise_alert(kind, reference, News("Much is spent.", tenant.organization.pk, data={"spent_usd": "5.00"}))


def test_an_endpoint_is_added_shown_changed_and_deleted(manager, add, alice):
    made = add(description="ours", event_types=["budget.exhausted"])
    assert made.pop("secret") == WebhookEndpoint.objects.get().secret
    path = f"/api/v1/webhooks/{made['id']}"
    assert manager.get(path).json() == made
    assert manager.get("/api/v1/webhooks").json() == {"data": [made]}
    changed = manager.patch(path, {"event_types": [], "is_enabled": False}, format="json").json()
    assert (changed["event_types"], changed["is_enabled"], changed["description"]) == ([], False, "ours")
    assert manager.delete(path).status_code == 204
    assert manager.get(path).status_code == 404
    actions = AuditEntry.objects.filter(subject_type="webhook_endpoint").order_by("at")
    assert list(actions.values_list("action", flat=True)) == ["created", "updated", "deleted"]
    assert actions[0].organization == alice.organization


def test_a_rotation_shows_the_new_secret_once(manager, add):
    made = add()
    rotated = manager.post(f"/api/v1/webhooks/{made['id']}/rotate").json()
    assert rotated["secret"].startswith("whsec_")
    assert rotated["secret"] != made["secret"]
    assert rotated["former_secret_until"] is not None
    assert "secret" not in manager.get(f"/api/v1/webhooks/{made['id']}").json()


def test_a_test_shows_among_the_deliveries_and_is_replayed(manager, add):
    path = f"/api/v1/webhooks/{add()['id']}"
    sent = manager.post(f"{path}/test")
    assert (sent.status_code, sent.json()["event_type"]) == (202, "webhook.test")
    WebhookDelivery.objects.update(status="failed", finished_at=WebhookDelivery.objects.get().created_at)
    (shown,) = manager.get(f"{path}/deliveries?status=failed").json()["data"]
    assert (shown["message_id"], shown["due_at"]) == (sent.json()["message_id"], None)
    replayed = manager.post(f"/api/v1/webhook-deliveries/{shown['id']}/replay")
    assert (replayed.status_code, replayed.json()["status"]) == (202, "pending")
    assert manager.get(f"{path}/deliveries?status=failed").json()["data"] == []
    manager.patch(path, {"is_enabled": False}, format="json")
    for refused in (f"{path}/test", f"/api/v1/webhook-deliveries/{shown['id']}/replay"):
        answer = manager.post(refused)
        assert (answer.status_code, answer.json()["code"]) == (409, "webhook_disabled")


def twice(client: APIClient, path: str, body: dict | None = None) -> list:
    """The answers to a request and to its repetition."""
    answers = [client.post(f"/api/v1/{path}", body, format="json", headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert ("Idempotent-Replayed" in answers[0], answers[1]["Idempotent-Replayed"]) == (False, "true")
    assert answers[0].status_code == answers[1].status_code
    return answers


def kept() -> str:
    return str([*IdempotencyRecord.objects.values(), *AuditEntry.objects.values()])


def test_an_endpoint_is_added_once_per_key_and_a_repetition_does_not_get_the_secret(manager):
    first, again = twice(manager, "webhooks", {"url": URL})
    assert (first.status_code, first["Location"]) == (201, again["Location"])
    assert manager.get(first["Location"]).json()["id"] == first.json()["id"]
    assert first.json()["secret"] == WebhookEndpoint.objects.get().secret
    assert again.json() == {**first.json(), "secret": None}
    assert first.json()["secret"] not in kept()
    other = manager.post("/api/v1/webhooks", {"url": f"{URL}/2"}, format="json", headers={"Idempotency-Key": "k"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_a_refused_endpoint_leaves_its_key_free(manager):
    for url, status in (("https://127.0.0.1/", 400), (URL, 201)):
        answer = manager.post("/api/v1/webhooks", {"url": url}, format="json", headers={"Idempotency-Key": "k"})
        assert answer.status_code == status


def test_a_repeated_rotation_rotates_once(manager, add):
    made = add()
    first, again = twice(manager, f"webhooks/{made['id']}/rotate")
    endpoint = WebhookEndpoint.objects.get()
    assert first.json()["secret"] == endpoint.secret
    assert made["secret"] in endpoint.secrets_at(endpoint.created_at)
    assert again.json() == {**first.json(), "secret": None}
    assert first.json()["secret"] not in kept()


def test_a_repeated_test_and_a_repeated_replay_send_once(manager, add):
    first, again = twice(manager, f"webhooks/{add()['id']}/test")
    assert first.content == again.content
    delivery = WebhookDelivery.objects.get()
    path = f"webhook-deliveries/{delivery.pk}/replay"
    header = {"Idempotency-Key": "another"}
    sent = manager.post(f"/api/v1/{path}", headers=header)
    assert sent.json()["status"] == "pending"
    WebhookDelivery.objects.update(status="delivered", finished_at=delivery.created_at)
    again = manager.post(f"/api/v1/{path}", headers=header)
    assert (again.content, again["Idempotent-Replayed"]) == (sent.content, "true")
    assert WebhookDelivery.objects.get().status == "delivered"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"url": "https://127.0.0.1/"}, "webhook_url_refused"),
        ({"url": "http://hooks.example.com/"}, "webhook_url_refused"),
        ({"url": "https://user:word@hooks.example.com/"}, "webhook_url_refused"),
        ({"url": URL, "event_types": ["budget.unheard_of"]}, "invalid_request"),
        ({"url": URL, "secret": "whsec_mine"}, "invalid_request"),
        ({}, "invalid_request"),
    ],
)
def test_what_cannot_be_is_refused_with_its_field(manager, body, code):
    answer = manager.post("/api/v1/webhooks", body, format="json")
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.json()["errors"][0]["pointer"].startswith("#/")
    assert WebhookEndpoint.objects.count() == 0


def test_alerts_are_listed_newest_first_page_by_page(manager, alice, bob):
    alerts = [alarm(alice, str(number)) for number in range(3)]
    alarm(alice, "other", AlertKind.DOUBTS)
    alarm(bob, "Bob's")
    first = manager.get("/api/v1/alerts?kind=anomaly&limit=2&is_open=true").json()
    assert [row["id"] for row in first["data"]] == [str(alert.pk) for alert in reversed(alerts[1:])]
    assert first["data"][0]["data"]["spent_usd"] == "5.00"
    assert first["data"][0]["event_type"] == "spend.anomaly_detected"
    second = manager.get(first["next"]).json()
    assert ([row["id"] for row in second["data"]], second["has_more"]) == ([str(alerts[0].pk)], False)
    assert manager.get("/api/v1/alerts?is_open=false").json()["data"] == []


@pytest.mark.parametrize(
    ("role", "webhooks", "alerts"),
    [
        (Role.OWNER, 200, 200),
        (Role.ADMIN, 200, 200),
        (Role.BILLING, 200, 200),
        (Role.VIEWER, 403, 200),
        (Role.MEMBER, 403, 403),
    ],
)
def test_a_management_key_may_what_its_makers_role_may(alice, role, webhooks, alerts):
    user = User.objects.create_user("someone@alice.example", "a password for tests")
    Membership.objects.create(organization=alice.organization, user=user, role=role)
    client = managing(alice.project, user)
    assert client.get("/api/v1/webhooks").status_code == webhooks
    assert client.get("/api/v1/alerts").status_code == client.head("/api/v1/alerts").status_code == alerts


def test_a_plain_key_may_not(client):
    for path in ("/api/v1/webhooks", "/api/v1/alerts"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (403, "not_a_management_key")


def test_another_organizations_endpoint_does_not_exist(add, bob):
    other = managing(bob.project, bob.owner)
    made = add()
    WebhookEndpoint.objects.get()
    path = f"/api/v1/webhooks/{made['id']}"
    unknown = "/api/v1/webhooks/00000000-0000-7000-8000-000000000000"
    for method, at in (("get", ""), ("patch", ""), ("delete", ""), ("post", "/test"), ("post", "/rotate")):
        answer = getattr(other, method)(path + at, {}, format="json")
        missing = getattr(other, method)(unknown + at, {}, format="json")
        assert answer.status_code == missing.status_code == 404
        assert answer.json()["detail"] == missing.json()["detail"]
    assert other.get(f"{path}/deliveries").status_code == 404
    assert WebhookEndpoint.objects.get().disabled_at is None
