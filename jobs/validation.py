"""What a request may hold: checked against the catalogue before it costs anything, and refused as the provider would.

Texts are the provider's own where its refusal was recorded in public (issues and threads of 2024 to 2026), and name the
field, the limit and the way out where none was. What the rules need of a model stands in its row, never here; nothing
here reads the database.

Two rules are the same for every model. A parameter of null is one that was not sent. And a default that is sent
explicitly passes, also where the model takes no other value of it.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from accounts.errors import DomainError
from accounts.models import UsageTier
from accounts.tiers import Standing, missing_for
from jobs.catalogue import CatalogueEntry
from jobs.models import LanguageModel
from jobs.models.catalogue import Endpoint

FUNCTION_CALLING_PAGE = "https://platform.openai.com/docs/guides/function-calling#models-supporting-function-calling"
STRUCTURED_OUTPUTS_PAGE = "https://platform.openai.com/docs/guides/structured-outputs"
DEPRECATIONS_PAGE = "https://platform.openai.com/docs/deprecations"


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """What goes to the provider: `parameters` holds every parameter besides model and messages, as sent."""

    model: str
    messages: list[dict[str, Any]]
    parameters: dict[str, Any]

    @property
    def cap(self) -> int | None:
        """The most completion tokens that the caller wants, reasoning included; None where no cap was sent."""
        cap: int | None = self.parameters.get("max_completion_tokens")
        return self.parameters.get("max_tokens") if cap is None else cap


class RequestRejected(DomainError):
    """The request cannot be run as it is.

    `status` is the HTTP status of the provider's refusal; `provider_code` its code, which is None for some refusals.
    `code` is the same, or "invalid_request" where the provider has none, so that it always says something.
    """

    code = "invalid_request"
    type = "invalid_request_error"

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None, status: int = 400):
        super().__init__(message, code=code, param=param)
        self.provider_code = code
        self.status = status

    def body(self) -> dict[str, str | None]:
        """The provider's error object, as its clients expect it."""
        return {"message": self.message, "type": self.type, "param": self.param, "code": self.provider_code}


def validate(
    request: PromptRequest,
    entry: CatalogueEntry | None,
    *,
    standing: Standing,
    tiers: Mapping[int, UsageTier],
    day: date,
    serves_shut_down_models: bool,
) -> None:
    """All that needs no count of tokens; raises RequestRejected at the first fault. `tiers`: those of `day`, by number.

    An entry of None is a model that the catalogue does not know. `service_tier` is the caller's: its price decides.
    """
    entry = _check_model(request.model, entry)
    if not serves_shut_down_models:
        _check_not_shut_down(entry, day)
    _check_tier(entry, standing, tiers)
    _check_endpoint(entry.model)
    _check_messages(request.messages, entry.model)
    _check_parameters(request.parameters, entry)


def validate_size(request: PromptRequest, entry: CatalogueEntry, *, prompt_tokens: int) -> None:
    """Refuse a prompt that the context window does not hold, alone or together with the cap on its completion."""
    window, cap = entry.model.context_window, request.cap
    if prompt_tokens > window:
        raise RequestRejected(
            f"This model's maximum context length is {window} tokens. However, your messages resulted in "
            f"{prompt_tokens} tokens. Please reduce the length of the messages.",
            code="context_length_exceeded",
            param="messages",
        )
    if cap is not None and prompt_tokens + cap > window:
        raise RequestRejected(
            f"This model's maximum context length is {window} tokens. However, you requested {prompt_tokens + cap} "
            f"tokens ({prompt_tokens} in the messages, {cap} in the completion). Please reduce the length of the "
            "messages or completion.",
            code="context_length_exceeded",
            param="messages",
        )


# --- The model --------------------------------------------------------------------------------------------------------
def _check_model(name: str, entry: CatalogueEntry | None) -> CatalogueEntry:
    if entry is None:
        raise RequestRejected(
            f"The model `{name}` does not exist or you do not have access to it.", code="model_not_found", status=404
        )
    return entry


def _check_not_shut_down(entry: CatalogueEntry, day: date) -> None:
    if not entry.is_shut_down_on(day):
        return
    successor = entry.model.successor
    advice = f"use {successor} instead" if successor else "the provider names no replacement"
    raise RequestRejected(
        f"The model `{entry.name}` has been deprecated, learn more here: {DEPRECATIONS_PAGE}. "
        f"It was shut down on {entry.shutdown_on}; {advice}.",
        code="model_not_found",
        status=404,
    )


