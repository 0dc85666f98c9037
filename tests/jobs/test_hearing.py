"""Streamed calls read from the bytes on the wire: what was heard, what it settles as, and what leaves it in doubt."""

import asyncio
import gzip
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from jobs import transport
from jobs.provider import Answer, Clients, Rejected, Uncertain, call
from jobs.streams import Delta
from tests.jobs.test_provider import GOOD, access_to, good
from tests.jobs.wire import Wire, answering, read_request, response, serving

BODY = {
    "model": "o3-mini",
    "messages": [{"role": "user", "content": "hello"}],
    "stream": True,
    "stream_options": {"include_usage": True},
}
FRAME = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "o1-mini-2024-09-12"}
HEADERS = ("Content-Type: text/event-stream; charset=utf-8", "x-request-id: req_1")


def event(body: Any) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def says(delta: dict[str, Any], reason: str | None = None) -> bytes:
    return event({**FRAME, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}], "usage": None})


BEGINNING = (
    says({"role": "assistant", "content": "", "refusal": None}) + says({"content": "h"}) + says({"content": "i"})
)
STOP = says({}, "stop")
USAGE = event({**FRAME, "choices": [], "usage": GOOD["usage"]})
DONE = b"data: [DONE]\n\n"
WHOLE = BEGINNING + STOP + USAGE + DONE


def ask(wire: Wire, told: list[Delta] | None = None, *, deadline_seconds: float = 5.0) -> Answer:
    async def once() -> Answer:
        async with Clients() as clients:
            return await call(
                clients,
                access_to(wire.base_url),
                BODY,
                attempt_id="attempt-1",
                deadline_seconds=deadline_seconds,
                tell=None if told is None else lambda frame, delta: told.append(delta),
            )

    return asyncio.run(once())


@contextmanager
def streaming(*pieces: bytes, is_cut: bool = False, pause_seconds: float = 0.0) -> Iterator[Wire]:
    """A server that answers with a stream of these pieces, and ends it properly unless it is to be cut."""

    def handle(connection: socket.socket, wire: Wire) -> None:
        if not read_request(connection, wire):
            return
        lines = ["HTTP/1.1 200 OK", *HEADERS, "Transfer-Encoding: chunked", "", ""]
        connection.sendall("\r\n".join(lines).encode())
        for piece in pieces:
            connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            time.sleep(pause_seconds)
        if not is_cut:
            connection.sendall(b"0\r\n\r\n")

    with serving(handle) as wire:
        yield wire


def test_a_stream_is_the_same_answer_as_one_that_comes_whole():
    message = {"role": "assistant", "content": "hi", "refusal": None}
    whole = good(choices=[{"index": 0, "message": message, "finish_reason": "stop"}])
    with answering(response(whole, "x-request-id: req_1")) as wire:
        unstreamed = ask(wire)  # one that does not know streams answers whole
    told: list[Delta] = []
    with streaming(WHOLE) as wire:
        streamed = ask(wire, told)
    assert streamed == unstreamed
    assert (streamed.message, streamed.request_id, streamed.headers["x-request-id"]) == (message, "req_1", "req_1")
    assert "".join(delta.message.get("content") or "" for delta in told) == "hi"
    assert json.loads(wire.requests[0].partition(b"\r\n\r\n")[2]) == BODY


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_stream_is_read_however_it_is_cut_into_pieces(size):
    with streaming(*(WHOLE[at : at + size] for at in range(0, len(WHOLE), size))) as wire:
        assert ask(wire).message["content"] == "hi"


def test_a_stream_that_is_packed_is_unpacked():
    packed = gzip.compress(WHOLE)
    headers = [f"Content-Length: {len(packed)}", "Content-Encoding: gzip", *HEADERS]
    with answering("\r\n".join(["HTTP/1.1 200 OK", *headers, "", ""]).encode() + packed) as wire:
        assert ask(wire).message["content"] == "hi"


@pytest.mark.parametrize("end", [USAGE, USAGE + DONE[:5]])
def test_what_comes_after_the_usage_may_be_lost(end):
    with streaming(BEGINNING + STOP + end, is_cut=True) as wire:
        answer = ask(wire)
    assert (answer.message["content"], answer.tokens.output) == ("hi", GOOD["usage"]["completion_tokens"])


