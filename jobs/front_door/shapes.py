"""How an answer leaves: whole as JSON, or as a stream of events. Both can show a sign of life before it is there."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from django.conf import settings

from jobs.front_door.endings import Refusal
from jobs.models import Job

# A stream begins with the status 200 so soon that a refusal that is known at once still has a status of its own.
STREAM_QUIET_SECONDS = 2.0


class Shape(Protocol):
    """`sign_of_life` means nothing to whoever reads the answer."""

    @property
    def content_type(self) -> str: ...

    @property
    def sign_of_life(self) -> bytes: ...

    @property
    def quiet_seconds(self) -> float:
        """How long nothing is sent, so that the status can still be any."""

    def answer(self, job: Job) -> bytes:
        """The body for a job that was answered."""

    def failure(self, refusal: Refusal) -> bytes | None:
        """The refusal, where a 200 was sent before; None where that cannot be said any more."""


@dataclass(frozen=True, slots=True)
class Whole:
    """One JSON object; blanks may stand before it."""

    body_of: Callable[[Job], Mapping[str, Any]]
    content_type: str = "application/json"
    sign_of_life: bytes = b" "

    @property
    def quiet_seconds(self) -> float:
        return float(settings.KEEPALIVE_SECONDS)

    def answer(self, job: Job) -> bytes:
        # Indented and ended as the provider's are (recorded answers, 2025).
        return json.dumps(self.body_of(job), indent=2, ensure_ascii=False).encode() + b"\n"

    def failure(self, refusal: Refusal) -> bytes | None:
        return None


@dataclass(frozen=True, slots=True)
class Events:
    """Server-sent events; comments may stand between them."""

    chunks_of: Callable[[Job], Iterator[Mapping[str, Any]]]
    content_type: str = "text/event-stream; charset=utf-8"
    sign_of_life: bytes = b": the job goes on\n\n"

    @property
    def quiet_seconds(self) -> float:
        return min(STREAM_QUIET_SECONDS, float(settings.KEEPALIVE_SECONDS))

    def answer(self, job: Job) -> bytes:
        return b"".join(map(event, self.chunks_of(job))) + b"data: [DONE]\n\n"

    def failure(self, refusal: Refusal) -> bytes | None:
        return event(refusal.body())


def event(body: Mapping[str, Any]) -> bytes:
    """One event whose data is a JSON object."""
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
