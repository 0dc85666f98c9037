"""A response whose id was lost on its way to us is found again, once the provider has told of it by a webhook.

Each carries the id of its attempt as metadata. It cannot be asked for by that, but whoever has its own id can read it.
"""

import logging
from uuid import UUID

from asgiref.sync import async_to_sync

from jobs import provider
from jobs.background.acceptance import accept_all
from jobs.background.beginning import PATH
from jobs.credentials import Access, accesses_of
from jobs.execution.claims import ATTEMPT_KEY
from jobs.models import Attempt
from jobs.provider import Clients, Rejected, Uncertain, Unreachable
from jobs.responses import Accepted
from jobs.states import AttemptStatus

logger = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
# Attempts without an id are few; of more than this only the latest are thought of.
MOST_ATTEMPTS = 1000
MOST_ACCESSES = 10


def adopt(response_id: str) -> bool:
    """Whether one of our attempts that has no id turned out to be this response; it is looked at from then on."""
    waiting = (AttemptStatus.CALLING, AttemptStatus.IN_DOUBT)
    lost = Attempt.objects.filter(status__in=waiting, provider_response_id="").order_by("-id")
    attempts = {str(each.pk): each for each in lost.select_related("job__project")[:MOST_ATTEMPTS]}
    projects = {each.job.project_id: each.job.project for each in attempts.values()}
    accesses = list(dict.fromkeys(accesses_of(projects.values()).values()))[:MOST_ACCESSES]
    attempt_id, request_id = async_to_sync(_attempt_of)(response_id, accesses) if accesses else ("", "")
    found = attempts.get(attempt_id)
    if found is None or found.fencing_token is None:
        return False
    pair: tuple[UUID, UUID, Accepted] = (found.pk, found.fencing_token, Accepted(response_id, request_id))
    return bool(accept_all([pair]))


async def _attempt_of(response_id: str, accesses: list[Access]) -> tuple[str, str]:
    """The attempt that a response says it is for, with the request's id; empty where nobody of these may read it."""
    async with Clients() as clients:
        for access in accesses:
            try:
                answer = await provider.send(
                    clients,
                    access,
                    "GET",
                    f"{PATH}/{response_id}",
                    attempt_id=response_id,
                    deadline_seconds=LOOK_SECONDS,
                )
                metadata = answer.json()["metadata"] or {}
                return str(metadata.get(ATTEMPT_KEY, "")), answer.headers.get("x-request-id", "")
            except (Rejected, Unreachable, Uncertain, ValueError, KeyError, TypeError, AttributeError) as error:
                logger.info("response %s is not to be read here: %s", response_id, error)
    return "", ""
