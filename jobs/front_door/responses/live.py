"""A response as events, its text while it is made: what a client was told of it, and what is missing in the end."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.db import InterfaceError, OperationalError

from jobs import catalogue
from jobs.front_door.answers import choices_of
from jobs.front_door.endings import Refusal
from jobs.front_door.relayed import Relayed
from jobs.front_door.responses.answers import message_item, reasoning_item, response_of, text_part
from jobs.front_door.responses.events import Telling, closing, opening, under_way
from jobs.front_door.shapes import COMMENT, EVENT_STREAM, event, stream_quiet_seconds
from jobs.front_door.turns import turn
from jobs.models import Job
from jobs.streams import Delta


class ResponseEvents:
    """The events of one response, which name their kind beside the data and have no end but the last of them.

    Text is told while it is made. Refusals and calls of functions are told when they are whole.
    """

    content_type = EVENT_STREAM
    sign_of_life = COMMENT
    can_relay = True

    def __init__(self) -> None:
        self._telling = Telling()
        self._text = ""
        # Whether it has an item for its reasoning; not known before it has begun.
        self._reasons: bool | None = None

    @property
    def quiet_seconds(self) -> float:
        return stream_quiet_seconds()

    def relayed(self, relayed: Relayed, deltas: Iterable[Delta]) -> bytes:
        self._text += "".join(str(delta.message.get("content") or "") for delta in deltas if delta.choice == 0)
        if not self._text:
            return b""
        begun = b""
        if self._reasons is None:
            try:
                begun = self._begun(relayed)
            except (OperationalError, InterfaceError):
                return b""  # it begins with what is said next
        said = message_item(relayed.job_id, "in_progress", [text_part(self._text)])
        items = [reasoning_item(relayed.job_id), said] if self._reasons else [said]
        self._text = ""
        return begun + _all(self._telling.more(under_way(items)))

    def answer(self, job: Job, relayed: Relayed) -> bytes:
        relayed.rest(choices_of(job))
        response = response_of(job, reasons=self._reasons)
        return _all(self._telling.rest([*opening(response), *closing(response)]))

    def failure(self, refusal: Refusal) -> bytes | None:
        error = refusal.body()["error"]
        told = {"type": "error", "code": error["code"], "message": error["message"], "param": error["param"]}
        return _named(self._telling.numbered(told))

    def _begun(self, relayed: Relayed) -> bytes:
        with turn():
            job = Job.objects.select_related("content").get(pk=relayed.job_id)
            entry = catalogue.find(job.model)
        effort = job.content.request.get("reasoning_effort")
        self._reasons = entry is not None and entry.model.is_reasoning and effort != "none"
        return _all(self._telling.more(opening(response_of(job))))


def _all(events: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(map(_named, events))


def _named(told: Mapping[str, Any]) -> bytes:
    return f"event: {told['type']}\n".encode() + event(told)
