"""What the provider refuses, word by word, and what it prints around its answers."""

import json
from http.client import HTTPConnection
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import OpenAI

from config.simulator.replies import json_bytes
from config.simulator.running import RunningSimulator
from tests.simulator.clients import KEY, ask, billed_calls, connect

INVALID = "invalid_request_error"
USER = [{"role": "user", "content": "hello"}]
SYSTEM = [{"role": "system", "content": "be brief"}, *USER]
DEVELOPER = [{"role": "developer", "content": "be brief"}, *USER]
IMAGE = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "what is it?"},
            {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
        ],
    }
]
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {}}}}
MAX_TOKENS = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
)
TOOLS_REFUSED = (
    "tools is not supported in this model. For a list of supported models, refer to "
    "https://platform.openai.com/docs/guides/function-calling#models-supporting-function-calling."
)
SCHEMA_REFUSED = (
    "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model. Learn more about "
    "supported models at the Structured Outputs guide: https://platform.openai.com/docs/guides/structured-outputs"
)
TINY_CAP = (
    "Could not finish the message because max_tokens or model output limit was reached. "
    "Please try again with higher max_tokens."
)
UNVERIFIED = (
    "Your organization must be verified to stream this model. Please go to: "
    "https://platform.openai.com/settings/organization/general and click on Verify Organization. If you just verified, "
    "it can take up to 15 minutes for access to propagate."
)
RESPONSES_ONLY = "This model is only supported in v1/responses and not in v1/chat/completions."
ONLY_STORED = "The 'metadata' parameter is only allowed when 'store' is enabled."
SERVICE_TIER = "Invalid service_tier argument: The requested service tier is not allowed for this project."


def value(name: str, shown: str, rest: str = "") -> str:
    return f"Unsupported value: '{name}' does not support {shown} with this model.{rest}"


def parameter(name: str) -> str:
    return f"Unsupported parameter: '{name}' is not supported with this model."


def too_large(cap: int, most: int) -> str:
    return (
        f"max_tokens is too large: {cap}. This model supports at most {most} completion tokens, "
        f"whereas you provided {cap}."
    )


ONE = " Only the default (1) value is supported."

