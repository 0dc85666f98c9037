"""What a request may hold, model by model: the provider's refusal before the provider is asked.

The expected texts were recorded in public issues and threads; a row per rule and model.
"""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from accounts.tiers import Standing, tiers_on
from jobs import catalogue
from jobs.models import LanguageModel
from jobs.models.catalogue import Endpoint
from jobs.validation import PromptRequest, RequestRejected, validate, validate_size
from jobs.validation.parameters import DEFAULTS, KINDS

pytestmark = pytest.mark.django_db

SEPTEMBER_2024 = date(2024, 9, 30)
NOVEMBER_2026 = date(2026, 11, 22)
MATRIX = (
    "Write a Python script that takes a matrix represented as a string with format '[1,2],[3,4],[5,6]' and prints the "
    "transpose in the same format."
)
BRIEF = MATRIX + " Limit yourself to the answer and don't add explanations or introductions."
HELLO = [{"role": "user", "content": "Say hello."}]
TOOL = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}
IMAGE = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
        ],
    }
]
FUNCTION_CALLING = (
    "is not supported in this model. For a list of supported models, refer to "
    "https://platform.openai.com/docs/guides/function-calling#models-supporting-function-calling."
)
STRUCTURED_OUTPUTS = (
    "is not supported with this model. Learn more about supported models at the Structured Outputs guide: "
    "https://platform.openai.com/docs/guides/structured-outputs"
)
ONLY_THE_DEFAULT = "with this model. Only the default"


def standing_at(tier: int, *, paid_usd: str = "0", days: int | None = None, day: date = SEPTEMBER_2024) -> Standing:
    return Standing(tiers_on(day)[tier], False, Decimal(paid_usd), days)


def check(
    model: str,
    messages: Any = HELLO,
    *,
    day: date = SEPTEMBER_2024,
    stands: Standing | None = None,
    serves_shut_down_models: bool = False,
    **parameters: Any,
) -> None:
    validate(
        PromptRequest(model, messages, parameters),
        catalogue.find(model),
        standing=stands or standing_at(5, day=day),
        tiers=tiers_on(day),
        day=day,
        serves_shut_down_models=serves_shut_down_models,
    )


def refusal(model: str, messages: Any = HELLO, **how: Any) -> RequestRejected:
    with pytest.raises(RequestRejected) as caught:
        check(model, messages, **how)
    return caught.value


# --- What passes ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("model", "prompt", "parameters"),
    [
        ("o1-preview", MATRIX, {}),
        ("o1-preview", MATRIX, {"max_completion_tokens": 300}),
        ("o1-mini", MATRIX, {}),
        ("o1-mini", BRIEF, {}),
    ],
)
def test_the_four_golden_calls_pass(model: str, prompt: str, parameters: dict[str, Any]) -> None:
    check(model, [{"role": "user", "content": prompt}], **parameters)


def test_every_seeded_chat_model_and_snapshot_takes_a_minimal_request() -> None:
    models = LanguageModel.objects.filter(endpoints__contains=[Endpoint.CHAT]).prefetch_related("snapshots")
    names = [name for model in models for name in (model.name, *(s.name for s in model.snapshots.all()))]
    assert len(names) > 40
    for name in names:
        check(name, day=date(2024, 9, 12))
        check(name, day=NOVEMBER_2026, serves_shut_down_models=True, max_completion_tokens=25)


@pytest.mark.parametrize("model", ["o1-preview", "o1-mini", "o1", "o3-mini", "o3", "gpt-5", "gpt-5.6-sol", "gpt-4o"])
def test_defaults_sent_explicitly_pass(model: str) -> None:
    check(model, **DEFAULTS)
    check(model, temperature=1.0, top_p=1.0, presence_penalty=0.0, frequency_penalty=0.0)


