"""One call of the provider, and what came of it.

An answer, a refusal, nothing sent, or an outcome that is not known.
"""

import asyncio
import logging
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, Self

import httpx2
import openai
from django.conf import settings
from openai import AsyncOpenAI

from billing.pricing import Tokens
from jobs.credentials import Access
from jobs.retries import Rejection, is_outcome_known
from jobs.transport import Sending, Transport, sending

logger = logging.getLogger(__name__)

# What JSON can say and PostgreSQL's text cannot: NUL, and half of a surrogate pair.
NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")
LONGEST = {"response_id": 100, "request_id": 100, "snapshot": 100, "finish_reason": 30}
# A thousand times the largest context window there is: a bill beyond it is not to be believed.
MOST_TOKENS = 10**9
# Accesses whose client is kept; making one costs milliseconds.
MOST_CLIENTS = 64


@dataclass(frozen=True, slots=True)
class Answer:
    """What the provider answered and billed, as far as PostgreSQL can keep it: what was paid for is always booked."""

    response_id: str
    request_id: str
    snapshot: str
    message: dict[str, Any]
    finish_reason: str
    usage: dict[str, Any]
    tokens: Tokens
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        for name, longest in LONGEST.items():
            object.__setattr__(self, name, _storable(getattr(self, name))[:longest])
        for name in ("message", "usage"):
            object.__setattr__(self, name, _storable(getattr(self, name)))

    @property
    def is_empty(self) -> bool:
        """Tokens were paid for and nothing can be seen: no text, no refusal, no tool call."""
        seen = ("content", "refusal", "tool_calls", "function_call", "audio")
        return self.tokens.output > 0 and not any(self.message.get(key) for key in seen)


class Rejected(Exception):
    """The provider refused the call, and billed nothing."""

    def __init__(self, rejection: Rejection, request_id: str):
        super().__init__(rejection.message)
        said = {name: _storable(getattr(rejection, name)) for name in ("code", "type", "message", "param")}
        self.rejection = replace(rejection, **said)
        self.request_id = _storable(request_id)[: LONGEST["request_id"]]


class Unreachable(Exception):
    """The connection was never made, so nothing was sent."""


class Uncertain(Exception):
    """The request had left, and what came of it is not known: it may have been billed."""

    def __init__(self, code: str, message: str, *, status: int | None = None, request_id: str = ""):
        super().__init__(_storable(message))
        self.code = code
        self.status = status
        self.request_id = _storable(request_id)[: LONGEST["request_id"]]


class Clients:
    """The official client for each access, over the connections of one event loop. Closed when the block ends."""

    def __init__(self) -> None:
        self._transport: Transport | None = None
        self._clients: OrderedDict[Access, AsyncOpenAI] = OrderedDict()

    async def __aenter__(self) -> Self:
        self._transport = Transport(settings.CALL_CONNECT_TIMEOUT_SECONDS)
        return self

    async def __aexit__(self, *ended: object) -> None:
        assert self._transport is not None
        await self._transport.aclose()

    def client(self, access: Access) -> AsyncOpenAI:
        """The client for an access; equal ones share it."""
        found = self._clients.get(access)
        if found is None:
            found = self._clients[access] = self._make(access)
            if len(self._clients) > MOST_CLIENTS:
                self._clients.popitem(last=False)  # a call that uses it keeps it; the connections are not its own
        self._clients.move_to_end(access)
        return found

    def _make(self, access: Access) -> AsyncOpenAI:
        assert self._transport is not None, "clients are used inside their block"
        client = AsyncOpenAI(
            api_key=access.api_key or "unset",  # the provider's own 401 explains it better than the client's exception
            base_url=access.base_url,
            organization=access.provider_organization_id,
            project=access.provider_project_id,
            max_retries=0,  # a retry of the client's own is a second bill that no attempt knows of
            http_client=httpx2.AsyncClient(transport=self._transport, follow_redirects=False),
        )
        # Where it is given none, the client takes the environment's ids, which belong to the environment's key.
        client.organization, client.project = access.provider_organization_id, access.provider_project_id
        return client


