"""Every other parameter: what it may be at all, and what of it the model takes."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.catalogue import CatalogueEntry
from jobs.models import LanguageModel
from jobs.validation.refusals import (
    RequestRejected,
    invalid_value,
    listed,
    too_long,
    unsupported_parameter,
    wrong_type,
)
from jobs.validation.shapes import check_member, check_storable

FUNCTION_CALLING_PAGE = "https://platform.openai.com/docs/guides/function-calling#models-supporting-function-calling"
STRUCTURED_OUTPUTS_PAGE = "https://platform.openai.com/docs/guides/structured-outputs"


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
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
FORMATS = ("text", "json_object", "json_schema")


def check_parameters(sent: Mapping[str, Any], entry: CatalogueEntry) -> None:
    unknown = [name for name in sent if name not in KINDS]
    if unknown:
        arguments = "argument" if len(unknown) == 1 else "arguments"
        raise RequestRejected(f"Unrecognized request {arguments} supplied: {', '.join(unknown)}")
    parameters = {name: value for name, value in sent.items() if value is not None and name != "service_tier"}
    for name, value in parameters.items():
        _check_kind(name, value, KINDS[name])
        check_storable(name, value)
    for name, value in parameters.items():
        if name not in DEFAULTS or value != DEFAULTS[name]:
            RULES.get(name, _check_taken)(name, value, parameters, entry)


def _check_kind(name: str, value: Any, kind: Kind) -> None:
    # A bool is an int in Python and none in JSON, so the type must be the very one.
    if type(value) not in kind.types:
        raise wrong_type(name, kind.expected, value)
    if kind.least is not None and value < kind.least:
        raise _out_of_range(name, value, kind, f">= {kind.least}", "below minimum value", "below_min_value")
    if kind.most is not None and value > kind.most:
        raise _out_of_range(name, value, kind, f"<= {kind.most}", "above maximum value", "above_max_value")
    if kind.choices and value not in kind.choices:
        raise invalid_value(name, value, kind.choices)


def _out_of_range(name: str, value: Any, kind: Kind, allowed: str, fault: str, code: str) -> RequestRejected:
    noun = kind.expected.split()[-1]
    return RequestRejected(
        f"Invalid '{name}': {noun} {fault}. Expected a value {allowed}, but got {json.dumps(value)} instead.",
        code=f"{noun}_{code}",
        param=name,
    )


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
        raise unsupported_parameter(name)
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
    check_member(value, "type", "response_format.type", str, "a string")
    kind = value["type"]
    if kind not in FORMATS:
        raise invalid_value("response_format.type", kind, FORMATS)
    if kind not in entry.model.response_formats:
        raise RequestRejected(
            f"Invalid parameter: 'response_format' of type '{kind}' is not supported with this model. Learn more about "
            f"supported models at the Structured Outputs guide: {STRUCTURED_OUTPUTS_PAGE}",
            param=name,
        )
    if kind == "json_schema":
        check_member(value, "json_schema", "response_format.json_schema", dict, "an object")


def _check_effort(name: str, value: Any, parameters: Mapping[str, Any], entry: CatalogueEntry) -> None:
    model = entry.model
    if not model.is_reasoning:
        raise RequestRejected(f"Unrecognized request argument supplied: {name}")
    if not model.reasoning_efforts:
        raise unsupported_parameter(name)
    if value not in EFFORTS:
        raise invalid_value(name, value, model.reasoning_efforts)
    if value not in model.reasoning_efforts:
        raise RequestRejected(
            f"Unsupported value: '{name}' does not support '{value}' with this model. "
            f"Supported values are: {listed(model.reasoning_efforts)}.",
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
            raise too_long(path, 64, len(key))
        if not isinstance(text, str):
            raise wrong_type(path, "a string", text)
        if len(text) > 512:
            raise too_long(path, 512, len(text))


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
            raise wrong_type(f"{name}[{index}]", "a string", text)


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
