"""What `POST /v1/responses` asks for, as the chat completion that a job is kept as. Pure.

What chat cannot say is refused by name and never left out: a tool that the provider runs itself costs money of its own.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jobs.validation import RequestRejected
from jobs.validation.refusals import invalid_value, missing, wrong_type

Messages = list[dict[str, Any]]

# Of the same name and meaning on both endpoints.
SAME = frozenset(
    {
        *("model", "temperature", "top_p", "user", "safety_identifier", "service_tier", "metadata"),
        *("prompt_cache_key", "prompt_cache_retention", "parallel_tool_calls", "store"),
    }
)
# What the view sees to itself.
DOOR = frozenset({"background", "stream", "stream_options", "previous_response_id"})
# These values say nothing that would not be so anyway; any other is refused.
HARMLESS: Mapping[str, tuple[Any, ...]] = {
    "truncation": ("disabled",),
    "top_logprobs": (0,),
    "max_tool_calls": (),
    # There are no reasoning items, so that nothing of them can be included.
    "include": ([], ["reasoning.encrypted_content"]),
}
# The parameter of a refusal, in the words of this endpoint.
NAMES: Mapping[str, str] = {
    "max_completion_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "messages": "input",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
}
ROLES = ("user", "assistant", "system", "developer")


def chat_of(body: Mapping[str, Any], earlier: Messages, *, instructs_as: str) -> dict[str, Any]:
    """The request as a chat completion. `earlier`: the conversation that it goes on with.

    `instructs_as`: the role in which the model takes instructions. Raises RequestRejected.
    """
    chat: dict[str, Any] = {}
    for name, value in body.items():
        if value is None or name in DOOR or name in ("input", "instructions"):
            continue
        if name in SAME:
            chat[name] = value
        elif name in _OTHERS:
            _OTHERS[name](value, chat)
        elif value not in HARMLESS.get(name, ()):
            raise _unsupported(name)
    instructions = body.get("instructions")
    if instructions is not None and not isinstance(instructions, str):
        raise (
            _unsupported("instructions")
            if isinstance(instructions, list)
            else wrong_type("instructions", "a string", instructions)
        )
    lead = [{"role": instructs_as, "content": instructions}] if instructions else []
    chat["messages"] = [*lead, *earlier, *_messages(body.get("input"))]
    return chat


def renamed(error: RequestRejected) -> RequestRejected:
    """A refusal of the chat completion in the words of this endpoint."""
    message, param = error.message, error.param
    for ours, theirs in NAMES.items():
        message = message.replace(f"'{ours}", f"'{theirs}")
        if param is not None and (param == ours or param.startswith(f"{ours}[")):
            param = theirs + param.removeprefix(ours)
    return RequestRejected(message, code=error.provider_code, param=param, status=error.status)


def _unsupported(name: str) -> RequestRejected:
    return RequestRejected(
        f"Unsupported parameter: '{name}' cannot be said as a chat completion, which jobs are kept as. Leave it out.",
        code="unsupported_parameter",
        param=name,
    )


# --- Parameters -------------------------------------------------------------------------------------------------------
def _cap(value: Any, chat: dict[str, Any]) -> None:
    chat["max_completion_tokens"] = value


def _reasoning(value: Any, chat: dict[str, Any]) -> None:
    for name, setting in _members("reasoning", value):
        if name == "effort":
            chat["reasoning_effort"] = setting
        # A summary is asked for where there is one; chat has none.
        elif name not in ("summary", "generate_summary") or setting != "auto":
            raise _unsupported(f"reasoning.{name}")


def _text(value: Any, chat: dict[str, Any]) -> None:
    for name, setting in _members("text", value):
        if name == "verbosity":
            chat["verbosity"] = setting
        elif name == "format":
            chat["response_format"] = _format(setting)
        else:
            raise _unsupported(f"text.{name}")


def _format(value: Any) -> Any:
    if isinstance(value, dict) and value.get("type") == "json_schema":
        schema = {name: member for name, member in value.items() if name != "type" and member is not None}
        return {"type": "json_schema", "json_schema": schema}
    return value


def _tools(value: Any, chat: dict[str, Any]) -> None:
    if not isinstance(value, list):
        raise wrong_type("tools", "an array of objects", value)
    if value:
        chat["tools"] = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(value)]


def _tool(tool: Any, path: str) -> dict[str, Any]:
    if not isinstance(tool, dict):
        raise wrong_type(path, "an object", tool)
    if tool.get("type") != "function":
        raise _unsupported(f"{path}.type")
    function = {name: member for name, member in tool.items() if name != "type" and member is not None}
    return {"type": "function", "function": function}


def _choice(value: Any, chat: dict[str, Any]) -> None:
    if isinstance(value, dict):
        if value.get("type") != "function":
            raise _unsupported("tool_choice")
        value = {"type": "function", "function": {"name": value.get("name")}}
    # Without tools there is nothing to choose, and chat refuses to.
    if value != "auto":
        chat["tool_choice"] = value


def _members(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The members of an object that are set."""
    if not isinstance(value, dict):
        raise wrong_type(name, "an object", value)
    return ((member, setting) for member, setting in value.items() if setting is not None)


