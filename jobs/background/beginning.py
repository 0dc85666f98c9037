"""A call is begun in the background: one short request, which is answered with the id of the work."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings

from jobs import provider
from jobs.credentials import Access
from jobs.echoes import echo_of
from jobs.provider import Answer, Clients, Rejected, Uncertain
from jobs.responses import Accepted, CancelledUntold, read

PATH = "/responses"


async def begin(clients: Clients, access: Access, body: Mapping[str, Any], *, attempt_id: str) -> Accepted | Answer:
    """The provider's word that it works on it, sent for exactly once; its answer, where it had one at once.

    Raises Rejected, Unreachable or Uncertain. An answer that is lost leaves a doubt: responses cannot be listed, so
    that without its id this one is found by a webhook alone.
    """
    response = await provider.send(
        clients,
        access,
        "POST",
        PATH,
        body,
        attempt_id=attempt_id,
        deadline_seconds=settings.CALL_DEADLINE_SECONDS,
    )
    request_id = response.headers.get("x-request-id", "")
    try:
        came = read(response.json(), request_id, response.headers)
    except (ValueError, RecursionError) as error:
        reason = f"The provider answered with no JSON: {error}"
        raise Uncertain("answer_unreadable", reason, status=200, request_id=request_id) from error
    match came:
        case Rejected():
            raise came.without(echo_of(access.api_key, body))
        case CancelledUntold():
            raise Uncertain("cancelled", "The provider cancelled the response by itself.", request_id=request_id)
    return came
