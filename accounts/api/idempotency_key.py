"""The `Idempotency-Key` header: bare, or a quoted string of structured fields (RFC 8941)."""

import re

from rest_framework.request import Request

from accounts.errors import DomainError

MAX_CHARACTERS = 255
_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_ESCAPED = re.compile(r'\\(["\\])')


class IdempotencyKeyInvalid(DomainError):
    """The Idempotency-Key is not 1 to 255 printable ASCII characters, bare or in double quotes."""

    code = "idempotency_key_invalid"


def idempotency_key(request: Request) -> str | None:
    """The key that was sent, without quotes; None when none was. Raises IdempotencyKeyInvalid."""
    header = request.headers.get("Idempotency-Key")
    if header is None:
        return None
    key = header
    if header.startswith('"'):
        quoted = _QUOTED.fullmatch(header)
        key = _ESCAPED.sub(r"\1", quoted[1]) if quoted else ""
    if not 1 <= len(key) <= MAX_CHARACTERS or not key.isascii() or not key.isprintable():
        raise IdempotencyKeyInvalid(param="Idempotency-Key")
    return key