_OTHERS: Mapping[str, Callable[[Any, dict[str, Any]], None]] = {
    "max_output_tokens": _cap,
    "reasoning": _reasoning,
    "text": _text,
    "tools": _tools,
    "tool_choice": _choice,
}


# --- Input ------------------------------------------------------------------------------------------------------------
def _messages(given: Any) -> Messages:
    if given is None:
        raise missing("input")
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list):
        raise wrong_type("input", "a string or an array of items", given)
    messages: Messages = []
    for index, item in enumerate(given):
        _add(item, f"input[{index}]", messages)
    return messages


def _add(item: Any, path: str, messages: Messages) -> None:
    if not isinstance(item, dict):
        raise wrong_type(path, "an object", item)
    match item.get("type", "message"):
        case "message":
            messages.append(_message(item, path))
        case "function_call":
            _calls(messages).append(
                {
                    "id": _text_of(item, "call_id", path),
                    "type": "function",
                    "function": {"name": _text_of(item, "name", path), "arguments": _text_of(item, "arguments", path)},
                }
            )
        case "function_call_output":
            output = item.get("output")
            content = output if isinstance(output, str) else _parts(output, f"{path}.output")
            messages.append({"role": "tool", "tool_call_id": _text_of(item, "call_id", path), "content": content})
        case "reasoning":
            # The name of thoughts that the provider keeps, or keeps not; chat takes none of them up again.
            pass
        case _:
            raise _unsupported(f"{path}.type")


def _calls(messages: Messages) -> list[dict[str, Any]]:
    """Where a call of a function belongs: to the assistant's turn that is being told, or to one of its own."""
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    calls: list[dict[str, Any]] = messages[-1].setdefault("tool_calls", [])
    return calls


def _message(item: Mapping[str, Any], path: str) -> dict[str, Any]:
    if "role" not in item:
        raise missing(f"{path}.role")
    role, content = item["role"], item.get("content")
    if role not in ROLES:
        raise invalid_value(f"{path}.role", role, ROLES)
    return {"role": role, "content": content if isinstance(content, str) else _parts(content, f"{path}.content")}


def _parts(content: Any, path: str) -> list[dict[str, Any]]:
    if not isinstance(content, list):
        raise wrong_type(path, "a string or an array of content parts", content)
    return [_part(part, f"{path}[{index}]") for index, part in enumerate(content)]


def _part(part: Any, path: str) -> dict[str, Any]:
    if not isinstance(part, dict):
        raise wrong_type(path, "an object", part)
    match part.get("type"):
        case "input_text" | "output_text":
            return {"type": "text", "text": part.get("text")}
        case "refusal":
            return {"type": "refusal", "refusal": part.get("refusal")}
        case "input_image" if isinstance(part.get("image_url"), str):
            return {
                "type": "image_url",
                "image_url": {"url": part["image_url"], "detail": part.get("detail") or "auto"},
            }
        case _:
            raise _unsupported(f"{path}.type")


def _text_of(item: Mapping[str, Any], name: str, path: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise missing(f"{path}.{name}") if value is None else wrong_type(f"{path}.{name}", "a string", value)
    return value
