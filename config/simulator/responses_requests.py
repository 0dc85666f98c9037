"""What `POST /v1/responses` asks for, said in the words of a chat completion, so that one set of checks serves both."""

from collections.abc import Mapping
from typing import Any

from config.simulator import errors

Body = Mapping[str, Any]

# Ours by theirs; a refusal names the parameter as the caller wrote it.
RENAMED = {
    "max_completion_tokens": "max_output_tokens",
    "messages": "input",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
}
SAME = (
    *("model", "temperature", "top_p", "top_logprobs", "parallel_tool_calls", "tool_choice", "tools", "user"),
    *("service_tier", "prompt_cache_key", "safety_identifier", "metadata"),
)
PARTS = {"input_text": "text", "output_text": "text"}
# A cap below this is refused (recorded with clients that send one token as a sign of life, 2025).
LEAST_CAP = 16


def as_chat(body: Body) -> dict[str, Any]:
    """The request as a chat completion of the same prompt. Raises ApiError for what has no form of its own there."""
    if body.get("stream"):
        raise errors.ApiError(400, "Streams of responses are not simulated.", param="stream")
    cap = body.get("max_output_tokens")
    if isinstance(cap, int) and cap < LEAST_CAP:
        raise errors.below_minimum("max_output_tokens", LEAST_CAP, cap)
    if body.get("background") and not is_stored(body):
        raise errors.ApiError(400, "Background mode requires 'store' to be true.", param="background")
    effort = _object(body, "reasoning").get("effort")
    form = _object(body, "text").get("format")
    said = {
        **{name: body[name] for name in SAME if name in body},
        "messages": _messages(body),
        "max_completion_tokens": cap,
        "reasoning_effort": effort,
        "response_format": _form(form),
        "store": True,  # metadata needs no storing here
    }
    return {name: value for name, value in said.items() if value is not None}


def is_stored(body: Body) -> bool:
    """Whether the response can be retrieved later: so by default."""
    return body.get("store") is not False


def renamed(error: errors.ApiError) -> errors.ApiError:
    """A refusal of the chat request in the names of the response's own."""
    for ours, theirs in RENAMED.items():
        error.message = error.message.replace(f"'{ours}", f"'{theirs}")
        if error.param is not None and error.param.startswith(ours):
            error.param = theirs + error.param.removeprefix(ours)
    return error


def _object(body: Body, name: str) -> Mapping[str, Any]:
    value = body.get(name)
    return value if isinstance(value, dict) else {}


def _messages(body: Body) -> Any:
    """Instructions, and the input: a text stands for one message of the user."""
    given = body.get("input")
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if not isinstance(messages, list):
        return messages
    instructions = body.get("instructions")
    lead = [{"role": "developer", "content": instructions}] if instructions else []
    return [*lead, *(_message(item) for item in messages)]


def _message(item: Any) -> Any:
    """One message. Items of other kinds (calls of tools and their outputs) are left as they are, and count as text."""
    if not isinstance(item, dict) or item.get("type", "message") != "message":
        return item
    message = {name: value for name, value in item.items() if name not in ("type", "id", "status")}
    if isinstance(message.get("content"), list):
        message["content"] = [_part(part) for part in message["content"]]
    return message


def _part(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    if part.get("type") in PARTS:
        return {"type": PARTS[part["type"]], "text": part.get("text")}
    if part.get("type") == "input_image":
        return {"type": "image_url", "image_url": {"url": part.get("image_url")}}
    return part


def _form(form: Any) -> Any:
    if isinstance(form, dict) and form.get("type") == "json_schema":
        return {"type": "json_schema", "json_schema": {name: form[name] for name in form if name != "type"}}
    return form
