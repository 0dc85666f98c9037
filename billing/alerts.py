"""Alerts: raised with the money that they are about, told after the commit, and never in the way of a settlement."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from celery import current_app
from django.db import transaction
from django.db.models import QuerySet
from kombu.exceptions import OperationalError as BrokerError

from accounts.models import User
from billing.clock import database_now
from billing.models import Alert, AlertKind
from billing.money import usd
from billing.webhooks import outbox

logger = logging.getLogger(__name__)

TASK = "billing.tasks.mail_alerts"


@dataclass(frozen=True, slots=True)
class News:
    """What an alert says, and of whom. `data` are the figures as JSON values, money as decimal strings."""

    text: str
    organization_id: UUID
    project_id: UUID | None = None
    team_id: UUID | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


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
    data = {"attempt": str(reference), "model": model, "total_usd": usd(total_usd), "bound_usd": usd(bound_usd)}
    return raise_alert(AlertKind.OVERRUN, str(reference), News(text, organization_id, project_id, data=data))


def raise_drift(*, organization_id: UUID, day: date, lines: int, drift_usd: Decimal) -> Alert:
    """The alert that the books of a day differ from the provider's bill; the one there is, if it was raised before.

    Belongs into the transaction that keeps the comparison. US dollars.
    """
    plural = "difference comes" if lines == 1 else "differences come"
    text = f"{lines} {plural} to {usd(drift_usd)} USD between the books of {day} (UTC) and the provider's bill."
    data = {"day": f"{day}", "differences": lines, "drift_usd": usd(drift_usd)}
    return raise_alert(AlertKind.DRIFT, f"{organization_id} {day}", News(text, organization_id, data=data))


def raise_held_back(
    *, organization_id: UUID, project_id: UUID | None, breaker_id: int, family: str, reason: str, message: str
) -> Alert:
    """The alert that calls wait because the provider refuses the account, or has used it up: once for each opening.

    `family` is empty where it is about all models; `message` is what the provider said. Belongs into the transaction
    that opens the breaker.
    """
    text = f"{reason}: calls of {family or 'all models'} wait, and one at a time tries. It said: {message}"
    return raise_alert(AlertKind.HELD_BACK, f"breaker {breaker_id}", News(text[:500], organization_id, project_id))


def raise_endpoint(
    *, organization_id: UUID, endpoint_id: UUID, name: str, reason: str, pending: int, at: datetime
) -> Alert:
    """The alert that a webhook endpoint was disabled. Belongs into the transaction that does."""
    text = f"Webhooks to {name[:200]} have stopped: {reason}. {pending} wait until somebody enables it again."
    reference = f"{endpoint_id} {at:%Y-%m-%dT%H:%M:%S.%fZ}"
    return raise_alert(AlertKind.ENDPOINT, reference, News(text, organization_id))


def raise_broken(*, organization_id: UUID, what: str, day: date, found: str) -> Alert:
    """The alert that the organization's book or audit trail (`what`) is not what was written: once for each day."""
    text = f"The {what} does not verify, so somebody or something changed what is written once: {found}"
    return raise_alert(AlertKind.BROKEN, f"{what} {organization_id} {day}", News(text, organization_id))


def raise_alert(kind: AlertKind, reference: str, news: News) -> Alert:
    """The alert about a subject, told after the commit if it is new; the one there is, if it was raised before."""
    alert, is_new = Alert.objects.get_or_create(
        kind=kind,
        reference=reference,
        defaults={
            "organization_id": news.organization_id,
            "project_id": news.project_id,
            "team_id": news.team_id,
            "text": news.text[:500],
            "data": dict(news.data),
            "raised_at": database_now(),
        },
    )
    if is_new:
        outbox.tell(alert)
        # No partial: Django names what fails by a name that a partial has not.
        transaction.on_commit(lambda: _tell(alert), robust=True)
    return alert


def acknowledge(alerts: QuerySet[Alert], actor: User) -> int:
    """Closes those that are open; returns how many were."""
    return alerts.filter(acknowledged_at=None).update(acknowledged_at=database_now(), acknowledged_by=actor)


def _tell(alert: Alert) -> None:
    """After the commit: a line in the log, and a message to the worker that mails. With Redis away the beat does it."""
    logger.error("alert %s: %s, project %s, %s", alert.pk, alert.kind, alert.project_id, alert.reference)
    try:
        current_app.send_task(TASK)
    except (BrokerError, OSError) as error:
        logger.warning("alert %s waits for the beat to be mailed: %s", alert.pk, error)
