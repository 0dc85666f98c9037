"""A bill above its bound is told once: in the books' transaction, in the log after it, and by mail until that works."""

import logging
import smtplib
import socket
import socketserver
import threading
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from django.core import mail
from django.db import transaction
from kombu.exceptions import OperationalError as BrokerError

from accounts.models import Membership, Role, User
from billing import alerts, mails, tasks
from billing.alerts import raise_overrun
from billing.models import Alert, AlertKind
from tests.conftest import Tenant, make_tenant

LOCAL = "django.core.mail.backends.locmem.EmailBackend"
SMTP = "django.core.mail.backends.smtp.EmailBackend"


@pytest.fixture
def sent(monkeypatch) -> list[str]:
    """What goes to the broker."""
    names: list[str] = []
    monkeypatch.setattr(alerts.current_app, "send_task", lambda name: names.append(name))
    return names


@pytest.fixture
def mailing(settings) -> None:
    settings.EMAIL_BACKEND = LOCAL


def overrun(tenant: Tenant, reference=None) -> Alert:
    return raise_overrun(
        organization_id=tenant.organization.pk,
        project_id=tenant.project.pk,
        reference=reference or uuid4(),
        model="o1-preview",
        total_usd=Decimal("3.5"),
        bound_usd=Decimal("2.25"),
    )