REFUSALS = [
    # model, options, status, param, code, message
    ("o1-preview", {"max_tokens": 100}, 400, "max_tokens", "unsupported_parameter", MAX_TOKENS),
    ("o1-mini", {"max_tokens": 100}, 400, "max_tokens", "unsupported_parameter", MAX_TOKENS),
    ("o3", {"max_tokens": 100}, 400, "max_tokens", "unsupported_parameter", MAX_TOKENS),
    ("gpt-5", {"max_tokens": 100}, 400, "max_tokens", "unsupported_parameter", MAX_TOKENS),
    (
        "o1-preview",
        {"messages": SYSTEM},
        400,
        "messages[0].role",
        "unsupported_value",
        value("messages[0].role", "'system'"),
    ),
    (
        "o1-mini",
        {"messages": SYSTEM},
        400,
        "messages[0].role",
        "unsupported_value",
        value("messages[0].role", "'system'"),
    ),
    (
        "o1-mini",
        {"messages": DEVELOPER},
        400,
        "messages[0].role",
        "unsupported_value",
        value("messages[0].role", "'developer'"),
    ),
    (
        "o1-preview",
        {"messages": IMAGE},
        400,
        "messages.[0].content.[1].type",
        None,
        "Invalid content type. image_url is only supported by certain models.",
    ),
    (
        "o3-mini",
        {"messages": IMAGE},
        400,
        "messages.[0].content.[1].type",
        None,
        "Invalid content type. image_url is only supported by certain models.",
    ),
    ("o1-preview", {"tools": TOOLS}, 404, None, None, TOOLS_REFUSED),
    ("o1-mini", {"tools": TOOLS}, 404, None, None, TOOLS_REFUSED),
    ("o1-mini", {"functions": [TOOLS[0]["function"]]}, 404, None, None, TOOLS_REFUSED.replace("tools", "functions", 1)),
    ("o1-preview", {"response_format": SCHEMA}, 400, "response_format", None, SCHEMA_REFUSED),
    (
        "o1-mini",
        {"response_format": {"type": "json_object"}},
        400,
        "response_format",
        None,
        SCHEMA_REFUSED.replace("json_schema", "json_object"),
    ),
    (
        "o1-preview",
        {"stream": True},
        400,
        "stream",
        "unsupported_value",
        value("stream", "true", " Only the default (false) value is supported."),
    ),
    (
        "o1",
        {"stream": True},
        400,
        "stream",
        "unsupported_value",
        value("stream", "true", " Supported values are: false."),
    ),
    ("o3", {"stream": True}, 400, "stream", "unsupported_value", UNVERIFIED),
    ("gpt-5-mini", {"stream": True}, 400, "stream", "unsupported_value", UNVERIFIED),
    ("o1-preview", {"temperature": 0.2}, 400, "temperature", "unsupported_value", value("temperature", "0.2", ONE)),
    ("o1-mini", {"temperature": 0}, 400, "temperature", "unsupported_value", value("temperature", "0", ONE)),
    ("o3", {"temperature": 0.0}, 400, "temperature", "unsupported_value", value("temperature", "0.0", ONE)),
    ("gpt-5", {"temperature": 0.5}, 400, "temperature", "unsupported_value", value("temperature", "0.5", ONE)),
    ("o3-mini", {"temperature": 0.2}, 400, "temperature", "unsupported_parameter", parameter("temperature")),
    ("o1", {"temperature": 0.2}, 400, "temperature", "unsupported_parameter", parameter("temperature")),
    ("o1-mini", {"top_p": 0.9}, 400, "top_p", "unsupported_parameter", parameter("top_p")),
    (
        "o1-preview",
        {"presence_penalty": 1},
        400,
        "presence_penalty",
        "unsupported_parameter",
        parameter("presence_penalty"),
    ),
    ("o3", {"frequency_penalty": 1}, 400, "frequency_penalty", "unsupported_parameter", parameter("frequency_penalty")),
    ("o1", {"logprobs": True}, 400, "logprobs", "unsupported_parameter", parameter("logprobs")),
    ("gpt-5", {"top_logprobs": 3}, 400, "top_logprobs", "unsupported_parameter", parameter("top_logprobs")),
    ("o1-mini", {"n": 2}, 400, "n", "unsupported_value", value("n", "2", ONE)),
    (
        "o3-mini",
        {"tools": TOOLS, "parallel_tool_calls": True},
        400,
        "parallel_tool_calls",
        "unsupported_parameter",
        parameter("parallel_tool_calls"),
    ),
    ("o3", {"stop": ["\n"]}, 400, "stop", "unsupported_parameter", parameter("stop")),
    (
        "o1-mini",
        {"reasoning_effort": "low"},
        400,
        "reasoning_effort",
        "unsupported_parameter",
        parameter("reasoning_effort"),
    ),
    (
        "gpt-4o",
        {"reasoning_effort": "low"},
        400,
        None,
        None,
        "Unrecognized request argument supplied: reasoning_effort",
    ),
    (
        "o3-mini",
        {"reasoning_effort": "utmost"},
        400,
        "reasoning_effort",
        "invalid_value",
        "Invalid value: 'utmost'. Supported values are: 'low', 'medium', and 'high'.",
    ),
    (
        "o1",
        {"reasoning_effort": "minimal"},
        400,
        "reasoning_effort",
        "unsupported_value",
        value("reasoning_effort", "'minimal'", " Supported values are: 'low', 'medium', and 'high'."),
    ),
    (
        "o1-preview",
        {"max_completion_tokens": 40_000},
        400,
        "max_completion_tokens",
        "invalid_value",
        too_large(40_000, 32_768),
    ),
    (
        "gpt-4o",
        {"max_tokens": 20_480},
        400,
        "max_tokens",
        "invalid_value",
        too_large(20_480, 16_384),
    ),
    (
        "gpt-4o",
        {"max_tokens": 0},
        400,
        "max_tokens",
        "integer_below_min_value",
        "Invalid 'max_tokens': integer below minimum value. Expected a value >= 1, but got 0 instead.",
    ),
    ("o3-mini", {"max_completion_tokens": 1}, 400, None, None, TINY_CAP),
    ("gpt-5", {"max_completion_tokens": 16}, 400, None, None, TINY_CAP),
    (
        "gpt-4o",
        {"messages": []},
        400,
        "messages",
        "empty_array",
        "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
    ),
    (
        "gpt-4o",
        {"messages": [{"role": "boss", "content": "x"}]},
        400,
        "messages[0].role",
        "invalid_value",
        "Invalid value: 'boss'. Supported values are: "
        "'system', 'assistant', 'user', 'function', 'tool', and 'developer'.",
    ),
    ("gpt-4o", {"metadata": {"a": "b"}}, 400, "metadata", None, ONLY_STORED),
    (
        "gpt-4o",
        {"store": True, "metadata": {"a": 1}},
        400,
        "metadata.a",
        "invalid_type",
        "Invalid type for 'metadata.a': expected a string, but got an integer instead.",
    ),
    ("o1", {"service_tier": "flex"}, 400, "service_tier", None, SERVICE_TIER),
    ("o1-pro", {}, 404, "model", None, RESPONSES_ONLY),
    ("o3-pro", {}, 404, "model", None, RESPONSES_ONLY),
    (
        "o9-huge",
        {},
        404,
        None,
        "model_not_found",
        "The model `o9-huge` does not exist or you do not have access to it.",
    ),
]