def _check_tier(entry: CatalogueEntry, standing: Standing, tiers: Mapping[int, UsageTier]) -> None:
    number = entry.model.minimum_tier
    if standing.tier.number >= number:
        return
    needed = tiers.get(number)
    name, missing = (needed.name, f" Missing: {missing_for(needed, standing)}.") if needed else (f"tier {number}", "")
    raise RequestRejected(
        f"The model `{entry.name}` needs {name}, and this organization is at {standing.tier.name}.{missing}",
        code="tier_too_low",
        param="model",
        status=403,
    )


def _check_endpoint(model: LanguageModel) -> None:
    if Endpoint.CHAT not in model.endpoints:
        raise RequestRejected(
            "This model is only supported in v1/responses and not in v1/chat/completions.", param="model", status=404
        )


# --- Messages ---------------------------------------------------------------------------------------------------------
ROLES = ("developer", "system", "user", "assistant", "tool", "function")
# Content parts of the provider that are no text. Only pictures are taken, by the models that see.
OTHER_PARTS = ("image_url", "input_audio", "file")


def _check_messages(messages: Any, model: LanguageModel) -> None:
    if not isinstance(messages, list):
        raise _wrong_type("messages", "an array of objects", messages)
    if not messages:
        raise RequestRejected(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            code="empty_array",
            param="messages",
        )
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        if not isinstance(message, dict):
            raise _wrong_type(path, "an object", message)
        _check_role(message, path, model)
        _check_content(message, index, model)
        _check_storable(path, message)


def _check_role(message: Mapping[str, Any], path: str, model: LanguageModel) -> None:
    if "role" not in message:
        raise _missing(f"{path}.role")
    role = message["role"]
    if not isinstance(role, str):
        raise _wrong_type(f"{path}.role", "a string", role)
    if role not in ROLES:
        raise _invalid_value(f"{path}.role", role, model.roles)
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
            raise _missing(path)
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise _wrong_type(path, "a string or an array of content parts", content)
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
        raise _wrong_type(path, "an object", part)
    if "type" not in part:
        raise _missing(f"{path}.type")
    kind = part["type"]
    if not isinstance(kind, str):
        raise _wrong_type(f"{path}.type", "a string", kind)
    if kind in ("text", "refusal"):
        _check_member(part, kind, f"{path}.{kind}", str, "a string")
    elif kind == "image_url" and model.accepts_images:
        _check_member(part, "image_url", f"{path}.image_url", dict, "an object")
        _check_member(part["image_url"], "url", f"{path}.image_url.url", str, "a string")
    elif kind in OTHER_PARTS:
        raise RequestRejected(
            f"Invalid content type. {kind} is only supported by certain models.",
            param=f"messages.[{index}].content.[{number}].type",
        )
    else:
        raise _invalid_value(f"{path}.type", kind, ("text", "image_url") if model.accepts_images else ("text",))


def _check_member(holder: Mapping[str, Any], name: str, path: str, kind: type, expected: str) -> None:
    if name not in holder:
        raise _missing(path)
    if not isinstance(holder[name], kind):
        raise _wrong_type(path, expected, holder[name])


# --- Parameters: what each must be ------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Kind:
    """What values a parameter may have at all, whichever the model. `expected` completes "expected ..., but got"."""

    expected: str
    types: tuple[type, ...]
    least: int | None = None
    most: int | None = None
    choices: tuple[str, ...] = ()


def _number(least: int | None = None, most: int | None = None) -> Kind:
    return Kind("a decimal", (int, float), least, most)


def _integer(least: int | None = None, most: int | None = None) -> Kind:
    return Kind("an integer", (int,), least, most)


STRING, BOOLEAN, OBJECT = Kind("a string", (str,)), Kind("a boolean", (bool,)), Kind("an object", (dict,))
ARRAY, NAME_OR_OBJECT = Kind("an array", (list,)), Kind("a string or an object", (str, dict))

