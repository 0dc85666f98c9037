"""One call of the provider, and what came of it.

An answer, a refusal, nothing sent, or an outcome that is not known.
"""

import asyncio
import logging
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import Any, Literal, Self

import httpx2
import openai
from django.conf import settings
from openai import AsyncOpenAI
from openai._types import RequestOptions

from billing.pricing import Tokens
from jobs.credentials import Access
from jobs.echoes import Echo, echo_of
from jobs.hearing import UNREADABLE, Hearing, Tell
from jobs.official_client import client_for
from jobs.retries import Rejection, is_outcome_known, rejection_of
from jobs.states import JobStatus
from jobs.storable import storable
from jobs.transport import CARRIED_BADLY, NOT_HTTP, Sending, Transport, sending

logger = logging.getLogger(__name__)

LONGEST = {"response_id": 100, "request_id": 100, "snapshot": 100, "finish_reason": 30}
# A thousand times the largest context window there is: a bill beyond it is not to be believed.
MOST_TOKENS = 10**9
# What a call may fail with, and does not say so of a mistake of ours.
EXPECTED = (openai.OpenAIError, httpx2.HTTPError, TimeoutError, *CARRIED_BADLY)
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
    # Where the finish reason does not say how the job ends, and why it failed.
    ends_as: JobStatus | None = None
    error: dict[str, Any] | None = None
    # What else it had, as `rest_of` puts it: nothing that was paid for is lost.
    rest: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, longest in LONGEST.items():
            object.__setattr__(self, name, storable(getattr(self, name))[:longest])
        for name in ("message", "usage", "error", "rest"):
            object.__setattr__(self, name, storable(getattr(self, name)))

    def without(self, echo: Echo) -> "Answer":
        """The same, and of why it failed only what the provider says itself."""
        names = ("code", "type", "param")
        cleaned = {
            name: echo.out_of_name(said) if name in names else echo.out_of(said)
            for name, said in (self.error or {}).items()
            if isinstance(said, str)
        }
        return replace(self, error={**self.error, **cleaned}) if self.error else self

    @property
    def is_empty(self) -> bool:
        """Tokens were paid for and nothing can be seen: no text, no refusal, no tool call."""
        seen = ("content", "refusal", "tool_calls", "function_call", "audio")
        return self.tokens.output > 0 and not any(self.message.get(key) for key in seen)

    @property
    def is_refused(self) -> bool:
        """Tokens were paid for, and the model declined, or a filter cut the answer off."""
        return self.tokens.output > 0 and (bool(self.message.get("refusal")) or self.finish_reason == "content_filter")


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer whose bill is not to be believed, as far as PostgreSQL can keep it."""

    response_id: str
    snapshot: str
    message: dict[str, Any]
    finish_reason: str
    rest: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("response_id", "snapshot", "finish_reason"):
            object.__setattr__(self, name, storable(getattr(self, name))[: LONGEST[name]])
        for name in ("message", "rest"):
            object.__setattr__(self, name, storable(getattr(self, name)))


class Rejected(Exception):
    """The provider refused the call, and billed nothing."""

    def __init__(self, rejection: Rejection, request_id: str):
        super().__init__(rejection.message)
        said = {name: storable(getattr(rejection, name)) for name in ("code", "type", "message", "param")}
        self.rejection = replace(rejection, **said)
        self.request_id = storable(request_id)[: LONGEST["request_id"]]

    def without(self, echo: Echo) -> "Rejected":
        """The same, without what the provider only repeats."""
        said = self.rejection
        cleaned = replace(
            said,
            code=echo.out_of_name(said.code),
            type=echo.out_of_name(said.type),
            param=echo.out_of_name(said.param or "") or None,
            message=echo.out_of(said.message),
        )
        return Rejected(cleaned, self.request_id)


class Unreachable(Exception):
    """The connection was never made, so nothing was sent."""


class Uncertain(Exception):
    """The request had left, and what came of it is not known: it may have been billed.

    `kept`: the answer itself, where only its bill is not known.
    """

    def __init__(
        self, code: str, message: str, *, status: int | None = None, request_id: str = "", kept: Kept | None = None
    ):
        super().__init__(storable(message))
        self.code = code
        self.kept = kept
        self.status = status
        self.request_id = storable(request_id)[: LONGEST["request_id"]]

    def without(self, echo: Echo) -> "Uncertain":
        """The same, without what the provider only repeats."""
        said = echo.out_of(str(self))
        return Uncertain(self.code, said, status=self.status, request_id=self.request_id, kept=self.kept)


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
        http_client = httpx2.AsyncClient(transport=self._transport, follow_redirects=False)
        return client_for(access, AsyncOpenAI, http_client)


async def call(
    clients: Clients,
    access: Access,
    body: Mapping[str, Any],
    *,
    attempt_id: str,
    deadline_seconds: float,
    tell: Tell | None = None,
) -> Answer:
    """The provider's answer to one chat completion, sent exactly once.

    One that is asked for as a stream is told on by `tell` as it comes; the answer is the same in the end. Raises
    Rejected, Unreachable or Uncertain, and nothing else; the whole call ends within the deadline.
    """
    path, hearing = "/chat/completions", Hearing(tell) if body.get("stream") else None
    limits: Any = {"attempt_id": attempt_id, "deadline_seconds": deadline_seconds, "hearing": hearing}
    try:
        response = await send(clients, access, "POST", path, body, **limits)
    except Uncertain:
        if hearing is None or not hearing.is_whole:
            raise  # what is missing may be the end of the text, or what it was billed for
    else:
        if hearing is None or not hearing.has_begun:
            return read(response.headers, response.json)
    headers = hearing.headers or {}
    if hearing.error is not None:
        said = str(hearing.error.get("message") or "The provider says in the stream that something went wrong.")
        request_id = headers.get("x-request-id", "")
        raise Uncertain("error_in_stream", said, status=200, request_id=request_id).without(
            echo_of(access.api_key, body)
        )
    return read(headers, hearing.completion)


async def send(
    clients: Clients,
    access: Access,
    method: Literal["GET", "POST"],
    path: str,
    body: Mapping[str, Any] | None = None,
    *,
    attempt_id: str,
    deadline_seconds: float,
    hearing: Hearing | None = None,
) -> httpx2.Response:
    """The provider's 200 to one request, which is sent exactly once; without a body, where that is a stream that
    somebody hears. Raises what `call` raises.
    """
    state = Sending(hearing=hearing)
    reset = sending.set(state)
    try:
        async with asyncio.timeout(deadline_seconds):
            client = clients.client(access)
            # Support can find a call by it even when its answer was lost (OpenAI API reference, 2026).
            options: RequestOptions = {"headers": {"X-Client-Request-Id": attempt_id}}
            if method == "GET":
                return await client.get(path, cast_to=httpx2.Response, options=options)
            # As it was accepted: the client's own types know the parameters of its own release only.
            return await client.post(path, body=dict(body or {}), cast_to=httpx2.Response, options=options)
    except openai.APIStatusError as error:
        raise _from_status(error).without(echo_of(access.api_key, body)) from error
    except Exception as error:
        if not isinstance(error, EXPECTED):
            # Where it happened, and not in which words: those may repeat what was sent or what came.
            where = "".join(traceback.format_tb(error.__traceback__))
            kind = type(error).__name__
            logger.error("attempt %s: the client failed in a way it should not, by %s:\n%s", attempt_id, kind, where)
        # Whatever went wrong, one thing decides: whether the request had left.
        if not state.is_sent:
            raise Unreachable(_reason(error)) from error
        code = "timeout" if isinstance(error, TimeoutError) else "connection_lost"
        raise Uncertain(code, _reason(error)).without(echo_of(access.api_key, body)) from error
    finally:
        sending.reset(reset)


def read(headers: Mapping[str, str], body_of: Callable[[], Any]) -> Answer:
    """The answer in a 200. One that cannot be read was billed all the same, for nobody knows how much."""
    request_id = headers.get("x-request-id", "")
    try:
        return completion(body_of(), request_id=request_id, headers=headers)
    except UNREADABLE as error:
        kept = _kept(body_of)
        what = "an unreadable body" if kept is None else "usage that cannot be true"
        raise Uncertain(
            "answer_unreadable" if kept is None else "usage_unreadable",
            f"The provider answered 200 with {what} ({type(error).__name__}: {error}).",
            status=200,
            request_id=request_id,
            kept=kept,
        ) from error


def completion(body: Any, *, request_id: str, headers: Mapping[str, str] | None = None) -> Answer:
    """The answer in a chat completion as the provider writes it. Raises one of UNREADABLE where it is none."""
    choice, usage = body["choices"][0], body["usage"]
    details_in = usage.get("prompt_tokens_details") or {}
    details_out = usage.get("completion_tokens_details") or {}
    return Answer(
        response_id=text(body["id"]),
        request_id=request_id,
        snapshot=text(body["model"]),
        message=dict(choice["message"]),
        finish_reason=text(choice["finish_reason"]),
        usage=usage,
        tokens=Tokens(
            input=count(usage["prompt_tokens"]),
            cached_input=count(details_in.get("cached_tokens") or 0),
            output=count(usage["completion_tokens"]),
            reasoning=count(details_out.get("reasoning_tokens") or 0),
            cache_write=count(details_in.get("cache_write_tokens") or 0),
        ),
        headers=headers or {},
        rest=rest_of(body),
    )


# What of a completion has a column of its own: its message, how it ended, its tokens.
_KEPT_APART = frozenset({"id", "object", "model", "usage", "choices"})
_KEPT_APART_OF_CHOICE = frozenset({"index", "message", "finish_reason"})


def rest_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a completion has beside its first message: `completion`, its other members; `choice`, those of its first
    choice; `choices`, the further ones whole. What is empty is left out.
    """
    first, *others = body["choices"]
    parts = {
        "completion": {name: value for name, value in body.items() if name not in _KEPT_APART},
        "choice": {name: value for name, value in first.items() if name not in _KEPT_APART_OF_CHOICE},
        "choices": others,
    }
    return {name: part for name, part in parts.items() if part}


