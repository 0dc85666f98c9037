"""The provider's Responses API as jobs see it: a request in its words, and what its answer says. Pure.

A job is kept as a chat completion, whichever way it is sent: what was accepted, what was answered and how it ended are
told in the same words. Only the usage stays in the shape in which it was billed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from billing.pricing import Tokens
from jobs.provider import Answer, Rejected, Uncertain, count, text
from jobs.retries import QUOTA_CODES, Rejection
from jobs.states import JobStatus

# Parameters of the same name and meaning on both endpoints (openai-python 3.54 types).
SAME = frozenset(
    {
        *("model", "temperature", "top_p", "user", "safety_identifier", "service_tier", "metadata"),
        *("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"),
    }
)
# What the two say by default, so that it need not be said.
DEFAULTS: Mapping[str, Any] = {
    "frequency_penalty": 0,
    "logprobs": False,
    "modalities": ["text"],
    "n": 1,
    "presence_penalty": 0,
    "response_format": {"type": "text"},
    "store": True,  # of responses; work in the background needs it (background guide, 2025)
    "stream": False,
}
ROLES = frozenset({"system", "developer", "user", "assistant"})
# A smaller cap is refused by this endpoint alone (recorded with one-token probes, 2025).
LEAST_CAP = 16
UNDER_WAY = frozenset({"queued", "in_progress"})
INCOMPLETE_REASONS = {"max_output_tokens": "length"}
# Errors of a response that failed, as an HTTP status of the same meaning; any other is the request's own fault.
STATUS_OF_ERRORS = {"": 500, "server_error": 500, "rate_limit_exceeded": 429} | dict.fromkeys(QUOTA_CODES, 429)


class Unmappable(Exception):
    """The request has something that this endpoint does not take, or takes otherwise; `name` says which parameter."""

    def __init__(self, name: str):
        super().__init__(f"'{name}' cannot be said to the Responses API")
        self.name = name


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider works on it in the background: from now on its id is enough to learn what came of it."""

    response_id: str
    request_id: str
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class CancelledUntold:
    """Cancelled, and the provider does not say what it had used by then."""


Ending = Answer | Rejected | CancelledUntold


# --- Requests ---------------------------------------------------------------------------------------------------------
def request_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """The chat completion as a response to be made in the background. Raises Unmappable."""
    mapped: dict[str, Any] = {"background": True, "store": True}
    for name, value in body.items():
        if value is None or (name in DEFAULTS and value == DEFAULTS[name]):
            continue
        if name in SAME:
            mapped[name] = value
        elif name in _OTHERS:
            _OTHERS[name](value, mapped)
        else:
            raise Unmappable(name)
    return mapped


def _messages(messages: list[dict[str, Any]], mapped: dict[str, Any]) -> None:
    mapped["input"] = [_message(message) for message in messages]


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    role, content = message.get("role"), message.get("content")
    # A name, calls of tools and their outputs are items of another form there.
    if role not in ROLES or {name for name, value in message.items() if value is not None} - {"role", "content"}:
        raise Unmappable("messages")
    if isinstance(content, str):
        return {"role": role, "content": content}
    if not isinstance(content, list):
        raise Unmappable("messages")
    return {"role": role, "content": [_part(part, is_answer=role == "assistant") for part in content]}


def _part(part: Mapping[str, Any], *, is_answer: bool) -> dict[str, Any]:
    match part.get("type"):
        case "text":
            return {"type": "output_text" if is_answer else "input_text", "text": part["text"]}
        case "refusal":
            return {"type": "refusal", "refusal": part["refusal"]}
        case "image_url":
            image = part["image_url"]
            return {"type": "input_image", "image_url": image["url"], "detail": image.get("detail") or "auto"}
        case _:
            raise Unmappable("messages")


def _cap(value: int, mapped: dict[str, Any]) -> None:
    if value < LEAST_CAP:
        raise Unmappable("max_completion_tokens")
    mapped["max_output_tokens"] = value


def _effort(value: str, mapped: dict[str, Any]) -> None:
    mapped["reasoning"] = {"effort": value}


def _verbosity(value: str, mapped: dict[str, Any]) -> None:
    mapped.setdefault("text", {})["verbosity"] = value


def _format(value: Mapping[str, Any], mapped: dict[str, Any]) -> None:
    schema = value.get("json_schema") if value.get("type") == "json_schema" else {}
    if not isinstance(schema, dict):
        raise Unmappable("response_format")
    mapped.setdefault("text", {})["format"] = {"type": value.get("type"), **schema}


_OTHERS: Mapping[str, Callable[[Any, dict[str, Any]], None]] = {
    "messages": _messages,
    "max_completion_tokens": _cap,
    "reasoning_effort": _effort,
    "verbosity": _verbosity,
    "response_format": _format,
}


