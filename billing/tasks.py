"""Celery's entrances to the books."""

import logging

from celery import shared_task

from billing import closing

log = logging.getLogger(__name__)


@shared_task
def close_months() -> None:
    for month in closing.close_due():
        log.info("Closed %s", month)
