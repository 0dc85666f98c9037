"""One look at the provider for an answer that was lost: among the completions it keeps, by the attempt's id."""

import asyncio
from uuid import UUID

import httpx2
import openai

from jobs.credentials import Access
from jobs.execution.claims import ATTEMPT_KEY
from jobs.hearing import UNREADABLE
from jobs.provider import Answer, Clients, completion

LOOK_SECONDS = 10.0


class LookFailed(Exception):
    """Whether the provider has the answer is not known now.

    `is_throttled`: it wants fewer requests. `is_useless`: it keeps no list that could be asked.
    """

    def __init__(self, reason: str, *, is_throttled: bool = False, is_useless: bool = False):
        super().__init__(reason)
        self.is_throttled = is_throttled
        self.is_useless = is_useless


async def find(clients: Clients, access: Access, attempt_id: UUID) -> Answer | None:
    """The answer that the provider keeps for an attempt; None where it has none, or none yet. Raises LookFailed."""
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            response = await clients.client(access).get(
                "/chat/completions",
                cast_to=httpx2.Response,
                options={"params": {"metadata": {ATTEMPT_KEY: str(attempt_id)}, "limit": 2}},
            )
        body = response.json()
        # An endpoint that does not know the filter lists whatever it has.
        ours = [each for each in body["data"] if (each.get("metadata") or {}).get(ATTEMPT_KEY) == str(attempt_id)]
        return completion(ours[0], request_id=str(ours[0].get("request_id") or "")) if ours else None
    except openai.APIStatusError as error:
        status = error.status_code
        reason = f"the provider answered {status}"
        raise LookFailed(reason, is_throttled=status == 429, is_useless=status in {404, 405}) from error
    except UNREADABLE as error:
        raise LookFailed(f"the provider's list could not be read ({type(error).__name__})") from error
    except Exception as error:  # of the client or of the wire under it: another look will tell
        raise LookFailed(f"the provider was not reached ({type(error).__name__})") from error