@pytest.mark.parametrize("model", ["o1-mini", "gpt-4o"])
def test_null_is_as_good_as_not_sent(model: str) -> None:
    nothing: dict[str, Any] = dict.fromkeys(KINDS)
    check(model, **nothing)


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("o1-preview", {"logit_bias": {"50256": -100}, "stop": "END", "seed": 7, "user": "alice"}),
        ("o1-preview", {"store": True, "metadata": {"attempt": "1"}}),
        ("o1", {"tools": [TOOL], "tool_choice": "auto", "response_format": SCHEMA, "reasoning_effort": "high"}),
        ("o3-mini", {"tools": [TOOL], "reasoning_effort": "low", "response_format": {"type": "json_object"}}),
        ("gpt-5", {"reasoning_effort": "minimal", "verbosity": "low", "parallel_tool_calls": False}),
        ("gpt-4o", {"temperature": 0, "top_p": 0.5, "n": 128, "logprobs": True, "top_logprobs": 20, "stop": ["a"] * 4}),
        ("gpt-4o", {"max_tokens": 16_384, "presence_penalty": -2, "frequency_penalty": 2.0, "logit_bias": {"1": 100}}),
        ("gpt-4o", {"prediction": {"type": "content", "content": "x"}, "functions": [], "function_call": "none"}),
        # Sampling is free while a model does not reason: by default up to gpt-5.4, on request later.
        ("gpt-5.2", {"temperature": 0.2, "top_p": 0.5}),
        ("gpt-5.2", {"temperature": 0.2, "reasoning_effort": "none", "logprobs": True, "top_logprobs": 2}),
        ("gpt-5.6-sol", {"temperature": 0.2, "reasoning_effort": "none"}),
        ("o1-mini", {"service_tier": "whatever the price says"}),
    ],
)
def test_what_a_model_takes_passes(model: str, parameters: dict[str, Any]) -> None:
    check(model, **parameters)


