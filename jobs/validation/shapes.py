"""What is checked of any JSON value, wherever it stands: members, types, and text that can be stored."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from jobs.validation.refusals import RequestRejected, missing, wrong_type

# What JSON can say and PostgreSQL's jsonb cannot.
NOT_TEXT = re.compile("[\x00\ud800-\udfff]")


def check_member(holder: Mapping[str, Any], name: str, path: str, kind: type, expected: str) -> None:
    if name not in holder:
        raise missing(path)
    if not isinstance(holder[name], kind):
        raise wrong_type(path, expected, holder[name])


def check_storable(path: str, value: Any) -> None:
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
