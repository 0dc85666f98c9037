"""Senders of webhooks are killed in the middle of their work: every message arrives, and few come twice."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models import F

from accounts.audit import SERVICE
from billing.alerts import News, raise_alert
from billing.models import AlertKind, WebhookDelivery
from billing.webhooks import endpoints, outbox, sender
from tests.billing.receiver import receiving
from tests.conftest import make_tenant
from tests.flows.processes import CHECKOUT, eventually

MESSAGES = 40
SENDER = "import django; django.setup(); from billing.webhooks import sender; sender.send()"


@contextmanager
def killed_sender() -> Iterator[None]:
    """A process that sends until the block ends, when it is killed, and its leases run out."""
    own = connection.settings_dict
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATABASE_URL": f"postgres://{own['USER']}:{own['PASSWORD']}@{own['HOST']}:{own['PORT']}/{own['NAME']}",
        "BURSAR_WEBHOOK_ALLOWED_NETWORKS": "127.0.0.1/32",
    }
    process = subprocess.Popen([sys.executable, "-c", SENDER], cwd=CHECKOUT, env=environment)
    try:
        yield
        assert process.poll() is None, "it was to be killed at its work"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    lease = timedelta(seconds=outbox.LEASE_SECONDS)
    WebhookDelivery.objects.filter(status="pending").update(due_at=F("due_at") - lease)


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_killed_senders_lose_nothing_and_repeat_only_what_they_had_in_hand(settings, monkeypatch):
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.1/32"]
    monkeypatch.setattr("billing.alerts.current_app.send_task", lambda *a, **k: None)
    organization = make_tenant("Alice").organization
    with receiving() as receiver:
        endpoints.create(organization, receiver.url, by=SERVICE)
        with transaction.atomic():
            for number in range(MESSAGES):
                raise_alert(AlertKind.ANOMALY, str(number), News("Much is spent.", organization.pk))
        receiver.gate.clear()
        with killed_sender():
            # It has all that it may have of one endpoint in hand, and waits for answers that do not come.
            eventually(lambda: len(receiver.got) == outbox.MOST_OF_AN_ENDPOINT)
        in_hand = {each.id for each in receiver.got}
        receiver.closes_after = len(receiver.got) + MESSAGES // 2
        receiver.gate.set()
        with killed_sender():
            eventually(lambda: len(receiver.got) >= (receiver.closes_after or 0))
        receiver.closes_after = None
        receiver.gate.set()
        sender.send()
        times = Counter(each.id for each in receiver.got)
    messages = {delivery.message_id for delivery in WebhookDelivery.objects.all()}
    assert set(times) == messages
    assert len(messages) == MESSAGES
    assert set(WebhookDelivery.objects.values_list("status", flat=True)) == {"delivered"}
    twice = {message for message, number in times.items() if number > 1}
    # Of each kill: what waited for its answer, and of the second what was answered and not yet noted.
    assert len(twice) <= 3 * outbox.MOST_OF_AN_ENDPOINT
    assert in_hand <= twice