@pytest.mark.parametrize(
    ("model", "messages"),
    [
        ("o1-preview", [*HELLO, {"role": "assistant", "content": "Hello."}, *HELLO]),
        ("o1-preview", [{"role": "user", "content": [{"type": "text", "text": "Say hello."}]}]),
        ("o1", [{"role": "developer", "content": "Be brief."}, *IMAGE]),
        ("gpt-4o", [{"role": "system", "content": "Be brief."}, *IMAGE]),
        (
            "o3-mini",
            [
                *HELLO,
                {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function"}]},
                {"role": "tool", "tool_call_id": "1", "content": "12:00"},
            ],
        ),
    ],
)
def test_messages_that_a_model_takes_pass(model: str, messages: list[dict[str, Any]]) -> None:
    check(model, messages)


# --- The model --------------------------------------------------------------------------------------------------------
def test_an_unknown_model_is_refused_as_the_provider_does() -> None:
    error = refusal("gpt-7")
    assert (error.status, error.code, error.param) == (404, "model_not_found", None)
    assert error.message == "The model `gpt-7` does not exist or you do not have access to it."


@pytest.mark.parametrize(
    ("model", "ending"),
    [
        ("o1-mini", "It was shut down on 2025-10-27; use gpt-5.6-terra instead."),
        ("o1-mini-2024-09-12", "It was shut down on 2025-10-27; use gpt-5.6-terra instead."),
        ("gpt-4o-2024-05-13", "It was shut down on 2026-10-23; use gpt-6-luna instead."),
    ],
)
def test_a_shut_down_model_is_refused_with_its_day_and_successor(model: str, ending: str) -> None:
    error = refusal(model, day=NOVEMBER_2026)
    assert (error.status, error.code, error.param) == (404, "model_not_found", None)
    assert error.message == (
        f"The model `{model}` has been deprecated, learn more here: "
        f"https://platform.openai.com/docs/deprecations. {ending}"
    )


def test_a_shut_down_model_without_a_named_successor_says_so() -> None:
    assert refusal("gpt-5.1", day=date(2027, 4, 1)).message.endswith(
        "It was shut down on 2027-04-01; the provider names no replacement."
    )


def test_a_shut_down_model_runs_until_its_day_and_where_the_endpoint_still_serves_it() -> None:
    check("o1-mini", day=date(2025, 10, 26))
    check("o1-mini", day=NOVEMBER_2026, serves_shut_down_models=True)
    check("gpt-4o", day=NOVEMBER_2026)


@pytest.mark.parametrize(
    ("tier", "paid_usd", "days", "ending"),
    [
        (0, "0", None, "Free. Missing: $1,000.00 more in payments and 30 days since the first payment."),
        (1, "50", 3, "Tier 1. Missing: $950.00 more in payments and 27 more days since the first payment."),
        (4, "1000", 20, "Tier 4. Missing: 10 more days since the first payment."),
    ],
)
def test_a_tier_that_is_too_low_is_told_what_is_missing(
    tier: int, paid_usd: str, days: int | None, ending: str
) -> None:
    error = refusal("o1-preview", stands=standing_at(tier, paid_usd=paid_usd, days=days))
    assert (error.status, error.code, error.param) == (403, "tier_too_low", "model")
    assert error.message == f"The model `o1-preview` needs Tier 5, and this organization is at {ending}"


def test_a_paid_tier_is_enough_for_other_models() -> None:
    check("gpt-4o", stands=standing_at(1))
    assert refusal("gpt-4o", stands=standing_at(0)).code == "tier_too_low"


@pytest.mark.parametrize("model", ["o1-pro", "o3-pro", "gpt-5-pro", "o1-pro-2025-03-19"])
def test_a_model_without_chat_completions_is_refused(model: str) -> None:
    error = refusal(model)
    assert (error.status, error.provider_code, error.param) == (404, None, "model")
    assert error.message == "This model is only supported in v1/responses and not in v1/chat/completions."


# --- Messages ---------------------------------------------------------------------------------------------------------
MISSING, TYPE, VALUE = "missing_required_parameter", "invalid_type", "invalid_value"


@pytest.mark.parametrize(
    ("messages", "code", "param", "message"),
    [
        ("Say hello.", TYPE, "messages", "expected an array of objects, but got a string instead."),
        (None, TYPE, "messages", "expected an array of objects, but got null instead."),
        ([{}] * 2049, "array_above_max_length", "messages", "but got an array with length 2049 instead."),
        (
            [],
            "empty_array",
            "messages",
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        ),
        (
            ["hello"],
            TYPE,
            "messages[0]",
            "Invalid type for 'messages[0]': expected an object, but got a string instead.",
        ),
        ([{"content": "x"}], MISSING, "messages[0].role", "Missing required parameter: 'messages[0].role'."),
        ([{"role": 1, "content": "x"}], TYPE, "messages[0].role", "expected a string, but got an integer instead."),
        (
            [{"role": "robot", "content": "x"}],
            VALUE,
            "messages[0].role",
            "Invalid value: 'robot'. Supported values are: 'user' and 'assistant'.",
        ),
        ([{"role": "user"}], MISSING, "messages[0].content", "Missing required parameter: 'messages[0].content'."),
        (
            [*HELLO, {"role": "assistant", "content": None}],
            TYPE,
            "messages[1].content",
            "expected a string or an array of content parts, but got null instead.",
        ),
        ([{"role": "user", "content": 5}], TYPE, "messages[0].content", "but got an integer instead."),
        ([{"role": "user", "content": []}], "empty_array", "messages[0].content", "but got an empty array instead."),
        ([{"role": "user", "content": ["x"]}], TYPE, "messages[0].content[0]", "but got a string instead."),
        ([{"role": "user", "content": [{"text": "x"}]}], MISSING, "messages[0].content[0].type", "content[0].type'."),
        ([{"role": "user", "content": [{"type": 1}]}], TYPE, "messages[0].content[0].type", "got an integer instead."),
        ([{"role": "user", "content": [{"type": "text"}]}], MISSING, "messages[0].content[0].text", "[0].text'."),
        (
            [{"role": "user", "content": [{"type": "text", "text": 1.5}]}],
            TYPE,
            "messages[0].content[0].text",
            "expected a string, but got a decimal instead.",
        ),
        (
            [{"role": "user", "content": [{"type": "smell"}]}],
            VALUE,
            "messages[0].content[0].type",
            "Invalid value: 'smell'. Supported values are: 'text'.",
        ),
        (
            [{"role": "user", "content": "a\0b"}],
            VALUE,
            "messages[0]",
            "'messages[0]': it holds U+0000 or half of a surrogate pair, which is no text. Remove that character.",
        ),
        ([{"role": "user", "content": "\ud83d"}], VALUE, "messages[0]", "Remove that character."),
    ],
)
def test_messages_of_the_wrong_shape_are_refused(messages: Any, code: str, param: str, message: str) -> None:
    error = refusal("o1-mini", messages)
    assert (error.status, error.type, error.code, error.param) == (400, "invalid_request_error", code, param)
    assert error.message.endswith(message)


@pytest.mark.parametrize("model", ["o1-preview", "o1-mini"])
@pytest.mark.parametrize("role", ["system", "developer", "tool", "function"])
def test_the_first_reasoning_models_take_no_other_roles(model: str, role: str) -> None:
    error = refusal(model, [*HELLO, {"role": role, "content": "x"}])
    assert (error.status, error.code, error.param) == (400, "unsupported_value", "messages[1].role")
    assert error.message == f"Unsupported value: 'messages[1].role' does not support '{role}' with this model."


@pytest.mark.parametrize("model", ["o1-preview", "o1-mini", "o3-mini"])
def test_pictures_are_refused_by_models_that_do_not_see(model: str) -> None:
    error = refusal(model, [*HELLO, *IMAGE])
    assert (error.status, error.provider_code, error.param) == (400, None, "messages.[1].content.[1].type")
    assert error.message == "Invalid content type. image_url is only supported by certain models."


@pytest.mark.parametrize("kind", ["input_audio", "file"])
def test_sound_and_files_are_refused(kind: str) -> None:
    error = refusal("gpt-4o", [{"role": "user", "content": [{"type": kind}]}])
    assert (error.provider_code, error.param) == (None, "messages.[0].content.[0].type")
    assert error.message == f"Invalid content type. {kind} is only supported by certain models."


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "image_url"}, "messages[0].content[0].image_url"),
        ({"type": "image_url", "image_url": "https://example.com/cat.png"}, "messages[0].content[0].image_url"),
        ({"type": "image_url", "image_url": {}}, "messages[0].content[0].image_url.url"),
        ({"type": "image_url", "image_url": {"url": 1}}, "messages[0].content[0].image_url.url"),
    ],
)
def test_a_picture_needs_its_address(part: dict[str, Any], param: str) -> None:
    assert refusal("gpt-4o", [{"role": "user", "content": [part]}]).param == param


