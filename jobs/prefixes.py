"""What prompts that begin alike have in common: a keyed hash of their first 1,024 tokens, which says nothing of them.

The provider bills a prompt's beginning as cached input where a prompt of at least 1,024 tokens began so shortly before
(guide on prompt caching, 2024-10). Hashes of two organizations cannot be compared.
"""

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from jobs.estimates import vocabulary

PREFIX_TOKENS = 1024
# Most prompts have four characters to a token: one look is enough for them.
_LOOK = 3 * 4 * PREFIX_TOKENS


def prefix_of(
    organization_id: UUID, messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any], bound_tokens: int
) -> UUID | None:
    """The hash; None for a prompt that is shorter. `bound_tokens`: the prompt has no more."""
    if bound_tokens < PREFIX_TOKENS:
        return None
    text = "".join(_beginning(messages, parameters))
    tokens = _first_tokens(text.encode("utf-8", "replace").decode())
    if len(tokens) < PREFIX_TOKENS:
        return None
    said = organization_id.bytes + b"".join(token.to_bytes(4, "big") for token in tokens)
    return UUID(bytes=hmac.digest(_key(settings.SECRET_KEY), said, hashlib.sha256)[:16])


def _beginning(messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]) -> Iterator[str]:
    """A prompt as the provider reads it: tools before messages, each message after its role."""
    for name in ("tools", "functions"):
        if parameters.get(name):
            yield json.dumps(parameters[name], ensure_ascii=False)
    for message in messages:
        content = message.get("content")
        yield f"\n{message.get('role')}\n"
        yield content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def _first_tokens(text: str) -> list[int]:
    """The first 1,024, or as many as there are. What a cut does to the tokens before it ends within a few of them."""
    look = _LOOK
    while look < len(text):
        tokens = vocabulary().encode_ordinary(text[:look])
        if len(tokens) >= PREFIX_TOKENS + 64:
            return list(islice(tokens, PREFIX_TOKENS))
        look *= 2
    return list(islice(vocabulary().encode_ordinary(text[:look]), PREFIX_TOKENS))


@lru_cache(maxsize=8)
def _key(secret_key: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"bursar prompt prefixes").derive(secret_key.encode())