def test_it_is_raised_with_the_transaction_and_told_after_it(alice, sent, caplog, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        alert = overrun(alice)
        assert (sent, caplog.records) == ([], [])
    assert sent == [alerts.TASK]
    (line,) = caplog.records
    assert (line.levelno, str(alert.pk) in line.message, alert.reference in line.message) == (logging.ERROR, True, True)
    assert (alert.kind, alert.organization, alert.project) == (AlertKind.OVERRUN, alice.organization, alice.project)
    assert alert.text == "A call of o1-preview cost 3.50 USD, and 2.25 USD was held for it."


def test_it_goes_with_the_transaction_that_is_rolled_back(alice, sent, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        overrun(alice)
        transaction.set_rollback(True)
    assert (Alert.objects.count(), sent) == (0, [])


def test_one_bill_raises_one_alert(alice, sent, django_capture_on_commit_callbacks):
    reference = uuid4()
    with django_capture_on_commit_callbacks(execute=True):
        assert overrun(alice, reference) == overrun(alice, reference)
    assert (Alert.objects.count(), sent) == (1, [alerts.TASK])


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@pytest.mark.parametrize("error", [BrokerError("away"), OSError("away"), RuntimeError("a mistake of ours")])
def test_whatever_happens_to_the_message_the_settlement_stands(monkeypatch, error):
    def refuse(name: str) -> None:
        raise error

    monkeypatch.setattr(alerts.current_app, "send_task", refuse)
    tenant = make_tenant("Alice")
    with transaction.atomic():
        overrun(tenant)
    assert Alert.objects.count() == 1


def test_owners_admins_and_billing_people_are_told_once(alice, bob, sent, mailing):
    people = {"admin": Role.ADMIN, "billing": Role.BILLING, "viewer": Role.VIEWER}
    for name, role in people.items():
        user = User.objects.create_user(f"{name}@alice.example", "a password for tests")
        Membership.objects.create(organization=alice.organization, user=user, role=role)
    gone = User.objects.create_user("gone@alice.example", "a password for tests", is_active=False)
    Membership.objects.create(organization=alice.organization, user=gone, role=Role.OWNER)
    alert = overrun(alice)
    tasks.mail_alerts.run()
    tasks.mail_alerts.run()
    (message,) = mail.outbox
    assert (message.to, message.bcc) == ([], ["admin@alice.example", "billing@alice.example", "owner@alice.example"])
    assert message.subject == "Bursar: bill above its bound, Alice research"
    assert alert.text in message.body
    assert alert.reference in message.body
    alert.refresh_from_db()
    assert (alert.mailed_at is not None, alert.mailed_to) == (True, 3)


def test_where_no_mail_is_configured_nothing_counts_as_mailed(alice, sent, settings):
    settings.EMAIL_BACKEND = mails.NO_MAIL
    overrun(alice)
    assert mails.mail_alerts() == 0
    assert Alert.objects.get().mailed_at is None


def test_without_anybody_to_tell_it_waits_for_somebody(alice, sent, mailing):
    overrun(alice)
    Membership.objects.update(role=Role.MEMBER)
    assert (mails.mail_alerts(), mail.outbox) == (0, [])
    Membership.objects.update(role=Role.OWNER)
    assert mails.mail_alerts() == 1


def test_old_news_is_not_mailed(alice, sent, mailing):
    alert = overrun(alice)
    Alert.objects.update(raised_at=alert.raised_at - mails.MAILED_WITHIN - timedelta(seconds=1))
    assert (mails.mail_alerts(), mail.outbox) == (0, [])


def test_a_name_cannot_break_out_of_the_subject(alice, sent, mailing):
    alice.project.name = "Research\nBcc: everybody@example.com"
    alice.project.save()
    overrun(alice)
    assert mails.mail_alerts() == 1
    assert "\n" not in mail.outbox[0].subject


# --- A mail server ----------------------------------------------------------------------------------------------------
class _Mailbox(socketserver.StreamRequestHandler):
    """As much of SMTP as a client needs to hand over a message."""

    def handle(self) -> None:
        self._say("220 tests")
        for raw in self.rfile:
            word = raw.decode().strip().upper()
            if word.startswith("DATA"):
                self._say("354 go on")
                lines = iter(self.rfile.readline, b".\r\n")
                self.server.received.append(b"".join(lines).decode())
                self._say("250 kept")
            elif word.startswith("RCPT") and self.server.refuse and self.server.refuse in word:
                self._say("550 nobody of that name")
            elif word.startswith("QUIT"):
                self._say("221 bye")
                return
            else:
                self._say("250 fine")

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


class _MailServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    refuse = ""

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Mailbox)
        self.received: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def port(settings) -> int:
    """Where the mail server is to be; nobody listens there yet."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found: int = probe.getsockname()[1]
    settings.EMAIL_BACKEND, settings.EMAIL_HOST, settings.EMAIL_PORT = SMTP, "127.0.0.1", found
    return found


@pytest.fixture
def server(port: int) -> Iterator[_MailServer]:
    with _MailServer(port) as running:
        yield running
        running.shutdown()


def test_a_mail_server_that_is_away_is_tried_again(alice, sent, port, caplog):
    overrun(alice)
    tasks.mail_alerts.run()
    assert Alert.objects.get().mailed_at is None
    assert "they will be tried again" in caplog.text
    with _MailServer(port) as running:
        assert mails.mail_alerts() == 1
        assert mails.mail_alerts() == 0
        running.shutdown()
    (message,) = running.received
    assert "cost 3.50 USD" in message
    assert "From: bursar@localhost" in message


def test_a_recipient_that_is_refused_does_not_keep_the_others_from_their_mail(alice, bob, sent, server, caplog):
    server.refuse = "OWNER@ALICE.EXAMPLE"
    overrun(alice)
    overrun(bob)
    assert mails.mail_alerts() == 1
    assert len(server.received) == 1
    assert [alert.organization.slug for alert in Alert.objects.filter(mailed_at=None)] == ["alice"]
    assert "every recipient was refused" in caplog.text


def test_a_server_that_hangs_up_in_between_is_tried_again(alice, bob, sent, server, monkeypatch):
    def hang_up(self, *arguments: object, **options: object) -> None:
        raise smtplib.SMTPServerDisconnected("gone")

    overrun(alice)
    with monkeypatch.context() as patch:
        patch.setattr(smtplib.SMTP, "sendmail", hang_up)
        assert mails.mail_alerts() == 0
    assert mails.mail_alerts() == 1
