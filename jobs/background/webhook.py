"""The provider's webhooks: somebody says that a response has ended, and is believed no further than to look at it.

Signed as Standard Webhooks are (OpenAI webhooks guide, 2026): an HMAC-SHA256 over id, timestamp and body. A delivery
that comes twice, or late, makes somebody look once more, which changes nothing.
"""

import base64
import hashlib
import hmac
import json
import logging
import re
import time
from collections.abc import Mapping, Sequence

from celery import current_app
from django.conf import settings
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from kombu.exceptions import OperationalError as BrokerError

from jobs.models import Attempt
from jobs.states import AttemptStatus

logger = logging.getLogger(__name__)

TOLERANCE_SECONDS = 300
SECRET_PREFIX = "whsec_"  # noqa: S105 (what every such secret begins with)
VERSION = "v1,"
RESPONSE_ID = re.compile(r"resp_[A-Za-z0-9_-]{1,90}", re.ASCII)
ADOPT_TASK = "jobs.tasks.adopt_response"


@csrf_exempt
@require_POST
def receive(request: HttpRequest) -> HttpResponse:
    """204 for a delivery that is signed, 400 for any other; 404 where no secret is set, 503 to have it sent again."""
    if not settings.PROVIDER_WEBHOOK_SECRETS:
        return HttpResponse(status=404)
    if not is_signed(request.headers, request.body, settings.PROVIDER_WEBHOOK_SECRETS, now=time.time()):
        logger.warning("a webhook was refused: it is not signed by the provider, or not lately")
        return HttpResponse(status=400)
    response_id = _response_id(request.body)
    if response_id and not _look_soon(response_id):
        try:
            current_app.send_task(ADOPT_TASK, [response_id])
        except (BrokerError, OSError) as error:
            logger.warning("nobody could be told of %s, it is to be sent again: %s", response_id, error)
            return HttpResponse(status=503)
    return HttpResponse(status=204)


def is_signed(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], *, now: float) -> bool:
    """Whether a delivery carries a signature by one of the secrets, over a timestamp close to `now` (Unix seconds)."""
    delivery, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not delivery or not timestamp.isascii() or not timestamp.isdecimal():
        return False
    if abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    signed = b".".join((delivery.encode(), timestamp.encode(), body))
    given = [part.removeprefix(VERSION).encode() for part in headers.get("webhook-signature", "").split()]
    expected = [base64.b64encode(hmac.new(_key(secret), signed, hashlib.sha256).digest()) for secret in secrets]
    return any(hmac.compare_digest(ours, theirs) for ours in expected for theirs in given)


def _key(secret: str) -> bytes:
    if not secret.startswith(SECRET_PREFIX):
        return secret.encode()
    return base64.b64decode(secret.removeprefix(SECRET_PREFIX))


def _response_id(body: bytes) -> str | None:
    """The response that an event is about; None for one that is about something else."""
    try:
        said = json.loads(body)
        found = RESPONSE_ID.fullmatch(said["data"]["id"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found[0] if found else None


def _look_soon(response_id: str) -> bool:
    """Has the call looked at within the second; False where none that is open has this id."""
    open_ones = (AttemptStatus.ACCEPTED, AttemptStatus.IN_DOUBT)
    return bool(Attempt.objects.filter(provider_response_id=response_id, status__in=open_ones).update(look_at=Now()))