@pytest.mark.parametrize(("model", "options", "status", "param", "code", "message"), REFUSALS)
def test_the_provider_refuses_with_its_own_words(
    client: OpenAI,
    simulator: RunningSimulator,
    model: str,
    options: dict[str, Any],
    status: int,
    param: str | None,
    code: str | None,
    message: str,
) -> None:
    before = billed_calls(simulator)
    with pytest.raises(openai.APIStatusError) as refusal:
        client.chat.completions.create(**{"model": model, "messages": USER, **options})

    assert refusal.value.status_code == status
    assert refusal.value.body == {"message": message, "type": INVALID, "param": param, "code": code}
    assert str(refusal.value.request_id).startswith("req_")
    assert billed_calls(simulator) == before


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("o1-mini", {"temperature": 1, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0, "n": 1}),
        ("o1-mini", {"stream": False, "logprobs": False, "max_completion_tokens": 10}),
        ("o1-preview", {"store": True, "metadata": {"a": "b"}, "response_format": {"type": "text"}}),
        ("o1", {"messages": SYSTEM, "reasoning_effort": "high", "tools": TOOLS}),
        ("o1", {"messages": IMAGE, "response_format": {"type": "json_object"}}),
        ("o3-mini", {"messages": DEVELOPER, "stop": ["\n"]}),
        ("gpt-5", {"messages": DEVELOPER, "reasoning_effort": "minimal", "service_tier": "flex"}),
        ("gpt-6-astra", {"reasoning_effort": "max"}),
        ("gpt-4o", {"messages": SYSTEM, "temperature": 0, "max_tokens": 1, "tools": TOOLS}),
        ("gpt-4o-mini-2024-07-18", {}),
    ],
)
def test_what_the_models_take_is_answered(client: OpenAI, model: str, options: dict[str, Any]) -> None:
    completion = client.chat.completions.create(**{"model": model, "messages": USER, **options})

    assert completion.choices[0].finish_reason in ("stop", "length")


def test_a_prompt_longer_than_the_window_is_refused_with_its_tokens(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        ask(client, "o1-preview", " hello" * 200_015)

    assert refusal.value.body == {
        "message": "This model's maximum context length is 128000 tokens. However, your messages resulted in 200022 "
        "tokens. Please reduce the length of the messages.",
        "type": INVALID,
        "param": "messages",
        "code": "context_length_exceeded",
    }


def test_a_prompt_that_fits_only_without_its_cap_is_refused(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="you requested 130007 tokens") as refusal:
        ask(client, "o1-preview", " hello" * 100_000, max_completion_tokens=30_000)

    assert refusal.value.code == "context_length_exceeded"


@pytest.mark.parametrize("key", ["sk-invalid-0123456789abcdef", "nonsense"])
def test_an_incorrect_key_is_shown_masked(simulator: RunningSimulator, key: str) -> None:
    with connect(simulator, api_key=key) as client, pytest.raises(openai.AuthenticationError) as refusal:
        ask(client)

    assert (refusal.value.code, refusal.value.type) == ("invalid_api_key", INVALID)
    assert refusal.value.body["message"].startswith("Incorrect API key provided: ")  # type: ignore[index]
    assert "****" in str(refusal.value)
    assert key not in str(refusal.value)


def raw(
    simulator: RunningSimulator, method: str, path: str, body: bytes | None = None, key: str | None = KEY
) -> tuple[int, dict[str, str], bytes]:
    """One request without any client in between: status, headers, body."""
    connection = HTTPConnection("127.0.0.1", simulator.port, timeout=10)
    try:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): text for name, text in answer.getheaders()}, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("method", "path", "body", "key", "status", "message"),
    [
        ("GET", "/v1/models", None, None, 401, "You didn't provide an API key."),
        ("POST", "/v1/chat/completions", b"{nonsense", KEY, 400, "We could not parse the JSON body of your request."),
        ("POST", "/v1/chat/completions", b"[]", KEY, 400, "We could not parse the JSON body of your request."),
        ("POST", "/v1/chat/completions", b"{}", KEY, 400, "you must provide a model parameter"),
        ("POST", "/v1/chat/completions", b'{"model":"o1"}', KEY, 400, "Missing required parameter: 'messages'."),
        ("POST", "/v1/rerank", b"{}", KEY, 404, "Invalid URL (POST /v1/rerank)"),
        ("GET", "/", None, None, 404, "Invalid URL (GET /)"),
        ("DELETE", "/v1/models", None, KEY, 405, "Not allowed to DELETE on /v1/models."),
        ("GET", "/v1/models/o9", None, KEY, 404, "The model 'o9' does not exist"),
    ],
)
def test_a_request_that_makes_no_sense_is_told_so_in_the_providers_envelope(
    simulator: RunningSimulator, method: str, path: str, body: bytes | None, key: str | None, status: int, message: str
) -> None:
    answered, headers, text = raw(simulator, method, path, body, key)

    error = json.loads(text)["error"]
    assert answered == status
    assert list(error) == ["message", "type", "param", "code"]
    assert error["message"].startswith(message)
    assert text == json.dumps({"error": error}, indent=2).encode()
    assert headers["x-request-id"].startswith("req_")
    assert len(headers["x-request-id"]) == 36