@pytest.mark.parametrize(
    ("pieces", "is_cut", "code", "is_kept"),
    [
        ([], True, "connection_lost", False),
        ([], False, "answer_unreadable", False),
        ([BEGINNING], True, "connection_lost", False),
        ([BEGINNING + STOP], True, "connection_lost", False),  # all of the text, and not what it was billed for
        ([BEGINNING + STOP + USAGE[:-3]], True, "connection_lost", False),
        ([BEGINNING], False, "answer_unreadable", False),
        ([BEGINNING + DONE], False, "answer_unreadable", False),
        ([BEGINNING + STOP + DONE], False, "usage_unreadable", True),
        ([BEGINNING + USAGE + DONE], False, "answer_unreadable", False),  # nobody says that it has ended
        ([DONE], False, "answer_unreadable", False),
        ([BEGINNING, b'data: {"id": "chatc\n\n', STOP + USAGE + DONE], False, "answer_unreadable", False),
        ([BEGINNING + STOP + USAGE, b"data: nothing\n\n"], False, "answer_unreadable", False),
        ([BEGINNING + STOP + USAGE, b"data: nothing\n\n"], True, "answer_unreadable", False),
        ([BEGINNING + STOP + USAGE, event({"error": "it broke"})], True, "error_in_stream", False),
        ([BEGINNING, b"data: [1]\n\n", STOP + USAGE + DONE], False, "answer_unreadable", False),
        ([BEGINNING, event({**FRAME, "choices": [{}]}), STOP + USAGE + DONE], False, "answer_unreadable", False),
        ([BEGINNING, b"data: " + b"[" * 100_000 + b"\n\n", STOP + USAGE], False, "answer_unreadable", False),
        (
            [BEGINNING, event({"error": {"message": "it broke", "type": "server_error"}})],
            False,
            "error_in_stream",
            False,
        ),
        ([BEGINNING, event({"error": "it broke"}), STOP + USAGE + DONE], False, "error_in_stream", False),
    ],
)
def test_a_stream_that_lacks_something_is_in_doubt(pieces, is_cut, code, is_kept):
    with streaming(*pieces, is_cut=is_cut) as wire, pytest.raises(Uncertain) as doubt:
        ask(wire)
    assert doubt.value.code == code
    assert bool(doubt.value.kept) is is_kept
    assert ("it broke" in str(doubt.value)) is (code == "error_in_stream")


def test_an_error_in_a_stream_does_not_repeat_the_prompt():
    error = event({"error": {"message": "flagged: hello and so on, with sk-test-key", "type": "invalid_request_error"}})
    with streaming(BEGINNING, error) as wire, pytest.raises(Uncertain) as doubt:
        ask(wire)
    assert "sk-test-key" not in str(doubt.value)


def test_nothing_is_told_after_a_chunk_that_cannot_be_read():
    told: list[Delta] = []
    rest = says({"content": "!"}) + STOP + USAGE + DONE
    with streaming(BEGINNING, b"data: nothing\n\n", rest) as wire, pytest.raises(Uncertain):
        ask(wire, told)
    assert [delta.message.get("content") for delta in told] == ["", "h", "i"]


def test_a_refusal_before_the_stream_is_one_as_ever():
    error = b'{"error": {"message": "no stream", "type": "invalid_request_error", "param": "stream", "code": "x"}}'
    with answering(response(error, status="400 Bad Request")) as wire, pytest.raises(Rejected) as refused:
        ask(wire)
    assert refused.value.rejection.param == "stream"


def test_the_deadline_holds_for_the_whole_stream():
    started = time.monotonic()
    with streaming(*[says({"content": "x"})] * 100, pause_seconds=0.05) as wire:
        with pytest.raises(Uncertain) as doubt:
            ask(wire, deadline_seconds=0.5)
        assert time.monotonic() - started < 2.5
    assert doubt.value.code == "timeout"


def test_a_stream_without_end_is_cut_off(monkeypatch):
    monkeypatch.setattr(transport, "MOST_ANSWER_BYTES", 20_000)
    with streaming(*[says({"content": "x" * 1000})] * 30) as wire, pytest.raises(Uncertain) as doubt:
        ask(wire)
    assert "more than 20000 bytes" in str(doubt.value)


def test_a_long_answer_costs_no_more_a_chunk_than_a_short_one():
    """Text is added to what there is, and not copied: that would take minutes here."""
    pieces = [says({"content": "word " * 3}) * 100] * 600
    started = time.monotonic()
    with streaming(*pieces, STOP + USAGE + DONE) as wire:
        assert len(ask(wire, deadline_seconds=60.0).message["content"]) == 60_000 * 15
    assert time.monotonic() - started < 20
