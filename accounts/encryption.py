"""Content at rest: authenticated encryption for what is written and read with every job.

The keys are derived from BURSAR_SECRET_KEY and BURSAR_SECRET_KEY_FALLBACKS, as those of `accounts.secrets` are. The
first encrypts, all decrypt, and a stored value says by which one it was made (docs/decisions/0033).
"""

import json
import os
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from accounts.secrets import SecretUnreadable

# A stored value: this byte, the id of its key, a nonce, and what AES-256-GCM-SIV makes of the text, its tag at the end.
VERSION = b"\x01"
KEY_ID_BYTES, NONCE_BYTES = 4, 12
HEAD = len(VERSION) + KEY_ID_BYTES
BODY = HEAD + NONCE_BYTES
# The keys of a deployment are few; tests come with many.
MOST_RINGS = 8


@dataclass(frozen=True, slots=True)
class _Ring:
    """All keys by the heads of what they made; `newest` is the head of what is made from now on."""

    newest: bytes
    ciphers: dict[bytes, AESGCMSIV]


def seal(column: str, text: bytes) -> bytes:
    """The text as only this deployment can read it, and only as the value of this column (`table.column`)."""
    ring = _ring()
    nonce = os.urandom(NONCE_BYTES)
    return ring.newest + nonce + ring.ciphers[ring.newest].encrypt(nonce, text, column.encode())


def unseal(column: str, stored: bytes | memoryview) -> bytes:
    """The text itself. Raises SecretUnreadable when no known key fits, or the value was changed or moved."""
    cipher = _ring().ciphers.get(bytes(stored[:HEAD]))
    if cipher is None:
        raise SecretUnreadable
    try:
        return cipher.decrypt(bytes(stored[HEAD:BODY]), bytes(stored[BODY:]), column.encode())
    except (InvalidTag, ValueError) as error:
        raise SecretUnreadable from error


def seal_json(column: str, value: Any) -> bytes:
    """A JSON value, sealed."""
    return seal(column, json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass"))


def unseal_json(column: str, stored: bytes) -> Any:
    """The JSON value that was sealed. Raises SecretUnreadable."""
    return json.loads(unseal(column, stored).decode("utf-8", "surrogatepass"))


def newest_head() -> bytes:
    """What every value begins with that the newest key has made."""
    return _ring().newest


def _ring() -> _Ring:
    return _ring_of((settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS))


@lru_cache(MOST_RINGS)
def _ring_of(secret_keys: tuple[str, ...]) -> _Ring:
    derived = [_derived(key) for key in secret_keys]
    heads = [VERSION + key_id for key_id, _ in derived]
    # Of keys with one id the earlier counts; that two have one by chance is one case in billions.
    ciphers = {head: AESGCMSIV(key) for head, (_, key) in reversed(list(zip(heads, derived, strict=True)))}
    return _Ring(heads[0], ciphers)


def _derived(secret_key: str) -> tuple[bytes, bytes]:
    """The id of a key, which tells nothing of it, and the key."""
    both = HKDF(algorithm=SHA256(), length=KEY_ID_BYTES + 32, salt=None, info=b"bursar content at rest")
    made = both.derive(secret_key.encode())
    return made[:KEY_ID_BYTES], made[KEY_ID_BYTES:]
