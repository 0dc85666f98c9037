"""The events of a streamed response, as the provider numbers them: each is told once, some while it is made."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Event = dict[str, Any]
# A response that has not ended goes out without these.
BEFORE_THE_END: Mapping[str, Any] = {"status": "in_progress", "output": [], "usage": None, "error": None}


class Telling:
    """The events of one response on their way to one client."""

    def __init__(self) -> None:
        self._number = 0
        # How much was told of each: of a text its length, of others that they were.
        self._told: dict[tuple[Any, ...], int] = {}

    def more(self, events: Iterable[Event]) -> list[Event]:
        """Of these events those that were not told yet, and each text as an addition to what was told of it."""
        news = []
        for event in events:
            place = _place(event)
            if place not in self._told or "delta" in event:
                self._told[place] = self._told.get(place, 0) + len(event.get("delta", ""))
                news.append(self.numbered(event))
        return news

    def rest(self, events: Iterable[Event]) -> list[Event]:
        """Of all events of the response what was not told yet."""
        news = []
        for event in events:
            told = self._told.get(_place(event))
            if told is not None and "delta" in event:
                event = {**event, "delta": event["delta"][told:]}
            if told is None or event.get("delta"):
                news.append(self.numbered(event))
        return news

    def numbered(self, event: Mapping[str, Any]) -> Event:
        """The event with the next number."""
        self._number += 1
        return {**event, "sequence_number": self._number - 1}


def _place(event: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells an event from the others of the same response."""
    return event["type"], event.get("output_index"), event.get("content_index")


def opening(response: Mapping[str, Any]) -> list[Event]:
    """The first two: it was made, and it is worked on."""
    begun = {**response, **BEFORE_THE_END, "incomplete_details": None, "completed_at": None}
    return [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]


def under_way(items: Iterable[Mapping[str, Any]]) -> list[Event]:
    """The events of items that are not at their end, but for those that say so; of one that says nothing, all."""
    return [
        event
        for index, item in enumerate(items)
        for event in _of_item(item, index)
        if item["type"] != "message" or not event["type"].endswith(".done")
    ]


def closing(response: Mapping[str, Any]) -> list[Event]:
    """All others, for a response that has ended: its items one after the other, and the whole once more."""
    told = [event for index, item in enumerate(response["output"]) for event in _of_item(item, index)]
    last: Event = {"type": f"response.{response['status']}", "response": dict(response)}
    return [*told, last]


def _of_item(item: Mapping[str, Any], index: int) -> Iterator[Event]:
    empty = {**item, "status": "in_progress"} if "status" in item else dict(item)
    match item["type"]:
        case "message":
            yield _item("added", {**empty, "content": []}, index)
            for number, part in enumerate(item["content"]):
                yield from _of_part(part, {"item_id": item["id"], "output_index": index, "content_index": number})
        case "function_call":
            yield _item("added", {**empty, "arguments": ""}, index)
            place = {"item_id": item["id"], "output_index": index}
            kind = "response.function_call_arguments"
            yield {"type": f"{kind}.delta", **place, "delta": item["arguments"]}
            yield {"type": f"{kind}.done", **place, "name": item["name"], "arguments": item["arguments"]}
        case _:
            yield _item("added", empty, index)
    yield _item("done", dict(item), index)


def _item(what: str, item: Mapping[str, Any], index: int) -> Event:
    return {"type": f"response.output_item.{what}", "output_index": index, "item": dict(item)}


def _of_part(part: Mapping[str, Any], place: Mapping[str, Any]) -> Iterator[Event]:
    kind, member = ("output_text", "text") if part["type"] == "output_text" else ("refusal", "refusal")
    logprobs: Event = {"logprobs": []} if kind == "output_text" else {}
    yield {"type": "response.content_part.added", **place, "part": {**part, member: ""}}
    yield {"type": f"response.{kind}.delta", **place, "delta": part[member], **logprobs}
    yield {"type": f"response.{kind}.done", **place, member: part[member], **logprobs}
    yield {"type": "response.content_part.done", **place, "part": dict(part)}
