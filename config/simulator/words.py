"""How the provider words lists and kinds of values in its errors."""

from collections.abc import Sequence
from typing import Any


def listed(values: Sequence[str]) -> str:
    """`'low', 'medium', and 'high'`: the provider's list, with the comma before the last."""
    quoted = [f"'{value}'" for value in values]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])}, and {quoted[-1]}"


def json_kind(value: Any) -> str:
    """What a JSON value is, as the provider says it."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a decimal number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"