def _kept(body_of: Callable[[], Any]) -> Kept | None:
    """The answer of a body whose usage cannot be read; None where the answer cannot be read either."""
    try:
        body = body_of()
        choice = body["choices"][0]
        message, finish_reason = dict(choice["message"]), text(choice["finish_reason"])
        return Kept(text(body["id"]), text(body["model"]), message, finish_reason, rest_of(body))
    except UNREADABLE:
        return None


def text(value: Any) -> str:
    """A text of an answer that has to be there; raises TypeError."""
    if not isinstance(value, str) or not value:
        raise TypeError(f"expected a text, got {_kind(value)}")
    return value


def count(value: Any) -> int:
    """A believable number of tokens; raises TypeError."""
    if not isinstance(value, int) or isinstance(value, bool) or value > MOST_TOKENS:
        raise TypeError(f"expected a number of tokens, got {_kind(value)}")
    return value


def _kind(value: Any) -> str:
    """What stands where something else should: a number itself, of anything else only what it is."""
    return repr(value)[:60] if isinstance(value, int | float) else f"a {type(value).__name__}"


def _from_status(error: openai.APIStatusError) -> Rejected | Uncertain:
    body = error.body if isinstance(error.body, dict) else {}
    status, request_id = error.status_code, error.request_id or ""
    headers = error.response.headers
    rejection = rejection_of(
        status, body, retry_after=_retry_after(headers), is_final=headers.get("x-should-retry") == "false"
    )
    # The provider's errors always say of what type they are; what stands in between says something else, or nothing.
    if not is_outcome_known(status, is_providers_own="type" in body and "message" in body):
        return Uncertain("gateway_error", rejection.message, status=status, request_id=request_id)
    return Rejected(rejection, request_id)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the provider asks us to wait; None where it does not say, or not so that it can be understood."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    try:
        # By the clock of whoever set the date.
        until, since = parsedate_to_datetime(headers["retry-after"]), parsedate_to_datetime(headers["date"])
        return max(0.0, (until - since).total_seconds())
    except (KeyError, ValueError, TypeError):
        return None


def _reason(error: BaseException) -> str:
    """The innermost cause in words: the client wraps it in 'Connection error.'"""
    while error.__cause__ is not None:
        error = error.__cause__
    # What came and was not HTTP is quoted in the words of such an error, an answer perhaps.
    return type(error).__name__ if isinstance(error, NOT_HTTP) else f"{type(error).__name__}: {error}"
