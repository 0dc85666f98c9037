"""Alerts by mail: several that one organization's people have to know go out as one message."""

import logging
import smtplib
from collections.abc import Iterator, Sequence
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.db import transaction
from django.db.models import Q, QuerySet

from accounts.models import Membership, Role
from billing.clock import database_now
from billing.models import Alert, AlertKind

logger = logging.getLogger(__name__)

TOLD = (Role.OWNER, Role.ADMIN, Role.BILLING)
# What could not be mailed for so long is old news; it stays in the admin.
MAILED_WITHIN = timedelta(days=3)
MOST_IN_ONE = 50
NO_MAIL = "django.core.mail.backends.dummy.EmailBackend"
# Where the lines are that an alert is about, below the root of Bursar.
PLACES = {
    AlertKind.DRIFT: "/admin/billing/reconciliation/{organization}/",
    AlertKind.THRESHOLD: "/admin/billing/spend/{organization}/",
    AlertKind.EXHAUSTED: "/admin/billing/spend/{organization}/",
    AlertKind.FORECAST: "/admin/billing/spend/{organization}/",
    AlertKind.ANOMALY: "/admin/billing/spend/{organization}/",
    AlertKind.DOUBTS: "/admin/jobs/doubt/",
    AlertKind.ENDPOINT: "/admin/billing/webhookendpoint/",
    AlertKind.HELD_BACK: "/admin/jobs/breaker/",
    AlertKind.BROKEN: "/admin/billing/book/{organization}/verification/",
}


def mail_alerts() -> int:
    """Mails what was raised lately and not mailed yet; returns how many. Where the mail server is away, the rest waits.

    Alerts are locked while their message goes out, so that two workers do not send them twice; only a worker that dies
    between the server's yes and the commit leaves them to be sent again.
    """
    if settings.EMAIL_BACKEND == NO_MAIL:
        return 0
    mailed = 0
    groups = list(_unmailed().order_by("organization", "team").values_list("organization", "team").distinct())
    if not groups:
        return 0
    try:
        with get_connection() as server:
            for organization_id, team_id in groups:
                mailed += _mail(organization_id, team_id, server)
    except (OSError, smtplib.SMTPException) as error:  # smtplib's own are OSErrors but for a few
        logger.warning("alerts were not mailed, they will be tried again: %s", error)
    return mailed


def recipients(organization_id: UUID, team_id: UUID | None = None) -> list[str]:
    """The addresses of the organization's owners, admins and billing people, and of the leads of the team."""
    told = Q(role__in=TOLD)
    if team_id is not None:
        told |= Q(led_teams=team_id)
    members = Membership.objects.filter(told, organization=organization_id, user__is_active=True)
    addresses = members.exclude(user__email="").order_by("user__email").values_list("user__email", flat=True)
    return list(addresses.distinct())


def _unmailed() -> QuerySet[Alert]:
    since = database_now() - MAILED_WITHIN
    return Alert.objects.filter(mailed_at=None, raised_at__gte=since)


@transaction.atomic
def _mail(organization_id: UUID, team_id: UUID | None, server: BaseEmailBackend) -> int:
    """How many alerts were mailed in one message: none that another worker has, none if there is nobody to tell yet."""
    to = recipients(organization_id, team_id)
    rows = _unmailed().filter(organization=organization_id, team=team_id).select_related("organization", "project")
    alerts = list(rows.select_for_update(skip_locked=True, of=("self",)).order_by("raised_at")[:MOST_IN_ONE])
    if not alerts or not to:
        return 0
    try:
        # Bcc: members of one organization need not learn each other's addresses from us.
        EmailMessage(f"Bursar: {_subject(alerts)}", "\n".join(_lines(alerts)), bcc=to, connection=server).send()
    except smtplib.SMTPResponseException as error:
        # The server is there, and does not want this one; the next may please it.
        logger.warning("%s alerts were not mailed: %s %s", len(alerts), error.smtp_code, type(error).__name__)
        return 0
    except smtplib.SMTPRecipientsRefused:
        logger.warning("%s alerts were not mailed: every recipient was refused", len(alerts))
        return 0
    return Alert.objects.filter(pk__in=[alert.pk for alert in alerts]).update(
        mailed_at=database_now(), mailed_to=len(to)
    )


def _subject(alerts: Sequence[Alert]) -> str:
    first = alerts[0]
    what = first.get_kind_display() if len(alerts) == 1 else f"{len(alerts)} alerts"
    of = first.project if len(alerts) == 1 and first.project else first.organization
    return f"{what}, {of}".replace("\n", " ").replace("\r", " ")


def _lines(alerts: Sequence[Alert]) -> Iterator[str]:
    yield f"Organization: {alerts[0].organization}"
    for alert in alerts:
        yield ""
        yield from _lines_of(alert)


def _lines_of(alert: Alert) -> Iterator[str]:
    yield alert.text
    if alert.project:
        yield f"Project: {alert.project}"
    if alert.kind == AlertKind.OVERRUN:
        yield f"Attempt: {alert.reference}"
        yield "No new call of the project starts until somebody unpauses it in the admin."
    if alert.kind == AlertKind.HELD_BACK:
        yield "The jobs go on by themselves once a call goes through: mend the key, the permission or the account."
    yield f"Raised at: {alert.raised_at:%Y-%m-%d %H:%M:%S} UTC"
    if place := PLACES.get(AlertKind(alert.kind)):
        yield f"See {place.format(organization=alert.organization_id)} of your Bursar."
    yield f"Acknowledge this alert at /admin/billing/alert/{alert.pk}/change/ of your Bursar."
