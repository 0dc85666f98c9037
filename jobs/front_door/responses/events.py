"""The events of a streamed response, as the provider numbers them: the answer comes whole, so each is sent once."""

from collections.abc import Iterator, Mapping
from typing import Any

Event = dict[str, Any]
# A response that has not ended goes out without these.
BEFORE_THE_END: Mapping[str, Any] = {"status": "in_progress", "output": [], "usage": None, "error": None}


def opening(response: Mapping[str, Any]) -> list[Event]:
    """The first two: it was made, and it is worked on."""
    begun = {**response, **BEFORE_THE_END, "incomplete_details": None, "completed_at": None}
    return [
        {"type": "response.created", "sequence_number": 0, "response": begun},
        {"type": "response.in_progress", "sequence_number": 1, "response": begun},
    ]


def closing(response: Mapping[str, Any]) -> list[Event]:
    """All others, for a response that has ended: its items one after the other, and the whole once more."""
    told = [event for index, item in enumerate(response["output"]) for event in _of_item(item, index)]
    last: Event = {"type": f"response.{response['status']}", "response": dict(response)}
    return [{**event, "sequence_number": number} for number, event in enumerate([*told, last], start=2)]


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
