"""Reads a JSON body exactly, and refuses what could not be stored or would mean two things."""

import json
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from math import isinf
from typing import Any

from django.core.exceptions import RequestDataTooBig
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

# Deeper than any tool's schema; far from where Python's or PostgreSQL's own recursion ends.
MAX_DEPTH = 100
MAX_INTEGER = 2**63 - 1
MAX_DISCARDED_BYTES = 64 * 1024 * 1024


class MalformedJson(ParseError):
    default_code = "malformed_json"


class ExactJSONParser(BaseParser):
    """JSON whose fractions arrive as Decimal, so that an amount of money never goes through a float."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """The value of the body. Raises MalformedJson, and RequestDataTooBig above DATA_UPLOAD_MAX_MEMORY_SIZE."""
        request: Request = parser_context["request"]
        # `body` and not the stream: it enforces the size limit, and stays readable for the fingerprint.
        try:
            return parse(request.body)
        except RequestDataTooBig:
            _discard(stream)
            raise


def parse(body: bytes) -> Any:
    """The value of a JSON text. Raises MalformedJson."""
    try:
        value = _DECODER.decode(body.decode())
    except UnicodeDecodeError as error:
        raise MalformedJson(f"The body is not UTF-8: {error.reason} at byte {error.start}.") from error
    except json.JSONDecodeError as error:
        raise MalformedJson(f"The body is not JSON: {error}.") from error
    except RecursionError as error:
        raise MalformedJson("The body is nested too deeply.") from error
    # Only an escape can name a character that cannot be stored, and so deep a nesting has so many brackets.
    if b"\\u" in body or body.count(b"[") + body.count(b"{") >= MAX_DEPTH:
        _check(value)
    return value


def plain(value: Any) -> Any:
    """The same value with ordinary floats for fractions, as `json` writes them: 0.2 for 0.2."""
    match value:
        case Decimal():
            return float(value)
        case dict():
            return {name: plain(part) for name, part in value.items()}
        case list():
            return [plain(part) for part in value]
        case _:
            return value


def _discard(stream: Any) -> None:
    # A client that still sends when the connection closes sees a broken pipe, and not the answer that says why.
    for _ in range(MAX_DISCARDED_BYTES // 65_536):
        if not stream.read(65_536):
            return


def _fraction(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise MalformedJson("A number in the body is out of range.") from error
    # What a float cannot hold, no other program reads as it was meant.
    if isinf(float(text)) or (number and not float(text)):
        raise MalformedJson("A number in the body is out of range.")
    return number


def _integer(text: str) -> int:
    # By length first: Python refuses to read thousands of digits, and takes long for hundreds of thousands.
    if len(text) > 20 or abs(int(text)) > MAX_INTEGER:
        raise MalformedJson("A number in the body is out of range: integers have 64 bits.")
    return int(text)


def _refuse_constant(text: str) -> None:
    raise MalformedJson(f"The body is not JSON: {text} is not a JSON number.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        # Two programs would disagree about which of them counts; with a max_cost_usd that is money.
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise MalformedJson(f"The body names {twice!a} twice in one object.")
    return value


def _check(value: Any) -> None:
    """Raises MalformedJson for nesting without reason, and for text that PostgreSQL cannot store."""
    level = [value]
    for _ in range(MAX_DEPTH):
        if not level:
            return
        for part in level:
            for text in _texts(part):
                _check_text(text)
        level = [inner for part in level for inner in _inner(part)]
    raise MalformedJson(f"The body is nested more than {MAX_DEPTH} levels deep.")


def _texts(part: Any) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    elif isinstance(part, dict):
        yield from part


def _inner(part: Any) -> Iterator[Any]:
    if isinstance(part, dict):
        yield from part.values()
    elif isinstance(part, list):
        yield from part


def _check_text(text: str) -> None:
    if "\0" in text:
        raise MalformedJson("A text in the body holds the character NUL (\\u0000), which cannot be stored.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise MalformedJson("A text in the body holds half of a surrogate pair, which is not a character.") from error


_DECODER = json.JSONDecoder(
    parse_float=_fraction, parse_int=_integer, parse_constant=_refuse_constant, object_pairs_hook=_object
)