async def call(
    clients: Clients, access: Access, body: Mapping[str, Any], *, attempt_id: str, deadline_seconds: float
) -> Answer:
    """The provider's answer to one chat completion, sent exactly once.

    Raises Rejected, Unreachable or Uncertain, and nothing else; the whole call ends within the deadline.
    """
    state = Sending()
    reset = sending.set(state)
    try:
        async with asyncio.timeout(deadline_seconds):
            response = await clients.client(access).post(
                "/chat/completions",
                # As it was accepted: the client's own types know the parameters of its own release only.
                body=dict(body),
                cast_to=httpx2.Response,
                # Support can find a call by it even when its answer was lost (OpenAI API reference, 2026).
                options={"headers": {"X-Client-Request-Id": attempt_id}},
            )
    except openai.APIStatusError as error:
        raise _from_status(error) from error
    except Exception as error:
        if not isinstance(error, openai.OpenAIError | httpx2.HTTPError | TimeoutError):
            logger.exception("attempt %s: the client failed in a way it should not", attempt_id)
        # Whatever went wrong, one thing decides: whether the request had left.
        if not state.is_sent:
            raise Unreachable(_reason(error)) from error
        raise Uncertain("timeout" if isinstance(error, TimeoutError) else "connection_lost", _reason(error)) from error
    finally:
        sending.reset(reset)
    return _read(response)


def _read(response: httpx2.Response) -> Answer:
    """The answer in a 200. One that cannot be read was billed all the same, for nobody knows how much."""
    request_id = response.headers.get("x-request-id", "")
    try:
        body = response.json()
        choice, usage = body["choices"][0], body["usage"]
        details_in = usage.get("prompt_tokens_details") or {}
        details_out = usage.get("completion_tokens_details") or {}
        return Answer(
            response_id=_text(body["id"]),
            request_id=request_id,
            snapshot=_text(body["model"]),
            message=dict(choice["message"]),
            finish_reason=_text(choice["finish_reason"]),
            usage=usage,
            tokens=Tokens(
                input=_count(usage["prompt_tokens"]),
                cached_input=_count(details_in.get("cached_tokens") or 0),
                output=_count(usage["completion_tokens"]),
                reasoning=_count(details_out.get("reasoning_tokens") or 0),
            ),
            headers=response.headers,
        )
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise Uncertain(
            "answer_unreadable",
            f"The provider answered {response.status_code} with an unreadable body ({type(error).__name__}: {error}).",
            status=response.status_code,
            request_id=request_id,
        ) from error


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"expected a text, got {value!r:.60}")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value > MOST_TOKENS:
        raise TypeError(f"expected a number of tokens, got {value!r:.60}")
    return value


def _storable(value: Any) -> Any:
    """The value without what PostgreSQL has no place for: an answer that was paid for is booked, whatever is in it."""
    match value:
        case str():
            return NOT_STORABLE.sub("\ufffd", value)
        case dict():
            return {str(_storable(key)): _storable(member) for key, member in value.items()}
        case list():
            return [_storable(member) for member in value]
        case float() if not isfinite(value):
            return None
    return value


def _from_status(error: openai.APIStatusError) -> Rejected | Uncertain:
    body = error.body if isinstance(error.body, dict) else {}
    status, request_id = error.status_code, error.request_id or ""
    message = str(body.get("message") or f"The provider answered {status} without a readable error.")
    if not is_outcome_known(status):
        return Uncertain("gateway_error", message, status=status, request_id=request_id)
    return Rejected(
        Rejection(
            status=status,
            code=str(body.get("code") or ""),
            type=str(body.get("type") or ""),
            message=message,
            param=str(body["param"]) if body.get("param") else None,
            retry_after=_retry_after(error.response.headers),
            is_final=error.response.headers.get("x-should-retry") == "false",
        ),
        request_id,
    )


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the provider asks us to wait; None where it does not say so in seconds."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    return None


def _reason(error: BaseException) -> str:
    """The innermost cause in words: the client wraps it in 'Connection error.'"""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}"