# --- Parameters -------------------------------------------------------------------------------------------------------
OLD_CAP = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."


def unsupported(name: str) -> str:
    return f"Unsupported parameter: '{name}' is not supported with this model."


# (models, parameters, status, the provider's code, param, message)
REFUSALS: list[tuple[str, dict[str, Any], int, str | None, str | None, str]] = [
    *[
        (model, {"max_tokens": 300}, 400, "unsupported_parameter", "max_tokens", OLD_CAP)
        for model in ("o1-preview", "o1-mini", "o1", "o3-mini", "o3", "o4-mini", "gpt-5", "gpt-5.6-sol", "gpt-6-luna")
    ],
    *[
        (
            model,
            {"temperature": value},
            400,
            "unsupported_value",
            "temperature",
            f"Unsupported value: 'temperature' does not support {sent} {ONLY_THE_DEFAULT} (1) value is supported.",
        )
        for model in ("o1-preview", "o1-mini", "o3", "o4-mini", "gpt-5", "gpt-5.6-sol")
        for value, sent in ((0, "0"), (0.0, "0.0"), (0.2, "0.2"), (2, "2"))
    ],
    *[
        (model, {"temperature": 0.2}, 400, "unsupported_parameter", "temperature", unsupported("temperature"))
        for model in ("o1", "o3-mini")
    ],
    *[
        (model, {name: value}, 400, "unsupported_parameter", name, unsupported(name))
        for model in ("o1-preview", "o1-mini", "o1", "o3-mini", "o3", "gpt-5")
        for name, value in (
            ("top_p", 0.9),
            ("presence_penalty", 0.5),
            ("frequency_penalty", -1),
            ("logprobs", True),
            ("top_logprobs", 2),
            ("prediction", {"type": "content", "content": "x"}),
        )
    ],
    *[
        (
            model,
            {"n": 2},
            400,
            "unsupported_value",
            "n",
            f"Unsupported value: 'n' does not support 2 {ONLY_THE_DEFAULT} (1) value is supported.",
        )
        for model in ("o1-preview", "o1-mini")
    ],
    *[
        (
            model,
            {"stream": True},
            400,
            "unsupported_value",
            "stream",
            f"Unsupported value: 'stream' does not support true {ONLY_THE_DEFAULT} (false) value is supported.",
        )
        for model in ("o1-preview", "o1-mini")
    ],
    *[
        (
            model,
            parameters,
            400,
            "unsupported_value",
            next(iter(parameters)),
            "A job does not stream: its answer is fetched when it is finished. "
            "Leave 'stream' and 'stream_options' out.",
        )
        for model, parameters in (
            ("o1", {"stream": True}),
            ("gpt-4o", {"stream": True}),
            ("gpt-6-sol", {"stream": True}),
            ("gpt-4o", {"stream_options": {"include_usage": True}}),
            ("o1-mini", {"stream_options": {"include_usage": True}}),
        )
    ],
    *[
        (model, {name: value}, 404, None, None, f"{name} {FUNCTION_CALLING}")
        for model in ("o1-preview", "o1-mini")
        for name, value in (
            ("tools", [TOOL]),
            ("tool_choice", "auto"),
            ("functions", [{"name": "now"}]),
            ("function_call", "auto"),
        )
    ],
    *[
        (model, {"parallel_tool_calls": value}, 400, "unsupported_parameter", "parallel_tool_calls", unsupported(name))
        for name in ("parallel_tool_calls",)
        for value in (True, False)
        for model in ("o1-mini", "o1", "o3-mini", "o3", "o4-mini")
    ],
    *[
        (
            model,
            {"response_format": given},
            400,
            None,
            "response_format",
            f"Invalid parameter: 'response_format' of type '{given['type']}' {STRUCTURED_OUTPUTS}",
        )
        for model in ("o1-preview", "o1-mini")
        for given in ({"type": "json_object"}, SCHEMA)
    ],
    (
        "gpt-4o",
        {"reasoning_effort": "low"},
        400,
        None,
        None,
        "Unrecognized request argument supplied: reasoning_effort",
    ),
    *[
        (model, {"reasoning_effort": "low"}, 400, "unsupported_parameter", "reasoning_effort", unsupported(name))
        for name in ("reasoning_effort",)
        for model in ("o1-preview", "o1-mini")
    ],
    (
        "o1",
        {"reasoning_effort": "extreme"},
        400,
        "invalid_value",
        "reasoning_effort",
        "Invalid value: 'extreme'. Supported values are: 'low', 'medium' and 'high'.",
    ),
    *[
        (
            model,
            {"reasoning_effort": effort},
            400,
            "unsupported_value",
            "reasoning_effort",
            f"Unsupported value: 'reasoning_effort' does not support '{effort}' with this model. "
            f"Supported values are: {supported}.",
        )
        for model, effort, supported in (
            ("o3-mini", "minimal", "'low', 'medium' and 'high'"),
            ("gpt-5", "none", "'minimal', 'low', 'medium' and 'high'"),
            ("gpt-6.1-sol", "none", "'low', 'medium', 'high', 'xhigh' and 'max'"),
        )
    ],
    *[
        (
            model,
            {name: maximum + 1},
            400,
            "invalid_value",
            name,
            f"max_tokens is too large: {maximum + 1}. This model supports at most {maximum} completion tokens, "
            f"whereas you provided {maximum + 1}.",
        )
        for model, name, maximum in (
            ("o1-preview", "max_completion_tokens", 32_768),
            ("o1-mini", "max_completion_tokens", 65_536),
            ("o1", "max_completion_tokens", 100_000),
            ("gpt-4o", "max_tokens", 16_384),
            ("gpt-4o-2024-05-13", "max_tokens", 4_096),
        )
    ],
    (
        "gpt-4o",
        {"max_tokens": 5, "max_completion_tokens": 5},
        400,
        "invalid_parameter_combination",
        "max_tokens",
        "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported. Send "
        "'max_completion_tokens' alone.",
    ),
    ("o1-mini", {"best_of": 2}, 400, None, None, "Unrecognized request argument supplied: best_of"),
    ("gpt-4o", {"best_of": 2, "echo": None}, 400, None, None, "Unrecognized request arguments supplied: best_of, echo"),
    *[
        (model, {"stop": "END"}, 400, "unsupported_parameter", "stop", unsupported("stop"))
        for model in ("o3", "o4-mini", "gpt-5")
    ],
    *[
        (model, {"logit_bias": {"1": 1}}, 400, "unsupported_parameter", "logit_bias", unsupported("logit_bias"))
        for model in ("o1", "o3-mini")
    ],
    # A model that reasons has its sampling fixed, also where it would be free without reasoning.
    (
        "gpt-5.2",
        {"top_p": 0.5, "reasoning_effort": "high"},
        400,
        "unsupported_parameter",
        "top_p",
        unsupported("top_p"),
    ),
    ("o1-mini", {"verbosity": "low"}, 400, "unsupported_parameter", "verbosity", unsupported("verbosity")),
]


