"""Delivers what is due. Any number of processes may do it at any time; one run at a time in each."""

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from asgiref.sync import async_to_sync, sync_to_async
from celery.worker import state
from django.db import connection
from django.utils import timezone

from billing.models import DeliveryStatus
from billing.webhooks import endpoints, outbox
from billing.webhooks.outbox import MOST_OF_AN_ENDPOINT, Claimed
from billing.webhooks.signing import headers_of
from billing.webhooks.wire import Answer, post

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 100
# How often a run sees whether more is due while messages are under way.
SEE_AGAIN_SECONDS = 1
# Answers that come so close together make one look for more.
LINGER_SECONDS = 1 / 50

_running = threading.Lock()


def send() -> int:
    """Delivers all that is due, and what becomes due meanwhile; returns how many tries that were."""
    if not _running.acquire(blocking=False):
        return 0  # the run that is there sees what is due as well
    try:
        return async_to_sync(_send)()
    finally:
        _running.release()


async def _send() -> int:
    under_way: dict[asyncio.Task[None], UUID] = {}
    tries = 0
    while True:
        due = await sync_to_async(_claim)(MOST_AT_ONCE - len(under_way), list(under_way.values()))
        tries += len(due)
        under_way |= {asyncio.create_task(_deliver(each)): each.delivery.endpoint_id for each in due}
        if not under_way:
            return tries
        if (await asyncio.wait(under_way, timeout=SEE_AGAIN_SECONDS, return_when=asyncio.FIRST_COMPLETED))[0]:
            await asyncio.sleep(LINGER_SECONDS)
        for task in [task for task in under_way if task.done()]:
            under_way.pop(task)
            if error := task.exception():
                logger.error("a delivery is tried again when its lease is over", exc_info=error)


def _claim(most: int, under_way: Sequence[UUID]) -> list[Claimed]:
    """What is due, but nothing for a worker that is told to stop: it finishes what it has."""
    if not most or state.should_stop is not None:
        return []
    busy = [endpoint for endpoint, number in Counter(under_way).items() if number >= MOST_OF_AN_ENDPOINT]
    try:
        return outbox.claim(most, busy)
    finally:
        _lend()


async def _deliver(claimed: Claimed) -> None:
    """Tries once, and writes down what came of it."""
    tried_at = timezone.now()
    delivery = claimed.delivery
    body = delivery.body.encode()
    headers = headers_of(delivery.message_id, body, tried_at, delivery.endpoint.secrets_at(tried_at))
    answer = await post(delivery.endpoint.url, body, headers)
    await sync_to_async(_book)(claimed, answer, tried_at)


def _book(claimed: Claimed, answer: Answer, tried_at: datetime) -> None:
    try:
        became = outbox.book(claimed, answer, tried_at)
        if answer.status == 410:
            endpoints.disable_gone(claimed.delivery.endpoint)
        elif became == DeliveryStatus.FAILED:
            endpoints.disable_dead(claimed.delivery)
    finally:
        _lend()


def _lend() -> None:
    """Gives this thread's database connection to others while nobody here needs it."""
    if not connection.in_atomic_block:
        connection.close()