def test_an_answer_has_the_form_and_the_headers_of_the_provider(simulator: RunningSimulator) -> None:
    body = json.dumps({"model": "o1-mini", "messages": USER}).encode()
    status, headers, text = raw(simulator, "POST", "/v1/chat/completions", body)

    completion = json.loads(text)
    assert status == 200
    assert text == (json.dumps(completion, indent=2) + "\n").encode()
    assert list(completion) == [
        "id",
        "object",
        "created",
        "model",
        "choices",
        "usage",
        "service_tier",
        "system_fingerprint",
    ]
    assert list(completion["choices"][0]) == ["index", "message", "finish_reason"]
    assert completion["id"].startswith("chatcmpl-")
    assert completion["id"][9:].isalnum()
    assert len(completion["id"]) == 38
    assert list(completion["usage"]) == [
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "prompt_tokens_details",
        "completion_tokens_details",
    ]
    assert completion["usage"]["completion_tokens_details"].keys() == {
        "reasoning_tokens",
        "audio_tokens",
        "accepted_prediction_tokens",
        "rejected_prediction_tokens",
    }
    assert headers["openai-version"] == "2020-10-01"
    assert headers["openai-organization"] == "org-simulator"
    assert headers["openai-project"].startswith("proj_")
    assert int(headers["openai-processing-ms"]) >= 1
    assert headers["content-type"] == "application/json"
    assert len([name for name in headers if name.startswith("x-ratelimit-")]) == 6


def test_models_are_listed_and_read_one_by_one(client: OpenAI) -> None:
    listed = {model.id for model in client.models.list()}

    assert {"gpt-4o", "gpt-4o-mini", "o1-preview", "o1-mini", "o1", "o1-pro", "o3-mini", "gpt-6-sol"} <= listed
    assert client.models.retrieve("o1-preview").owned_by == "system"


def test_models_that_stream_do_and_count_their_usage_last(client: OpenAI) -> None:
    whole = ask(client, "gpt-4o")
    chunks = list(ask(client, "gpt-4o", stream=True, stream_options={"include_usage": True}))

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert chunks[-2].choices[0].finish_reason == "stop"


def test_a_verified_organization_may_stream_o3() -> None:
    with RunningSimulator(verified=True) as simulator, connect(simulator) as client:
        assert len(list(ask(client, "o3", stream=True))) > 1


def test_a_tier_below_five_does_not_know_o1_preview() -> None:
    with RunningSimulator(tier=4) as simulator, connect(simulator) as client:
        with pytest.raises(openai.NotFoundError, match="does not exist or you do not have access"):
            ask(client, "o1-preview")
        assert ask(client, "gpt-4o").usage.prompt_tokens == 8


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda parts: st.lists(parts) | st.dictionaries(st.text(), parts),
    )
)
def test_answers_are_printed_as_json_with_two_spaces(body: object) -> None:
    assert json_bytes(body) == (json.dumps(body, indent=2, ensure_ascii=False) + "\n").encode()
