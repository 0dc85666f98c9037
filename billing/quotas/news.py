"""Who hears of a change, after the commit: the dispatcher, whose jobs may fit now, and people, by e-mail."""

import logging
import smtplib
from uuid import UUID

from celery import current_app
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from kombu.exceptions import OperationalError as BrokerError

from billing.mails import NO_MAIL
from billing.models import QuotaRequest, RequestStatus
from billing.money import amount_of
from billing.quotas.rights import deciders

logger = logging.getLogger(__name__)

# By name, because billing knows no job.
LIMITS_CHANGED = "jobs.tasks.limits_changed"
MAIL = "billing.tasks.mail_quota_request"


def limits_changed(organization_id: UUID) -> None:
    """Has the jobs that wait for a budget looked at again at once. With Redis away the beat does it soon."""
    # No partial: Django names what fails by a name that a partial has not.
    transaction.on_commit(lambda: _send(LIMITS_CHANGED, organization_id), robust=True)


def tell(request: QuotaRequest) -> None:
    """Has a request mailed after the commit: to whoever may decide while it is pending, then to who asked."""
    transaction.on_commit(lambda: _send(MAIL, request.pk), robust=True)


def mail(request_id: UUID) -> int:
    """Mails a request as it stands; returns to how many. Lost with the message or a mail server that is away:
    the admin has it all the same.
    """
    rows = QuotaRequest.objects.select_related(
        "organization", "quota__team", "quota__project", "quota__api_key__project", "asked_by", "decided_by"
    )
    request = rows.filter(pk=request_id).first()
    if request is None or settings.EMAIL_BACKEND == NO_MAIL:
        return 0
    to = _recipients(request)
    if not to:
        return 0
    subject = f"Bursar: more quota {_said(request)}, {request.quota.owner_name}"
    try:
        # Bcc: members of one organization need not learn each other's addresses from us.
        EmailMessage(" ".join(subject.split()), "\n".join(_lines(request)), bcc=to).send()
    except (OSError, smtplib.SMTPException) as error:
        logger.warning("quota request %s was not mailed: %s", request.pk, type(error).__name__)
        return 0
    return len(to)


def _send(task: str, subject: UUID) -> None:
    try:
        current_app.send_task(task, args=[str(subject)])
    except (BrokerError, OSError) as error:
        logger.warning("%s was not sent for %s: %s", task, subject, error)


def _recipients(request: QuotaRequest) -> list[str]:
    if request.status == RequestStatus.PENDING:
        return list(deciders(request).values_list("email", flat=True))
    if request.status == RequestStatus.WITHDRAWN or not request.asked_by.is_active:
        return []
    return [request.asked_by.email]


def _said(request: QuotaRequest) -> str:
    return "asked for" if request.status == RequestStatus.PENDING else request.get_status_display().lower()


def _lines(request: QuotaRequest) -> list[str]:
    measure, until = request.quota.measure, f"{request.until:%Y-%m-%d %H:%M} UTC"
    lines = [
        f"{request.asked_by} asked for {amount_of(measure, request.amount)} more until {until}.",
        f"Quota: {request.quota}, in {request.organization}",
        f"Reason: {request.reason}",
        "",
    ]
    if request.granted_amount is not None and request.granted_until is not None:
        until = f"{request.granted_until:%Y-%m-%d %H:%M} UTC"
        lines.append(
            f"Approved: {amount_of(measure, request.granted_amount)} more until {until}, by {request.decided_by}."
        )
    elif request.status != RequestStatus.PENDING:
        lines.append(f"It was {_said(request)}{f' by {request.decided_by}' if request.decided_by else ''}.")
    if request.note:
        lines.append(f"Note: {request.note}")
    return [*lines, f"It is at /admin/billing/quotas/{request.organization_id}/requests/ of your Bursar."]
