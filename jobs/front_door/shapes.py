"""How an answer leaves: whole as JSON, or as a stream of events. Both can show a sign of life before it is there."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from django.conf import settings

from jobs.front_door.endings import Refusal
from jobs.front_door.relayed import Relayed
from jobs.models import Job
from jobs.streams import Delta

# A stream begins with the status 200 so soon that a refusal that is known at once still has a status of its own.
STREAM_QUIET_SECONDS = 2.0


EVENT_STREAM = "text/event-stream; charset=utf-8"
COMMENT = b": the job goes on\n\n"


def stream_quiet_seconds() -> float:
    """How long a stream says nothing, so that its status can still be any."""
    return min(STREAM_QUIET_SECONDS, float(settings.KEEPALIVE_SECONDS))


class Shape(Protocol):
    """`sign_of_life` means nothing to whoever reads the answer."""

    @property
    def content_type(self) -> str: ...

    @property
    def sign_of_life(self) -> bytes: ...

    @property
    def quiet_seconds(self) -> float:
        """How long nothing is sent, so that the status can still be any."""

    @property
    def can_relay(self) -> bool:
        """Whether an answer can be told while it is made."""

    def relayed(self, relayed: Relayed, deltas: Iterable[Delta]) -> bytes:
        """Some of an answer that is being made; nothing where this shape has no place for it before the end."""

    def answer(self, job: Job, relayed: Relayed) -> bytes:
        """The body for a job that was answered, or what is missing of it. Raises Contradiction."""

    def failure(self, refusal: Refusal) -> bytes | None:
        """The refusal, where a 200 was sent before; None where that cannot be said any more."""


@dataclass(frozen=True, slots=True)
class Whole:
    """One JSON object; blanks may stand before it."""

    body_of: Callable[[Job], Mapping[str, Any]]
    content_type: str = "application/json"
    sign_of_life: bytes = b" "
    can_relay: bool = False

    @property
    def quiet_seconds(self) -> float:
        return float(settings.KEEPALIVE_SECONDS)

    def relayed(self, relayed: Relayed, deltas: Iterable[Delta]) -> bytes:
        return b""

    def answer(self, job: Job, relayed: Relayed) -> bytes:
        # Indented and ended as the provider's are (recorded answers, 2025).
        return json.dumps(self.body_of(job), indent=2, ensure_ascii=False).encode() + b"\n"

    def failure(self, refusal: Refusal) -> bytes | None:
        return None


@dataclass(frozen=True, slots=True)
class Events:
    """Server-sent events; comments may stand between them."""

    chunk_of: Callable[[Mapping[str, Any], Delta], Mapping[str, Any]]
    chunks_of: Callable[[Job, Relayed], Iterator[Mapping[str, Any]]]
    content_type: str = EVENT_STREAM
    sign_of_life: bytes = COMMENT
    can_relay: bool = True

    @property
    def quiet_seconds(self) -> float:
        return stream_quiet_seconds()

    def relayed(self, relayed: Relayed, deltas: Iterable[Delta]) -> bytes:
        return b"".join(event(self.chunk_of(relayed.frame, delta)) for delta in deltas)

    def answer(self, job: Job, relayed: Relayed) -> bytes:
        return b"".join(map(event, self.chunks_of(job, relayed))) + b"data: [DONE]\n\n"

    def failure(self, refusal: Refusal) -> bytes | None:
        return event(refusal.body())


def event(body: Mapping[str, Any]) -> bytes:
    """One event whose data is a JSON object."""
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