@pytest.mark.parametrize(
    ("model", "parameters", "status", "code", "param", "message"),
    REFUSALS,
    ids=[f"{r[0]} {r[1]}"[:60] for r in REFUSALS],
)
def test_what_a_model_does_not_take_is_refused_as_the_provider_does(
    model: str, parameters: dict[str, Any], status: int, code: str | None, param: str | None, message: str
) -> None:
    error = refusal(model, **parameters)
    assert (error.status, error.provider_code, error.param) == (status, code, param)
    assert error.message == message
    assert error.body() == {"message": message, "type": "invalid_request_error", "param": param, "code": code}


@pytest.mark.parametrize(
    ("name", "value", "expected", "got"),
    [
        ("temperature", "0.2", "a decimal", "a string"),
        ("temperature", True, "a decimal", "a boolean"),
        ("top_p", [1], "a decimal", "an array"),
        ("n", True, "an integer", "a boolean"),
        ("n", 1.0, "an integer", "a decimal"),
        ("n", "1", "an integer", "a string"),
        ("max_tokens", 10.5, "an integer", "a decimal"),
        ("max_completion_tokens", "300", "an integer", "a string"),
        ("max_completion_tokens", True, "an integer", "a boolean"),
        ("stream", "yes", "a boolean", "a string"),
        ("stream", 1, "a boolean", "an integer"),
        ("store", "yes", "a boolean", "a string"),
        ("logprobs", 0, "a boolean", "an integer"),
        ("top_logprobs", 1.5, "an integer", "a decimal"),
        ("seed", {}, "an integer", "an object"),
        ("user", 5, "a string", "an integer"),
        ("stop", 5, "a string or an array of strings", "an integer"),
        ("tools", {}, "an array", "an object"),
        ("tool_choice", [], "a string or an object", "an array"),
        ("metadata", [], "an object", "an array"),
        ("logit_bias", [], "an object", "an array"),
        ("response_format", "json", "an object", "a string"),
        ("reasoning_effort", 1, "a string", "an integer"),
    ],
)
@pytest.mark.parametrize("model", ["gpt-4o", "o1-mini"])
def test_a_value_of_the_wrong_type_is_refused(model: str, name: str, value: Any, expected: str, got: str) -> None:
    error = refusal(model, **{name: value})
    assert (error.status, error.code, error.param) == (400, "invalid_type", name)
    assert error.message == f"Invalid type for '{name}': expected {expected}, but got {got} instead."


