"""Chat completions as event streams: some words at a time, while the model is at work on them.

Reasoning comes first and shows nothing. The last chunks say how it ended and what was used, and are sent when the bill
is written. Hanging up does not stop the work.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any

from aiohttp import web

from config.simulator import replies
from config.simulator.calls import PROVIDER, Making, Order
from config.simulator.faults import ODD_USAGE_KINDS, STREAM_KINDS, Fault

WORDS_PER_CHUNK = 4
# Kinds of faults that a stream has in a way of its own, rather than instead of it.
KINDS = STREAM_KINDS | ODD_USAGE_KINDS | {"cut_in_the_body"}
ERROR = {
    "message": "The server had an error while processing your request. Sorry about that!",
    "type": "server_error",
    "param": None,
    "code": None,
}

Chunk = dict[str, Any]


def begins_well(fault: Fault | None) -> bool:
    """Whether a streamed call begins as if nothing befell it."""
    return fault is None or fault.kind in KINDS


async def stream(http: web.Request, order: Order, fault: Fault | None) -> web.StreamResponse:
    """The completion as server-sent events, with what the fault makes of them half way."""
    provider, making = http.app[PROVIDER], http.app[PROVIDER].making_of(order)
    work = provider.start(provider.bring_about(order, making))
    response = web.StreamResponse(
        headers={**replies.order_headers(order), "content-type": "text/event-stream; charset=utf-8"}
    )
    await response.prepare(http)
    chunks = list(_words(order, making.completion))
    pause = making.seconds * _visible_share(making) / len(chunks)
    await asyncio.sleep(making.seconds - pause * len(chunks))
    for number, chunk in enumerate(chunks):
        if fault is not None and number == len(chunks) // 2:
            await _strike(http, response, fault, work)
            if fault.kind == "error_event":
                return response
        await asyncio.sleep(pause)
        await response.write(_event(chunk))
    completion = await asyncio.shield(work)
    if fault is not None and fault.kind in ODD_USAGE_KINDS:
        completion = replies.with_odd_usage(fault.kind, completion)
    provider.counters.answered += 1
    for chunk in _ends(order, completion):
        await response.write(_event(chunk))
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response


async def _strike(
    http: web.Request, response: web.StreamResponse, fault: Fault, work: "asyncio.Task[dict[str, Any]]"
) -> None:
    """What befalls the stream half way. Does not return where the connection is aborted."""
    match fault.kind:
        case "cut_before_the_end":
            work.cancel()
        case "cut_in_the_body":
            await asyncio.shield(work)
        case "garbage_chunk":
            await response.write(b'data: {"id": "chatcmpl-\n\n')
            return
        case "error_event":
            work.cancel()
            await response.write(_event({"error": ERROR}))
            await response.write_eof()
            return
        case _:
            return
    await asyncio.sleep(0.01)  # what was written goes out before the reset
    await replies.abort(http)


def _visible_share(making: Making) -> float:
    """How much of the time is spent on what is seen."""
    spent = making.spent
    return 1 - spent.reasoning_tokens / spent.completion_tokens if spent.completion_tokens else 1.0


def _words(order: Order, completion: Mapping[str, Any]) -> Iterator[Chunk]:
    for choice in completion["choices"]:
        for delta in _deltas(choice["message"]["content"]):
            yield _chunk(order, completion, choice, delta, None)


def _ends(order: Order, completion: Mapping[str, Any]) -> Iterator[Chunk]:
    """How each choice ended, and the usage where it was asked for: in a chunk without choices, the last."""
    for choice in completion["choices"]:
        yield _chunk(order, completion, choice, {}, choice["finish_reason"])
    if order.request.include_usage and "usage" in completion:
        yield {**_frame(completion), "choices": [], "usage": completion["usage"]}


def _chunk(
    order: Order, completion: Mapping[str, Any], choice: Mapping[str, Any], delta: Chunk, reason: str | None
) -> Chunk:
    logprobs = {"logprobs": None} if "logprobs" in choice else {}
    said = {"index": choice["index"], "delta": delta, **logprobs, "finish_reason": reason}
    usage = {"usage": None} if order.request.include_usage else {}
    return {**_frame(completion), "choices": [said], **usage}


def _frame(completion: Mapping[str, Any]) -> Chunk:
    frame = {name: completion[name] for name in ("id", "created", "model", "service_tier", "system_fingerprint")}
    return {"id": frame.pop("id"), "object": "chat.completion.chunk", **frame}


def _deltas(text: str) -> list[Chunk]:
    words = text.split(" ")
    pieces = [" ".join(words[at : at + WORDS_PER_CHUNK]) for at in range(0, len(words), WORDS_PER_CHUNK)]
    return [
        {"role": "assistant", "content": "", "refusal": None},
        *({"content": piece if not number else f" {piece}"} for number, piece in enumerate(pieces) if piece),
    ]


def _event(body: Any) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
