"""Alerts: raised with the money that they are about, told after the commit, and never in the way of a settlement."""

import logging
import smtplib
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from uuid import UUID

from celery import current_app
from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.db import transaction
from django.db.models import QuerySet
from kombu.exceptions import OperationalError as BrokerError

from accounts.models import Membership, Role, User
from billing.clock import database_now
from billing.models import Alert, AlertKind
from billing.money import usd

logger = logging.getLogger(__name__)

TASK = "billing.tasks.mail_alerts"
TOLD = (Role.OWNER, Role.ADMIN)
# What could not be mailed for so long is old news; it stays in the admin.
MAILED_WITHIN = timedelta(days=3)
NO_MAIL = "django.core.mail.backends.dummy.EmailBackend"


def raise_overrun(
    *,
    organization_id: UUID,
    project_id: UUID,
    reference: UUID,
    model: str,
    total_usd: Decimal,
    bound_usd: Decimal,
) -> Alert:
    """The alert that a bill came out above the bound that was held for it; the one there is, if it was raised before.

    Belongs into the transaction that settles the bill: without it nobody is told. US dollars.
    """
    text = f"A call of {model} cost {usd(total_usd)} USD, and {usd(bound_usd)} USD was held for it."
    return _raise(AlertKind.OVERRUN, str(reference), text, organization_id, project_id)


def raise_drift(*, organization_id: UUID, day: date, lines: int, drift_usd: Decimal) -> Alert:
    """The alert that the books of a day differ from the provider's bill; the one there is, if it was raised before.

    Belongs into the transaction that keeps the comparison. US dollars.
    """
    plural = "difference comes" if lines == 1 else "differences come"
    text = f"{lines} {plural} to {usd(drift_usd)} USD between the books of {day} (UTC) and the provider's bill."
    return _raise(AlertKind.DRIFT, f"{organization_id} {day}", text, organization_id, None)


def _raise(kind: AlertKind, reference: str, text: str, organization_id: UUID, project_id: UUID | None) -> Alert:
    """The alert about a subject, told after the commit if it is new."""
    alert, is_new = Alert.objects.get_or_create(
        kind=kind,
        reference=reference,
        defaults={
            "organization_id": organization_id,
            "project_id": project_id,
            "text": text,
            "raised_at": database_now(),
        },
    )
    if is_new:
        # No partial: Django names what fails by a name that a partial has not.
        transaction.on_commit(lambda: _tell(alert), robust=True)
    return alert


def acknowledge(alerts: QuerySet[Alert], actor: User) -> int:
    """Closes those that are open; returns how many were."""
    return alerts.filter(acknowledged_at=None).update(acknowledged_at=database_now(), acknowledged_by=actor)


def mail_alerts() -> int:
    """Mails what was raised lately and not mailed yet; returns how many. Where the mail server is away, the rest waits.

    Each alert is locked while its message goes out, so that two workers do not send it twice; only a worker that dies
    between the server's yes and the commit leaves it to be sent again.
    """
    if settings.EMAIL_BACKEND == NO_MAIL:
        return 0
    mailed = 0
    try:
        with get_connection() as server:
            for alert_id in list(_unmailed().values_list("pk", flat=True)):
                mailed += _mail(alert_id, server)
    except (OSError, smtplib.SMTPException) as error:  # smtplib's own are OSErrors but for a few
        logger.warning("alerts were not mailed, they will be tried again: %s", error)
    return mailed


def recipients(alert: Alert) -> list[str]:
    """The addresses of the organization's owners and admins."""
    members = Membership.objects.filter(organization=alert.organization_id, role__in=TOLD, user__is_active=True)
    return list(members.exclude(user__email="").order_by("user__email").values_list("user__email", flat=True))


def _tell(alert: Alert) -> None:
    """After the commit: a line in the log, and a message to the worker that mails. With Redis away the beat does it."""
    logger.error("alert %s: %s, project %s, %s", alert.pk, alert.kind, alert.project_id, alert.reference)
    try:
        current_app.send_task(TASK)
    except (BrokerError, OSError) as error:
        logger.warning("alert %s waits for the beat to be mailed: %s", alert.pk, error)


def _unmailed() -> QuerySet[Alert]:
    since = database_now() - MAILED_WITHIN
    return Alert.objects.filter(mailed_at=None, raised_at__gte=since).order_by("raised_at")


@transaction.atomic
def _mail(alert_id: UUID, server: BaseEmailBackend) -> bool:
    """Whether an alert was mailed: not when another worker has it, or when there is nobody to mail it to yet."""
    rows = Alert.objects.select_for_update(skip_locked=True, of=("self",)).select_related("organization", "project")
    alert = rows.filter(pk=alert_id, mailed_at=None).first()
    to = recipients(alert) if alert else []
    if alert is None or not to:
        return False
    try:
        # Bcc: members of one organization need not learn each other's addresses from us.
        EmailMessage(f"Bursar: {_subject(alert)}", "\n".join(_lines(alert)), bcc=to, connection=server).send()
    except smtplib.SMTPResponseException as error:
        # The server is there, and does not want this one; the next may please it.
        logger.warning("alert %s was not mailed: %s %s", alert.pk, error.smtp_code, type(error).__name__)
        return False
    except smtplib.SMTPRecipientsRefused:
        logger.warning("alert %s was not mailed: every recipient was refused", alert.pk)
        return False
    alert.mailed_at, alert.mailed_to = database_now(), len(to)
    alert.save(update_fields=["mailed_at", "mailed_to"])
    return True


def _subject(alert: Alert) -> str:
    of = alert.project or alert.organization
    return f"{alert.get_kind_display()}, {of}".replace("\n", " ").replace("\r", " ")


def _lines(alert: Alert) -> Iterator[str]:
    yield alert.text
    yield ""
    yield f"Organization: {alert.organization}"
    if alert.project:
        yield f"Project: {alert.project}"
    if alert.kind == AlertKind.OVERRUN:
        yield f"Attempt: {alert.reference}"
    yield f"Raised at: {alert.raised_at:%Y-%m-%d %H:%M:%S} UTC"
    yield ""
    if alert.kind == AlertKind.OVERRUN:
        yield "No new call of the project starts until somebody unpauses it in the admin."
    else:
        yield f"The lines are at /admin/billing/reconciliation/{alert.organization_id}/ of your Bursar."
    yield f"Acknowledge this alert at /admin/billing/alert/{alert.pk}/change/ of your Bursar."