@pytest.mark.parametrize("name", sorted(set(KINDS) - {"service_tier"}))
def test_every_known_parameter_has_its_type_checked(name: str) -> None:
    class Neither:
        pass

    assert refusal("gpt-4o", **{name: Neither()}).code == "invalid_type"


@pytest.mark.parametrize(
    ("parameters", "code", "param", "message"),
    [
        (
            {"max_completion_tokens": 0},
            "integer_below_min_value",
            "max_completion_tokens",
            "Invalid 'max_completion_tokens': integer below minimum value. Expected a value >= 1, but got 0 instead.",
        ),
        (
            {"max_tokens": -1},
            "integer_below_min_value",
            "max_tokens",
            "Invalid 'max_tokens': integer below minimum value. Expected a value >= 1, but got -1 instead.",
        ),
        (
            {"n": 129},
            "integer_above_max_value",
            "n",
            "Invalid 'n': integer above maximum value. Expected a value <= 128, but got 129 instead.",
        ),
        ({"n": 0}, "integer_below_min_value", "n", "Expected a value >= 1, but got 0 instead."),
        ({"temperature": 2.1}, "decimal_above_max_value", "temperature", "Expected a value <= 2, but got 2.1 instead."),
        ({"top_p": -0.1}, "decimal_below_min_value", "top_p", "Expected a value >= 0, but got -0.1 instead."),
        ({"presence_penalty": 3}, "decimal_above_max_value", "presence_penalty", "<= 2, but got 3 instead."),
        (
            {"top_logprobs": 21, "logprobs": True},
            "integer_above_max_value",
            "top_logprobs",
            "<= 20, but got 21 instead.",
        ),
        (
            {"top_logprobs": 2},
            "invalid_parameter_combination",
            "top_logprobs",
            "'top_logprobs' is only taken when 'logprobs' is true. Send 'logprobs': true beside it.",
        ),
        ({"logit_bias": {"7": 101}}, "decimal_above_max_value", "logit_bias.7", "<= 100, but got 101 instead."),
        ({"stop": ["a"] * 5}, "array_above_max_length", "stop", "but got an array with length 5 instead."),
        ({"stop": ["a", 1]}, "invalid_type", "stop[1]", "expected a string, but got an integer instead."),
        ({"response_format": {}}, "missing_required_parameter", "response_format.type", "'response_format.type'."),
        (
            {"response_format": {"type": "xml"}},
            "invalid_value",
            "response_format.type",
            "Invalid value: 'xml'. Supported values are: 'text', 'json_object' and 'json_schema'.",
        ),
        (
            {"response_format": {"type": "json_schema"}},
            "missing_required_parameter",
            "response_format.json_schema",
            "Missing required parameter: 'response_format.json_schema'.",
        ),
        (
            {"metadata": {f"k{i}": "v" for i in range(17)}},
            "object_above_max_properties",
            "metadata",
            "Expected an object with at most 16 properties, but got an object with 17 properties instead.",
        ),
        ({"metadata": {"k" * 65: "v"}}, "string_above_max_length", f"metadata.{'k' * 64}", "with length 65 instead."),
        ({"metadata": {"k": "v" * 513}}, "string_above_max_length", "metadata.k", "with length 513 instead."),
        ({"metadata": {"k": 1}}, "invalid_type", "metadata.k", "expected a string, but got an integer instead."),
        ({"user": "a\0"}, "invalid_value", "user", "Remove that character."),
        ({"metadata": {"\0": "v"}}, "invalid_value", "metadata", "Remove that character."),
    ],
)
def test_a_value_out_of_its_limits_is_refused(parameters: dict[str, Any], code: str, param: str, message: str) -> None:
    error = refusal("gpt-4o", **parameters)
    assert (error.status, error.code, error.param) == (400, code, param)
    assert error.message.endswith(message)


