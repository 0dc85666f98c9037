"""How a request is refused: with the provider's status, code, parameter and wording."""

from collections.abc import Collection, Sequence
from typing import Any

from accounts.errors import DomainError


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


def missing(path: str) -> RequestRejected:
    return RequestRejected(f"Missing required parameter: '{path}'.", code="missing_required_parameter", param=path)


def wrong_type(path: str, expected: str, value: Any) -> RequestRejected:
    return RequestRejected(
        f"Invalid type for '{path}': expected {expected}, but got {_json_kind(value)} instead.",
        code="invalid_type",
        param=path,
    )


def invalid_value(path: str, value: Any, supported: Sequence[str]) -> RequestRejected:
    return RequestRejected(
        f"Invalid value: '{value}'. Supported values are: {listed(supported)}.", code="invalid_value", param=path
    )


def unsupported_parameter(name: str) -> RequestRejected:
    return RequestRejected(
        f"Unsupported parameter: '{name}' is not supported with this model.", code="unsupported_parameter", param=name
    )


def too_long(path: str, most: int, length: int) -> RequestRejected:
    return RequestRejected(
        f"Invalid '{path}': string too long. Expected a string with maximum length {most}, "
        f"but got a string with length {length} instead.",
        code="string_above_max_length",
        param=path,
    )


def listed(values: Collection[str]) -> str:
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
