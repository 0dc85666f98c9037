"""Which calls are made as streams: those whose client reads along, of models that stream, while the provider lets us.

An organization that the provider has not verified is refused streams of some models (a 400 that names `stream`). The
job then goes on without one, and for a while no other is tried: each try is a request, and a second of waiting.
"""

from collections.abc import Mapping
from time import monotonic
from typing import Any

from jobs import limiter
from jobs.catalogue import CatalogueEntry
from jobs.credentials import Access
from jobs.models.catalogue import Endpoint
from jobs.retries import Rejection

# "If you just verified, it can take up to 15 minutes for access to propagate" (recorded body, 2025).
REFUSED_SECONDS = 900.0
PARAMETERS = frozenset({"stream", "stream_options"})

# When the refusal of a model on an account was heard of; each process learns it by itself.
_refused_at: dict[tuple[str, str], float] = {}


def can_stream(request: Mapping[str, Any], entry: CatalogueEntry | None, access: Access) -> bool:
    """Whether the model streams its answers by chat, as far as the catalogue and the provider's latest word say."""
    if entry is None or Endpoint.CHAT not in entry.model.endpoints or not set(entry.model.parameters) >= PARAMETERS:
        return False
    refused_at = _refused_at.get(_key(access, request))
    return refused_at is None or monotonic() > refused_at + REFUSED_SECONDS


def as_stream(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body as one that asks for a stream. Usage comes last in it, and only where it is asked for."""
    return {**body, "stream": True, "stream_options": {"include_usage": True}}


def is_refused(body: Mapping[str, Any], access: Access, rejection: Rejection) -> bool:
    """Whether a call was refused for being a stream, and nothing else; noted for those that come after it."""
    names = rejection.param in PARAMETERS or (rejection.param or "").startswith("stream_options.")
    if not body.get("stream") or rejection.status not in (400, 422) or not names:
        return False
    _refused_at[_key(access, body)] = monotonic()
    return True


def _key(access: Access, body: Mapping[str, Any]) -> tuple[str, str]:
    return limiter.account_of(access), str(body.get("model"))