def test_metadata_may_use_all_of_its_limits() -> None:
    check("gpt-4o", metadata={f"{i:064}": "v" * 512 for i in range(16)})


# --- The size ---------------------------------------------------------------------------------------------------------
def size_refusal(model: str, prompt_tokens: int, **parameters: Any) -> RequestRejected | None:
    entry = catalogue.find(model)
    assert entry is not None
    try:
        validate_size(PromptRequest(model, HELLO, parameters), entry, prompt_tokens=prompt_tokens)
    except RequestRejected as error:
        return error
    return None


@pytest.mark.parametrize(
    ("prompt_tokens", "cap", "message"),
    [
        (128_000, None, None),
        (95_232, 32_768, None),
        (
            200_022,
            None,
            "This model's maximum context length is 128000 tokens. However, your messages resulted in 200022 tokens. "
            "Please reduce the length of the messages.",
        ),
        (
            200_022,
            300,
            "This model's maximum context length is 128000 tokens. However, your messages resulted in 200022 tokens. "
            "Please reduce the length of the messages.",
        ),
        (
            95_233,
            32_768,
            "This model's maximum context length is 128000 tokens. However, you requested 128001 tokens (95233 in the "
            "messages, 32768 in the completion). Please reduce the length of the messages or completion.",
        ),
    ],
)
def test_prompt_and_cap_must_fit_into_the_context(prompt_tokens: int, cap: int | None, message: str | None) -> None:
    error = size_refusal("o1-preview", prompt_tokens, **({} if cap is None else {"max_completion_tokens": cap}))
    assert (error.message if error else None) == message
    assert error is None or (error.status, error.code, error.param) == (400, "context_length_exceeded", "messages")


@pytest.mark.parametrize(
    ("parameters", "cap"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 7}, 7),
        ({"max_tokens": 5, "max_completion_tokens": None}, 5),
    ],
)
def test_the_cap_is_the_one_that_was_sent(parameters: dict[str, Any], cap: int | None) -> None:
    assert PromptRequest("gpt-4o", HELLO, parameters).cap == cap


def test_a_refusal_without_a_code_of_the_providers_still_has_one() -> None:
    error = RequestRejected("No.", param="deadline")
    assert (error.status, error.code, error.provider_code) == (400, "invalid_request", None)


def test_validation_asks_the_database_nothing(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    entry, stands, tiers = catalogue.find("o1-mini"), standing_at(5), tiers_on(SEPTEMBER_2024)
    request = PromptRequest("o1-mini", HELLO, {"max_completion_tokens": 300})
    with django_assert_num_queries(0):
        validate(request, entry, standing=stands, tiers=tiers, day=SEPTEMBER_2024, serves_shut_down_models=False)