# Every parameter of the provider's chat completions besides model and messages (openai-python 3.54).
KINDS: Mapping[str, Kind] = {
    "audio": OBJECT,
    "frequency_penalty": _number(-2, 2),
    "function_call": NAME_OR_OBJECT,
    "functions": ARRAY,
    "logit_bias": OBJECT,
    "logprobs": BOOLEAN,
    "max_completion_tokens": _integer(1),
    "max_tokens": _integer(1),
    "metadata": OBJECT,
    "modalities": ARRAY,
    "moderation": OBJECT,
    "n": _integer(1, 128),
    "parallel_tool_calls": BOOLEAN,
    "prediction": OBJECT,
    "presence_penalty": _number(-2, 2),
    "prompt_cache_key": STRING,
    "prompt_cache_options": OBJECT,
    "prompt_cache_retention": Kind("a string", (str,), choices=("in_memory", "24h")),
    "reasoning_effort": STRING,
    "response_format": OBJECT,
    "safety_identifier": STRING,
    "seed": _integer(),
    "service_tier": STRING,
    "stop": Kind("a string or an array of strings", (str, list)),
    "store": BOOLEAN,
    "stream": BOOLEAN,
    "stream_options": OBJECT,
    "temperature": _number(0, 2),
    "tool_choice": NAME_OR_OBJECT,
    "tools": ARRAY,
    "top_logprobs": _integer(0, 20),
    "top_p": _number(0, 1),
    "user": STRING,
    "verbosity": Kind("a string", (str,), choices=("low", "medium", "high")),
    "web_search_options": OBJECT,
}
# The provider's defaults. Sending one explicitly is the same as not sending it.
DEFAULTS: Mapping[str, Any] = {
    "frequency_penalty": 0,
    "logprobs": False,
    "modalities": ["text"],
    "n": 1,
    "presence_penalty": 0,
    "response_format": {"type": "text"},
    "store": False,
    "stream": False,
    "temperature": 1,
    "top_p": 1,
}
# What JSON can say and PostgreSQL's jsonb cannot.
NOT_TEXT = re.compile("[\x00\ud800-\udfff]")
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
FORMATS = ("text", "json_object", "json_schema")


def _check_parameters(sent: Mapping[str, Any], entry: CatalogueEntry) -> None:
    unknown = [name for name in sent if name not in KINDS]
    if unknown:
        arguments = "argument" if len(unknown) == 1 else "arguments"
        raise RequestRejected(f"Unrecognized request {arguments} supplied: {', '.join(unknown)}")
    parameters = {name: value for name, value in sent.items() if value is not None and name != "service_tier"}
    for name, value in parameters.items():
        _check_kind(name, value, KINDS[name])
        _check_storable(name, value)
    for name, value in parameters.items():
        if name not in DEFAULTS or value != DEFAULTS[name]:
            RULES.get(name, _check_taken)(name, value, parameters, entry)


def _check_kind(name: str, value: Any, kind: Kind) -> None:
    # A bool is an int in Python and none in JSON, so the type must be the very one.
    if type(value) not in kind.types:
        raise _wrong_type(name, kind.expected, value)
    if kind.least is not None and value < kind.least:
        raise _out_of_range(name, value, kind, f">= {kind.least}", "below minimum value", "below_min_value")
    if kind.most is not None and value > kind.most:
        raise _out_of_range(name, value, kind, f"<= {kind.most}", "above maximum value", "above_max_value")
    if kind.choices and value not in kind.choices:
        raise _invalid_value(name, value, kind.choices)


def _check_storable(path: str, value: Any) -> None:
    if any(NOT_TEXT.search(text) for text in _texts(value)):
        raise RequestRejected(
            f"Invalid '{path}': it holds U+0000 or half of a surrogate pair, which is no text. Remove that character.",
            code="invalid_value",
            param=path,
        )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, member in value.items():
            yield key
            yield from _texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member)


# --- Parameters: what the model takes ---------------------------------------------------------------------------------
Rule = Callable[[str, Any, Mapping[str, Any], CatalogueEntry], None]