# --- Answers ----------------------------------------------------------------------------------------------------------
def read(body: Any, request_id: str, headers: Mapping[str, str]) -> Accepted | Ending:
    """What a response object says: how it ended, or that it is accepted and not at its end.

    Raises Uncertain for one that cannot be read: it may have been billed.
    """
    try:
        response_id, status = text(body["id"]), text(body["status"])
        if status in UNDER_WAY:
            return Accepted(response_id, request_id, headers)
        if body.get("usage") is not None:
            return _answer(body, request_id, headers)
        if status == "failed":
            return Rejected(_rejection(body.get("error") or {}), request_id)
        if status == "cancelled":
            return CancelledUntold()
        raise TypeError("the status is none that is known, and there is no usage")
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise Uncertain(
            "answer_unreadable",
            f"The provider answered with an unreadable response ({type(error).__name__}: {error}).",
            status=200,
            request_id=request_id,
        ) from error


def _answer(body: Mapping[str, Any], request_id: str, headers: Mapping[str, str]) -> Answer:
    usage, status = body["usage"], body["status"]
    details_in = usage.get("input_tokens_details") or {}
    message = _said(body.get("output") or [])
    ends_as, error = None, None
    match status:
        case "completed":
            finish_reason = "stop"
        case "incomplete":
            reason = text((body.get("incomplete_details") or {}).get("reason"))
            finish_reason, ends_as = INCOMPLETE_REASONS.get(reason, reason), JobStatus.INCOMPLETE
        case "cancelled":
            finish_reason, ends_as = status, JobStatus.CANCELLED
        case "failed":
            finish_reason, ends_as = status, JobStatus.FAILED
            rejection = _rejection(body.get("error") or {})
            error = {name: getattr(rejection, name) or None for name in ("status", "code", "type", "param", "message")}
        case _:
            raise ValueError("no response ends so")
    return Answer(
        response_id=body["id"],
        request_id=request_id,
        snapshot=text(body["model"]),
        message=message,
        finish_reason=finish_reason,
        usage=usage,
        tokens=Tokens(
            input=count(usage["input_tokens"]),
            cached_input=count(details_in.get("cached_tokens") or 0),
            output=count(usage["output_tokens"]),
            reasoning=count((usage.get("output_tokens_details") or {}).get("reasoning_tokens") or 0),
            cache_write=count(details_in.get("cache_write_tokens") or 0),
        ),
        headers=headers,
        ends_as=ends_as,
        error=error,
        rest=_rest(body),
    )


def _rest(body: Mapping[str, Any]) -> dict[str, Any]:
    """When it was made and how it was served, under the names that a completion has for it."""
    beside = {"created": body.get("created_at"), "service_tier": body.get("service_tier")}
    said = {name: value for name, value in beside.items() if value is not None}
    return {"completion": said} if said else {}


def _said(output: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The visible answer as a chat message; reasoning leaves none, and then there may be nothing else."""
    parts = [part for item in output if item.get("type") == "message" for part in item.get("content") or []]
    texts = [part["text"] for part in parts if part.get("type") == "output_text"]
    refusals = [part["refusal"] for part in parts if part.get("type") == "refusal"]
    return {"role": "assistant", "content": "".join(texts), "refusal": "".join(refusals) or None}


def _rejection(error: Mapping[str, Any]) -> Rejection:
    code = str(error.get("code") or "")
    return Rejection(
        status=STATUS_OF_ERRORS.get(code, 400),
        code=code,
        type=str(error.get("type") or ""),
        message=str(error.get("message") or "The provider could not finish the response and does not say why."),
        param=str(error["param"]) if error.get("param") else None,
    )


# --- Usage ------------------------------------------------------------------------------------------------------------
def tokens_of(usage: Mapping[str, Any] | None) -> dict[str, int]:
    """Tokens out of a stored usage object of either shape: input, cached, written to the cache, output, reasoning."""
    usage = usage or {}
    prompt, completion = ("input", "output") if "input_tokens" in usage else ("prompt", "completion")
    return {
        "input": usage.get(f"{prompt}_tokens") or 0,
        "cached": (usage.get(f"{prompt}_tokens_details") or {}).get("cached_tokens") or 0,
        "cache_write": (usage.get(f"{prompt}_tokens_details") or {}).get("cache_write_tokens") or 0,
        "output": usage.get(f"{completion}_tokens") or 0,
        "reasoning": (usage.get(f"{completion}_tokens_details") or {}).get("reasoning_tokens") or 0,
    }


def written(tokens: Mapping[str, int]) -> dict[str, int]:
    """What a usage object says of tokens that were written to the cache; nothing where none were."""
    return {"cache_write_tokens": tokens["cache_write"]} if tokens["cache_write"] else {}
