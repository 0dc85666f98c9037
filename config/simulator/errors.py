"""The provider's errors. Texts are wire constants, recorded in public issues of 2024 to 2026 unless said otherwise."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from config.simulator.words import json_kind, listed

ERROR_CODES_PAGE = "https://platform.openai.com/docs/guides/error-codes/api-errors"
KEYS_PAGE = "https://platform.openai.com/account/api-keys"
LIMITS_PAGE = "https://platform.openai.com/account/rate-limits"


@dataclass(eq=False)
class ApiError(Exception):
    """An error as the provider words it; `headers` go out with it."""

    status: int
    message: str
    type: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.status} {self.message}"

    def body(self) -> bytes:
        """The wire form: two spaces of indent, four keys in this order, no newline at the end."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return json.dumps({"error": error}, indent=2).encode()


# --- Who asks ---------------------------------------------------------------------------------------------------------
def missing_key() -> ApiError:
    return ApiError(
        401,
        "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
        "(i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing the "
        "API from your browser and are prompted for a username and password. You can obtain an API key from "
        f"{KEYS_PAGE}.",
    )


def incorrect_key(key: str) -> ApiError:
    masked = key[:8] + "*" * max(len(key) - 12, 4) + key[-4:] if len(key) > 12 else key[:2] + "****"
    return ApiError(
        401, f"Incorrect API key provided: {masked}. You can find your API key at {KEYS_PAGE}.", code="invalid_api_key"
    )


def missing_scope() -> ApiError:
    # Admin keys serve the administration API alone, and other keys not at all; the wording of the refusal is not
    # recorded publicly.
    return ApiError(403, "You have insufficient permissions for this operation.", code="insufficient_permissions")


# --- What is asked ----------------------------------------------------------------------------------------------------
def invalid_url(method: str, path: str) -> ApiError:
    return ApiError(404, f"Invalid URL ({method} {path})")


def wrong_method(method: str, path: str) -> ApiError:
    return ApiError(
        405, f"Not allowed to {method} on {path}. (HINT: Perhaps you meant to use a different HTTP method?)"
    )


def invalid_json() -> ApiError:
    return ApiError(
        400,
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library "
        "correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON. If you have trouble "
        "figuring out how to fix this, please contact us through our help center at help.openai.com.)",
    )


def missing_model() -> ApiError:
    return ApiError(400, "you must provide a model parameter")


