"""Signed webhooks (Standard Webhooks): that a background response has ended, and nothing else of it."""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web

logger = logging.getLogger(__name__)

# The provider retries for 72 hours; nobody waits that long for a simulator.
PAUSES_SECONDS = (0.2, 1.0, 5.0, 30.0)
ANSWER_SECONDS = 5.0
USER_AGENT = "OpenAI/1.0 (+https://platform.openai.com/docs/webhooks)"
SECRET_PREFIX = "whsec_"  # noqa: S105 (what every such secret begins with)
# Seeded by the system: ids must not repeat between runs.
_ids = random.Random()  # noqa: S311 (unique, not secret)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where events go; the secret is `whsec_` and a key in base64."""

    url: str
    secret: str


class Webhooks:
    """Delivers events to one endpoint, or to none. `start` runs the work and keeps hold of it."""

    def __init__(self, endpoint: Endpoint | None, start: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self.endpoint = endpoint
        self._start = start

    def tell(self, event: str, response: str) -> None:
        """Begins to deliver that a response has ended."""
        if self.endpoint is not None:
            self._start(_deliver(self.endpoint, event, response))


WEBHOOKS = web.AppKey("WEBHOOKS", Webhooks)


def signature(secret: str, delivery: str, timestamp: str, body: bytes) -> str:
    """`v1,` and the HMAC over id, timestamp and body in base64."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = b".".join((delivery.encode(), timestamp.encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


async def _deliver(endpoint: Endpoint, event: str, response: str) -> None:
    """Sends until it is taken. Each try has its own timestamp and the same id."""
    delivery, made_at = f"wh_{_ids.getrandbits(128):032x}", int(time.time())
    said = {"object": "event", "id": f"evt_{_ids.getrandbits(128):032x}", "type": event, "created_at": made_at}
    body = json.dumps({**said, "data": {"id": response}}).encode()
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for pause in (0.0, *PAUSES_SECONDS):
            await asyncio.sleep(pause)
            timestamp = str(int(time.time()))
            headers = {
                "content-type": "application/json",
                "user-agent": USER_AGENT,
                "webhook-id": delivery,
                "webhook-timestamp": timestamp,
                "webhook-signature": signature(endpoint.secret, delivery, timestamp, body),
            }
            try:
                sent = session.post(endpoint.url, data=body, headers=headers, allow_redirects=False)
                async with sent as answer:
                    if answer.ok and answer.status < 300:
                        return
            except (aiohttp.ClientError, TimeoutError) as error:
                logger.info("a webhook was not taken: %s", error)
    logger.warning("the webhook %s was given up", event)
