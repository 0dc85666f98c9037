"""What a call of `POST /v1/chat/completions` asks for, checked as the provider checks it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from config.simulator import answers, errors, limiter, usage
from config.simulator.models import Endpoint, Model
from config.simulator.words import listed

METADATA_PAIRS, METADATA_NAME, METADATA_VALUE = 16, 64, 512
# Efforts that some model takes; another word is an invalid value, one of these on the wrong model an unsupported one.
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
ROLES = ("system", "assistant", "user", "function", "tool", "developer")
ONLY_ONE = " Only the default (1) value is supported."
CAPS = ("max_tokens", "max_completion_tokens")

Body = Mapping[str, Any]
Check = Callable[[Body, Model], errors.ApiError | None]


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """A checked request. `texts` is all that is counted as prompt, `characters` what the limiter's estimate sees."""

    model: Model
    body: Body
    texts: tuple[str, ...]
    characters: int
    messages: int
    images: int
    cap: int | None
    choices: int
    stream: bool
    include_usage: bool
    store: bool
    metadata: Mapping[str, str]
    service_tier: str

    @property
    def prompt(self) -> str:
        return "\n".join(self.texts)

    @property
    def tokens_at_admission(self) -> int:
        return limiter.tokens_at_admission(self.characters, self.cap)

    def question(self, seed: int, index: int = 0) -> answers.Question:
        return answers.Question(
            seed=seed,
            model=self.model.id,
            messages=answers.canonical(self.body["messages"]),
            reasoning=self.model.reasoning,
            effort=self.body.get("reasoning_effort"),
            form=self.body.get("response_format"),
            index=index,
        )


def parse_body(raw: bytes) -> dict[str, Any]:
    """The request as a JSON object. Raises ApiError."""
    try:
        body = json.loads(raw)
    except ValueError:  # bytes that are no UTF-8 included
        raise errors.invalid_json() from None
    if not isinstance(body, dict):
        raise errors.invalid_json()
    return body


def find_model(body: Body, models: Mapping[str, Model], endpoint: Endpoint = "chat") -> Model:
    """The model of a call. Raises ApiError: none named, unknown or out of reach, not served on this endpoint."""
    name = body.get("model")
    if not name:
        raise errors.missing_model()
    if not isinstance(name, str):
        raise errors.wrong_type("model", "a string", name)
    if name not in models:
        raise errors.model_not_found(name)
    if endpoint not in models[name].endpoints:
        raise errors.responses_only() if endpoint == "chat" else errors.chat_only(name)
    return models[name]


def check(body: Body, model: Model) -> CompletionRequest:
    """The request, when every check of the provider passes. Raises the ApiError of the first that does not."""
    for passes in CHECKS:
        if (error := passes(body, model)) is not None:
            raise error
    contents = [part for message in body["messages"] for part in _parts(message)]
    texts = [part["text"] for part in contents if isinstance(part.get("text"), str)]
    extras = [json.dumps(body[name]) for name in ("tools", "functions", "response_format") if body.get(name)]
    return CompletionRequest(
        model=model,
        body=body,
        texts=(*texts, *extras),
        characters=sum(map(len, texts)) + sum(map(len, extras)),
        messages=len(body["messages"]),
        images=sum(part.get("type") == "image_url" for part in contents),
        cap=_cap(body),
        choices=body.get("n") or 1,
        stream=bool(body.get("stream")),
        include_usage=bool(_object(body, "stream_options").get("include_usage")),
        store=bool(body.get("store")),
        metadata=body.get("metadata") or {},
        service_tier=_service_tier(body),
    )


async def count_prompt(request: CompletionRequest) -> int:
    """Prompt tokens of the request. Raises ApiError when they do not fit the model's context window."""
    tokens = await usage.count_prompt_tokens(request.texts, messages=request.messages, images=request.images)
    model, cap = request.model, request.cap or 0
    if model.max_input is not None and tokens > model.max_input:
        raise errors.input_too_long(model.max_input, tokens)
    if tokens > model.context:
        raise errors.prompt_too_long(model.context, tokens)
    if tokens + cap > model.context:
        raise errors.prompt_and_cap_too_long(model.context, tokens, cap)
    return tokens


def _cap(body: Body) -> int | None:
    given = [body[name] for name in CAPS if body.get(name) is not None]
    return given[-1] if given else None


def _object(body: Body, name: str) -> Mapping[str, Any]:
    value = body.get(name)
    return value if isinstance(value, dict) else {}


def _service_tier(body: Body) -> str:
    tier = body.get("service_tier")
    return "default" if tier in (None, "auto") else str(tier)


def _parts(message: Body) -> list[Mapping[str, Any]]:
    """A message's content as a list of parts, whichever way it was written."""
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [part for part in content or [] if isinstance(part, dict)]


# --- The checks, in the order in which they are made ------------------------------------------------------------------
def _messages_form(body: Body, model: Model) -> errors.ApiError | None:
    messages = body.get("messages")
    if messages is None:
        return errors.missing_parameter("messages")
    if not isinstance(messages, list):
        return errors.wrong_type("messages", "an array of objects", messages)
    if not messages:
        return errors.empty_messages()
    for place, message in enumerate(messages):
        if not isinstance(message, dict):
            return errors.wrong_type(f"messages[{place}]", "an object", message)
        if not message.get("role"):
            return errors.missing_parameter(f"messages[{place}].role")
        if message["role"] not in ROLES:
            return errors.invalid_value(f"messages[{place}].role", message["role"], ROLES)
        if message["role"] in ("user", "system", "developer") and not isinstance(message.get("content"), str | list):
            return errors.wrong_type(
                f"messages[{place}].content", "one of a string or array of objects", message.get("content")
            )
    return None