# What shapes the sampling of a model that does not reason; it is refused while a model reasons.
SAMPLING = frozenset({"temperature", "top_p", "logprobs", "top_logprobs"})
# Where a model has these fixed, the provider refuses the parameter and not the value.
REFUSED_AS_PARAMETER = frozenset({"top_p", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs"})


def _check_taken(name: str, value: Any, parameters: Mapping[str, Any], entry: CatalogueEntry) -> None:
    model = entry.model
    if _is_free(name, parameters, model) or (name in model.fixed_parameters and value == model.fixed_parameters[name]):
        return
    if name not in model.fixed_parameters or name in REFUSED_AS_PARAMETER:
        raise _unsupported_parameter(name)
    raise RequestRejected(
        f"Unsupported value: '{name}' does not support {json.dumps(value)} with this model. "
        f"Only the default ({json.dumps(model.fixed_parameters[name])}) value is supported.",
        code="unsupported_value",
        param=name,
    )


def _is_free(name: str, parameters: Mapping[str, Any], model: LanguageModel) -> bool:
    """Whether any value may be sent. Sampling is free while the model does not reason, which its effort decides."""
    effort = parameters.get("reasoning_effort")
    if name in SAMPLING and model.is_reasoning and effort is not None:
        return effort == "none" and "none" in model.reasoning_efforts
    return name in model.parameters


def _check_old_cap(name: str, value: Any, parameters: Mapping[str, Any], entry: CatalogueEntry) -> None:
    if name not in entry.model.parameters:
        raise RequestRejected(
            f"Unsupported parameter: '{name}' is not supported with this model. Use 'max_completion_tokens' instead.",
            code="unsupported_parameter",
            param=name,
        )
    if "max_completion_tokens" in parameters:
        raise RequestRejected(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported. Send "
            "'max_completion_tokens' alone.",
            code="invalid_parameter_combination",
            param=name,
        )
    _check_cap(name, value, parameters, entry)


def _check_cap(name: str, value: Any, parameters: Mapping[str, Any], entry: CatalogueEntry) -> None:
    _check_taken(name, value, parameters, entry)
    if value > entry.max_output_tokens:
        raise RequestRejected(
            f"max_tokens is too large: {value}. This model supports at most {entry.max_output_tokens} completion "
            f"tokens, whereas you provided {value}.",
            code="invalid_value",
            param=name,
        )


def _check_stream(name: str, value: Any, parameters: Mapping[str, Any], entry: CatalogueEntry) -> None:
    if name in entry.model.fixed_parameters:
        _check_taken(name, value, parameters, entry)
    raise RequestRejected(
        "A job does not stream: its answer is fetched when it is finished. Leave 'stream' and 'stream_options' out.",
        code="unsupported_value",
        param=name,
    )


def _check_tools(name: str, value: Any, parameters: Mapping[str, Any], entry: CatalogueEntry) -> None:
    if not entry.model.accepts_tools:
        raise RequestRejected(
            f"{name} is not supported in this model. For a list of supported models, refer to {FUNCTION_CALLING_PAGE}.",
            status=404,
        )
    _check_taken(name, value, parameters, entry)


def _check_response_format(name: str, value: Any, parameters: Mapping[str, Any], entry: CatalogueEntry) -> None:
    _check_member(value, "type", "response_format.type", str, "a string")
    kind = value["type"]
    if kind not in FORMATS:
        raise _invalid_value("response_format.type", kind, FORMATS)
    if kind not in entry.model.response_formats:
        raise RequestRejected(
            f"Invalid parameter: 'response_format' of type '{kind}' is not supported with this model. Learn more about "
            f"supported models at the Structured Outputs guide: {STRUCTURED_OUTPUTS_PAGE}",
            param=name,
        )
    if kind == "json_schema":
        _check_member(value, "json_schema", "response_format.json_schema", dict, "an object")


def _check_effort(name: str, value: Any, parameters: Mapping[str, Any], entry: CatalogueEntry) -> None:
    model = entry.model
    if not model.is_reasoning:
        raise RequestRejected(f"Unrecognized request argument supplied: {name}")
    if not model.reasoning_efforts:
        raise _unsupported_parameter(name)
    if value not in EFFORTS:
        raise _invalid_value(name, value, model.reasoning_efforts)
    if value not in model.reasoning_efforts:
        raise RequestRejected(
            f"Unsupported value: '{name}' does not support '{value}' with this model. "
            f"Supported values are: {_listed(model.reasoning_efforts)}.",
            code="unsupported_value",
            param=name,
        )


def _check_top_logprobs(name: str, value: Any, parameters: Mapping[str, Any], entry: CatalogueEntry) -> None:
    _check_taken(name, value, parameters, entry)
    if parameters.get("logprobs") is not True:
        raise RequestRejected(
            "'top_logprobs' is only taken when 'logprobs' is true. Send 'logprobs': true beside it.",
            code="invalid_parameter_combination",
            param=name,
        )


def _check_metadata(name: str, value: Any, parameters: Mapping[str, Any], entry: CatalogueEntry) -> None:
    """At most 16 pairs, of keys up to 64 and values up to 512 characters (API reference of stored completions)."""
    _check_taken(name, value, parameters, entry)
    if len(value) > 16:
        raise RequestRejected(
            f"Invalid '{name}': too many properties. Expected an object with at most 16 properties, "
            f"but got an object with {len(value)} properties instead.",
            code="object_above_max_properties",
            param=name,
        )
    for key, text in value.items():
        path = f"{name}.{key[:64]}"
        if len(key) > 64:
            raise _too_long(path, 64, len(key))
        if not isinstance(text, str):
            raise _wrong_type(path, "a string", text)
        if len(text) > 512:
            raise _too_long(path, 512, len(text))


def _check_stop(name: str, value: Any, parameters: Mapping[str, Any], entry: CatalogueEntry) -> None:
    _check_taken(name, value, parameters, entry)
    if isinstance(value, str):
        return
    if len(value) > 4:
        raise RequestRejected(
            f"Invalid '{name}': array too long. Expected an array with maximum length 4, "
            f"but got an array with length {len(value)} instead.",
            code="array_above_max_length",
            param=name,
        )
    for index, text in enumerate(value):
        if not isinstance(text, str):
            raise _wrong_type(f"{name}[{index}]", "a string", text)


def _check_logit_bias(name: str, value: Any, parameters: Mapping[str, Any], entry: CatalogueEntry) -> None:
    _check_taken(name, value, parameters, entry)
    for token, bias in value.items():
        _check_kind(f"{name}.{token}", bias, _number(-100, 100))


RULES: Mapping[str, Rule] = {
    "function_call": _check_tools,
    "functions": _check_tools,
    "logit_bias": _check_logit_bias,
    "max_completion_tokens": _check_cap,
    "max_tokens": _check_old_cap,
    "metadata": _check_metadata,
    "reasoning_effort": _check_effort,
    "response_format": _check_response_format,
    "stop": _check_stop,
    "stream": _check_stream,
    "stream_options": _check_stream,
    "tool_choice": _check_tools,
    "tools": _check_tools,
    "top_logprobs": _check_top_logprobs,
}


# --- Refusals that several rules share --------------------------------------------------------------------------------
def _missing(path: str) -> RequestRejected:
    return RequestRejected(f"Missing required parameter: '{path}'.", code="missing_required_parameter", param=path)


def _wrong_type(path: str, expected: str, value: Any) -> RequestRejected:
    return RequestRejected(
        f"Invalid type for '{path}': expected {expected}, but got {_json_kind(value)} instead.",
        code="invalid_type",
        param=path,
    )


def _invalid_value(path: str, value: Any, supported: Sequence[str]) -> RequestRejected:
    return RequestRejected(
        f"Invalid value: '{value}'. Supported values are: {_listed(supported)}.", code="invalid_value", param=path
    )


def _unsupported_parameter(name: str) -> RequestRejected:
    return RequestRejected(
        f"Unsupported parameter: '{name}' is not supported with this model.", code="unsupported_parameter", param=name
    )


def _out_of_range(name: str, value: Any, kind: Kind, allowed: str, fault: str, code: str) -> RequestRejected:
    noun = kind.expected.split()[-1]
    return RequestRejected(
        f"Invalid '{name}': {noun} {fault}. Expected a value {allowed}, but got {json.dumps(value)} instead.",
        code=f"{noun}_{code}",
        param=name,
    )


def _too_long(path: str, most: int, length: int) -> RequestRejected:
    return RequestRejected(
        f"Invalid '{path}': string too long. Expected a string with maximum length {most}, "
        f"but got a string with length {length} instead.",
        code="string_above_max_length",
        param=path,
    )


def _listed(values: Collection[str]) -> str:
    """'low', 'medium' and 'high': as the provider lists values."""
    *others, last = (f"'{value}'" for value in values)
    return f"{', '.join(others)} and {last}" if others else last


def _json_kind(value: Any) -> str:
    """How the provider calls what it got."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    names = {int: "an integer", float: "a decimal", str: "a string", list: "an array", dict: "an object"}
    return names.get(type(value), f"a {type(value).__name__}")
