"""Celery's entrances to `billing`, on the control queue. Messages carry ids only; what is true stands in PostgreSQL."""

import logging
from uuid import UUID

from celery import shared_task

from billing import closing, hourly, mails, thresholds, verifications, watching
from billing.quotas import asking, news
from billing.webhooks import outbox, sender

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
def tell() -> None:
    """What has crossed a limit becomes alerts, and alerts are delivered, at once: no message in between."""
    thresholds.tell()
    sender.send()


@shared_task
def mail_alerts() -> None:
    mails.mail_alerts()


@shared_task
def mail_quota_request(request_id: str) -> None:
    news.mail(UUID(request_id))


@shared_task
def expire_quota_requests() -> None:
    asking.expire_due()


@shared_task
def watch_limits() -> None:
    watching.watch_limits()


@shared_task
def note_hours() -> None:
    hourly.note_days()


@shared_task
def watch_spend() -> None:
    watching.watch_spend()


@shared_task
def forget_old_deliveries() -> None:
    outbox.forget_old()
