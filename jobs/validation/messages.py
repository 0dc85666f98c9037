"""The conversation: roles and content parts that the model takes."""

from collections.abc import Mapping
from typing import Any

from jobs.models import LanguageModel
from jobs.validation.refusals import RequestRejected, invalid_value, missing, wrong_type
from jobs.validation.shapes import check_member, check_storable

ROLES = ("developer", "system", "user", "assistant", "tool", "function")
# As many as the provider takes; more would only cost time to be looked at (error messages of its API, 2024).
MOST_MESSAGES = 2048
# Content parts of the provider that are no text. Only pictures are taken, by the models that see.
OTHER_PARTS = ("image_url", "input_audio", "file")


def check_messages(messages: Any, model: LanguageModel) -> None:
    if not isinstance(messages, list):
        raise wrong_type("messages", "an array of objects", messages)
    if not messages:
        raise RequestRejected(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            code="empty_array",
            param="messages",
        )
    if len(messages) > MOST_MESSAGES:
        raise RequestRejected(
            f"Invalid 'messages': array too long. Expected an array with maximum length {MOST_MESSAGES}, "
            f"but got an array with length {len(messages)} instead.",
            code="array_above_max_length",
            param="messages",
        )
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        if not isinstance(message, dict):
            raise wrong_type(path, "an object", message)
        _check_role(message, path, model)
        _check_content(message, index, model)
        check_storable(path, message)


def _check_role(message: Mapping[str, Any], path: str, model: LanguageModel) -> None:
    if "role" not in message:
        raise missing(f"{path}.role")
    role = message["role"]
    if not isinstance(role, str):
        raise wrong_type(f"{path}.role", "a string", role)
    if role not in ROLES:
        raise invalid_value(f"{path}.role", role, model.roles)
    if role not in model.roles:
        raise RequestRejected(
            f"Unsupported value: '{path}.role' does not support '{role}' with this model.",
            code="unsupported_value",
            param=f"{path}.role",
        )


def _check_content(message: Mapping[str, Any], index: int, model: LanguageModel) -> None:
    path, content = f"messages[{index}].content", message.get("content")
    if content is None:
        # An assistant's turn may consist of calls alone.
        if message["role"] == "assistant" and (message.get("tool_calls") or message.get("function_call")):
            return
        if "content" not in message:
            raise missing(path)
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise wrong_type(path, "a string or an array of content parts", content)
    if not content:
        raise RequestRejected(
            f"Invalid '{path}': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            code="empty_array",
            param=path,
        )
    for number, part in enumerate(content):
        _check_part(part, index, number, model)


def _check_part(part: Any, index: int, number: int, model: LanguageModel) -> None:
    path = f"messages[{index}].content[{number}]"
    if not isinstance(part, dict):
        raise wrong_type(path, "an object", part)
    if "type" not in part:
        raise missing(f"{path}.type")
    kind = part["type"]
    if not isinstance(kind, str):
        raise wrong_type(f"{path}.type", "a string", kind)
    if kind in ("text", "refusal"):
        check_member(part, kind, f"{path}.{kind}", str, "a string")
    elif kind == "image_url" and model.accepts_images:
        check_member(part, "image_url", f"{path}.image_url", dict, "an object")
        check_member(part["image_url"], "url", f"{path}.image_url.url", str, "a string")
    elif kind in OTHER_PARTS:
        raise RequestRejected(
            f"Invalid content type. {kind} is only supported by certain models.",
            param=f"messages.[{index}].content.[{number}].type",
        )
    else:
        raise invalid_value(f"{path}.type", kind, ("text", "image_url") if model.accepts_images else ("text",))