def missing_parameter(name: str) -> ApiError:
    return ApiError(400, f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")


def empty_messages() -> ApiError:
    return ApiError(
        400,
        "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        param="messages",
        code="empty_array",
    )


def wrong_type(name: str, expected: str, value: object) -> ApiError:
    return ApiError(
        400,
        f"Invalid type for '{name}': expected {expected}, but got {json_kind(value)} instead.",
        param=name,
        code="invalid_type",
    )


def below_minimum(name: str, minimum: int, value: int) -> ApiError:
    return ApiError(
        400,
        f"Invalid '{name}': integer below minimum value. Expected a value >= {minimum}, but got {value} instead.",
        param=name,
        code="integer_below_min_value",
    )


def too_many_properties(name: str, maximum: int, count: int) -> ApiError:
    return ApiError(
        400,
        f"Invalid '{name}': too many properties. Expected an object with at most {maximum} properties, "
        f"but got an object with {count} properties instead.",
        param=name,
        code="object_above_max_properties",
    )


def string_too_long(name: str, maximum: int, length: int) -> ApiError:
    return ApiError(
        400,
        f"Invalid '{name}': string too long. Expected a string with maximum length {maximum}, "
        f"but got a string with length {length} instead.",
        param=name,
        code="string_above_max_length",
    )


def invalid_value(name: str, value: object, supported: Sequence[str]) -> ApiError:
    return ApiError(
        400, f"Invalid value: '{value}'. Supported values are: {listed(supported)}.", param=name, code="invalid_value"
    )


def metadata_without_store() -> ApiError:
    return ApiError(400, "The 'metadata' parameter is only allowed when 'store' is enabled.", param="metadata")


def invalid_client_request_id() -> ApiError:
    # The limit is documented (ASCII, 512 characters); the wording of the refusal is not.
    return ApiError(400, "Invalid X-Client-Request-Id header. Expected at most 512 ASCII characters.")


# --- What the model takes ---------------------------------------------------------------------------------------------
def model_not_found(model: str) -> ApiError:
    return ApiError(404, f"The model `{model}` does not exist or you do not have access to it.", code="model_not_found")


def no_such_model(model: str) -> ApiError:
    """The words of `GET /v1/models/{id}`, which differ from those of a call."""
    return ApiError(404, f"The model '{model}' does not exist", param="model", code="model_not_found")


def responses_only() -> ApiError:
    return ApiError(404, "This model is only supported in v1/responses and not in v1/chat/completions.", param="model")


def chat_only(model: str) -> ApiError:
    # That o1-preview and o1-mini had chat alone is documented; the words of the refusal are not.
    return ApiError(404, f"The model '{model}' is not supported in v1/responses.", param="model")


def unsupported_parameter(name: str, instead: str | None = None) -> ApiError:
    advice = f" Use '{instead}' instead." if instead else ""
    return ApiError(
        400,
        f"Unsupported parameter: '{name}' is not supported with this model.{advice}",
        param=name,
        code="unsupported_parameter",
    )


def unsupported_value(name: str, value: str, supported: str) -> ApiError:
    return ApiError(
        400,
        f"Unsupported value: '{name}' does not support {value} with this model.{supported}",
        param=name,
        code="unsupported_value",
    )


def unrecognized_argument(name: str) -> ApiError:
    return ApiError(400, f"Unrecognized request argument supplied: {name}")


def unverified_organization() -> ApiError:
    return ApiError(
        400,
        "Your organization must be verified to stream this model. Please go to: "
        "https://platform.openai.com/settings/organization/general and click on Verify Organization. "
        "If you just verified, it can take up to 15 minutes for access to propagate.",
        param="stream",
        code="unsupported_value",
    )


def tools_not_supported(name: str) -> ApiError:
    return ApiError(
        404,
        f"{name} is not supported in this model. For a list of supported models, refer to "
        "https://platform.openai.com/docs/guides/function-calling#models-supporting-function-calling.",
    )


def response_format_not_supported(kind: str) -> ApiError:
    return ApiError(
        400,
        f"Invalid parameter: 'response_format' of type '{kind}' is not supported with this model. Learn more about "
        "supported models at the Structured Outputs guide: "
        "https://platform.openai.com/docs/guides/structured-outputs",
        param="response_format",
    )


def image_not_supported(message: int, part: int) -> ApiError:
    return ApiError(
        400,
        "Invalid content type. image_url is only supported by certain models.",
        param=f"messages.[{message}].content.[{part}].type",
    )


def service_tier_not_allowed() -> ApiError:
    return ApiError(
        400,
        "Invalid service_tier argument: The requested service tier is not allowed for this project.",
        param="service_tier",
    )


def cap_too_large(name: str, cap: int, maximum: int) -> ApiError:
    return ApiError(
        400,
        f"max_tokens is too large: {cap}. This model supports at most {maximum} completion tokens, "
        f"whereas you provided {cap}.",
        param=name,
        code="invalid_value",
    )


def cap_too_small() -> ApiError:
    """Seen with o3-mini and gpt-5 at caps of 1 to 16; o1-preview and o1-mini answer with an empty text instead."""
    return ApiError(
        400,
        "Could not finish the message because max_tokens or model output limit was reached. "
        "Please try again with higher max_tokens.",
    )


def prompt_too_long(context: int, prompt_tokens: int) -> ApiError:
    return ApiError(
        400,
        f"This model's maximum context length is {context} tokens. However, your messages resulted in "
        f"{prompt_tokens} tokens. Please reduce the length of the messages.",
        param="messages",
        code="context_length_exceeded",
    )


def prompt_and_cap_too_long(context: int, prompt_tokens: int, cap: int) -> ApiError:
    return ApiError(
        400,
        f"This model's maximum context length is {context} tokens. However, you requested {prompt_tokens + cap} tokens "
        f"({prompt_tokens} in the messages, {cap} in the completion). "
        "Please reduce the length of the messages or completion.",
        param="messages",
        code="context_length_exceeded",
    )


def input_too_long(max_input: int, prompt_tokens: int) -> ApiError:
    return ApiError(
        400,
        f"Input tokens exceed the configured limit of {max_input} tokens. Your messages resulted in {prompt_tokens} "
        "tokens. Please reduce the length of the messages.",
        param="messages",
        code="context_length_exceeded",
    )


def completion_not_found(completion: str) -> ApiError:
    # The words for an unknown stored completion are not recorded publicly; status and type are the documented ones.
    return ApiError(404, f"Chat completion '{completion}' not found.", param="completion_id")


def response_not_found(response: str) -> ApiError:
    return ApiError(404, f"Response with id '{response}' not found.")


def not_in_background(response: str) -> ApiError:
    # That only background responses can be cancelled is documented (API reference, 2026); the words are not.
    return ApiError(400, f"Cannot cancel the response '{response}': it was not created with background set to true.")


# --- Limits and breakdowns --------------------------------------------------------------------------------------------
def rate_limited(
    *,
    model: str,
    organization: str,
    unit: Literal["requests", "tokens"],
    limit: int,
    used: int,
    requested: int,
    wait: str,
    retry_after: int | None,
) -> ApiError:
    """`wait` is a duration as the provider prints it; `retry_after` whole seconds, None to send no header."""
    short = "RPM" if unit == "requests" else "TPM"
    return ApiError(
        429,
        f"Rate limit reached for {model} in organization {organization} on {unit} per min ({short}): Limit {limit}, "
        f"Used {used}, Requested {requested}. Please try again in {wait}. Visit {LIMITS_PAGE} to learn more.",
        type=unit,
        code="rate_limit_exceeded",
        headers={} if retry_after is None else {"retry-after": str(retry_after)},
    )


def request_too_large(*, model: str, organization: str, limit: int, requested: int) -> ApiError:
    """No waiting helps, so there is neither a duration nor a retry-after."""
    return ApiError(
        429,
        f"Request too large for {model} in organization {organization} on tokens per min (TPM): Limit {limit}, "
        f"Requested {requested}. The input or output tokens must be reduced in order to run successfully. "
        f"Visit {LIMITS_PAGE} to learn more.",
        type="tokens",
        code="rate_limit_exceeded",
    )


def quota_exceeded(code: str = "insufficient_quota") -> ApiError:
    """The codes of 2026 share the type of the older one (help.openai.com 6614457); their texts vary."""
    return ApiError(
        429,
        "You exceeded your current quota, please check your plan and billing details. "
        f"For more information on this error, read the docs: {ERROR_CODES_PAGE}.",
        type="insufficient_quota",
        code=code,
    )


def billing_hard_limit() -> ApiError:
    # Its code is listed publicly, its body is from hearsay.
    return ApiError(400, "Billing hard limit has been reached", code="billing_hard_limit_reached")


def slow_down() -> ApiError:
    # A 503 in the documents of July 2026, a 429 in later ones. The text is not recorded.
    return ApiError(
        429,
        "Requests are growing too fast. Please slow down and hold your rate for at least 15 minutes.",
        type="rate_limit_error",
        code="slow_down",
    )


def no_access_to_model(project: str, model: str) -> ApiError:
    return ApiError(403, f"Project `{project}` does not have access to model `{model}`", code="model_not_found")


def gateway_timed_out() -> ApiError:
    # Azure's words for a call that took too long behind its gateway.
    return ApiError(408, "The operation was timeout.", type="timeout", code="Timeout")


def server_error() -> ApiError:
    return ApiError(
        500, "The server had an error while processing your request. Sorry about that!", type="server_error"
    )


def overloaded() -> ApiError:
    return ApiError(
        503,
        "The engine is currently overloaded, please try again later",
        type="service_unavailable_error",
        code="server_is_overloaded",
    )