def _roles(body: Body, model: Model) -> errors.ApiError | None:
    for place, message in enumerate(body["messages"]):
        if message["role"] in model.refuses:
            return errors.unsupported_value(f"messages[{place}].role", f"'{message['role']}'", "")
    return None


def _images(body: Body, model: Model) -> errors.ApiError | None:
    if "image" not in model.refuses:
        return None
    for place, message in enumerate(body["messages"]):
        for number, part in enumerate(_parts(message)):
            if part.get("type") == "image_url":
                return errors.image_not_supported(place, number)
    return None


def _caps(body: Body, model: Model) -> errors.ApiError | None:
    if model.reasoning and body.get("max_tokens") is not None:
        return errors.unsupported_parameter("max_tokens", instead="max_completion_tokens")
    for name in CAPS:
        cap = body.get(name)
        if cap is None:
            continue
        if not isinstance(cap, int) or isinstance(cap, bool):
            return errors.wrong_type(name, "an integer", cap)
        if cap < 1:
            return errors.below_minimum(name, 1, cap)
        if cap > model.max_output:
            return errors.cap_too_large(name, cap, model.max_output)
        if cap <= model.tiny_cap:
            return errors.cap_too_small()
    return None


def _tools(body: Body, model: Model) -> errors.ApiError | None:
    for name in ("tools", "functions"):
        if body.get(name) and "tools" in model.refuses:
            return errors.tools_not_supported(name)
    return None


def _response_format(body: Body, model: Model) -> errors.ApiError | None:
    form = body.get("response_format")
    if form is None:
        return None
    if not isinstance(form, dict):
        return errors.wrong_type("response_format", "an object", form)
    kinds = ("json_object", "json_schema", "text")
    if form.get("type") not in kinds:
        return errors.invalid_value("response_format.type", form.get("type"), kinds)
    if form["type"] != "text" and "response_format" in model.refuses:
        return errors.response_format_not_supported(form["type"])
    return None


def _streaming(body: Body, model: Model) -> errors.ApiError | None:
    if not body.get("stream"):
        return None
    match model.streaming:
        case "default_false":
            return errors.unsupported_value("stream", "true", " Only the default (false) value is supported.")
        case "supported_false":
            return errors.unsupported_value("stream", "true", " Supported values are: false.")
        case _:
            return None


def _sampling(body: Body, model: Model) -> errors.ApiError | None:
    """What reasoning models fix: temperature, top_p, penalties, log probabilities and the number of choices."""
    if not model.reasoning:
        return None
    temperature = body.get("temperature")
    if temperature not in (None, 1):
        if model.temperature == "parameter":
            return errors.unsupported_parameter("temperature")
        return errors.unsupported_value("temperature", json.dumps(temperature), ONLY_ONE)
    for name, default in (("top_p", 1), ("presence_penalty", 0), ("frequency_penalty", 0), ("logprobs", False)):
        if body.get(name) not in (None, default):
            return errors.unsupported_parameter(name)
    if body.get("top_logprobs") is not None:
        return errors.unsupported_parameter("top_logprobs")
    if body.get("n") not in (None, 1):  # the refusal is documented, its words are those of the other fixed values
        return errors.unsupported_value("n", json.dumps(body["n"]), ONLY_ONE)
    return None


def _choices(body: Body, model: Model) -> errors.ApiError | None:
    choices = body.get("n")
    if choices is None:
        return None
    if not isinstance(choices, int) or isinstance(choices, bool):
        return errors.wrong_type("n", "an integer", choices)
    return errors.below_minimum("n", 1, choices) if choices < 1 else None


def _refused_parameters(body: Body, model: Model) -> errors.ApiError | None:
    for name in ("parallel_tool_calls", "prediction", "stop"):
        if name in model.refuses and body.get(name) is not None:
            return errors.unsupported_parameter(name)
    return None


def _effort(body: Body, model: Model) -> errors.ApiError | None:
    effort = body.get("reasoning_effort")
    if effort is None:
        return None
    if not model.reasoning:
        return errors.unrecognized_argument("reasoning_effort")
    if not model.efforts:
        return errors.unsupported_parameter("reasoning_effort")
    if effort not in EFFORTS:
        return errors.invalid_value("reasoning_effort", effort, model.efforts)
    if effort not in model.efforts:
        supported = f" Supported values are: {listed(model.efforts)}."
        return errors.unsupported_value("reasoning_effort", f"'{effort}'", supported)
    return None


def _metadata(body: Body, model: Model) -> errors.ApiError | None:
    metadata = body.get("metadata")
    if metadata is None:
        return None
    if not isinstance(metadata, dict):
        return errors.wrong_type("metadata", "an object", metadata)
    if metadata and not body.get("store"):
        return errors.metadata_without_store()
    if len(metadata) > METADATA_PAIRS:
        return errors.too_many_properties("metadata", METADATA_PAIRS, len(metadata))
    for name, value in metadata.items():
        if len(name) > METADATA_NAME:
            return errors.string_too_long("metadata", METADATA_NAME, len(name))
        if not isinstance(value, str):
            return errors.wrong_type(f"metadata.{name}", "a string", value)
        if len(value) > METADATA_VALUE:
            return errors.string_too_long(f"metadata.{name}", METADATA_VALUE, len(value))
    return None


def _tier(body: Body, model: Model) -> errors.ApiError | None:
    return None if _service_tier(body) in model.prices else errors.service_tier_not_allowed()


CHECKS: tuple[Check, ...] = (
    _messages_form,
    _caps,
    _roles,
    _images,
    _tools,
    _response_format,
    _streaming,
    _sampling,
    _choices,
    _refused_parameters,
    _effort,
    _metadata,
    _tier,
)
