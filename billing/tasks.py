"""Celery's entrances to `billing`, on the control queue. Messages carry ids only; what is true stands in PostgreSQL."""

import logging
from uuid import UUID

from celery import shared_task

from billing import alerts, closing, verifications

log = logging.getLogger(__name__)


@shared_task
def close_months() -> None:
    for month in closing.close_due():
        log.info("Closed %s", month)


@shared_task
def verify_book(verification_id: str) -> None:
    verifications.carry_out(UUID(verification_id))


@shared_task
def verify_every_book() -> None:
    verifications.verify_every_book()


@shared_task
def mail_alerts() -> None:
    alerts.mail_alerts()
