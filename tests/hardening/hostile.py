"""A provider that repeats what it was told wherever it can: in errors, in garbage, in headers and in answers."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.jobs.wire import Wire, read_request, response, serving

USAGE = {"prompt_tokens": 20, "completion_tokens": 30, "total_tokens": 50}
RESPONSES_USAGE = {"input_tokens": 20, "output_tokens": 30, "total_tokens": 50}


def _completion(answer: str, **other: Any) -> bytes:
    message = {"role": "assistant", "content": answer, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", **other.pop("choice", {})}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "model": "o1-mini-2024-09-12", "choices": [choice]}
    return json.dumps({**body, "usage": USAGE, **other}).encode()


def _error(status: str, told: str, *headers: str, **other: Any) -> bytes:
    error = {"message": told, "type": "invalid_request_error", "param": None, "code": "no", **other}
    return response(json.dumps({"error": error}).encode(), *headers, status=status)


# What is answered to a chat completion: `told` holds the prompt and the key, `answer` what the model says.
CASES: dict[str, Callable[[str, str], bytes | None]] = {
    "answer": lambda told, answer: response(_completion(answer)),
    "empty": lambda told, answer: response(_completion("", choice={"finish_reason": "length"})),
    "filtered": lambda told, answer: response(_completion(answer, choice={"finish_reason": "content_filter"})),
    "bad_request": lambda told, answer: _error("400 Bad Request", told),
    "names": lambda told, answer: _error("400 Bad Request", "no", code=told, type=told, param=told),
    "quoted": lambda told, answer: _error("400 Bad Request", json.dumps({"messages": told})),
    "unauthorized": lambda told, answer: _error("401 Unauthorized", told, code="invalid_api_key"),
    "forbidden": lambda told, answer: _error("403 Forbidden", told),
    "not_found": lambda told, answer: _error("404 Not Found", told, code="model_not_found"),
    "too_many": lambda told, answer: _error(
        "429 Too Many Requests", told, "Retry-After: 0", code="rate_limit_exceeded"
    ),
    "no_quota": lambda told, answer: _error("429 Too Many Requests", told, code="insufficient_quota"),
    "server_error": lambda told, answer: _error("500 Internal Server Error", told, type="server_error"),
    "unavailable": lambda told, answer: _error("503 Service Unavailable", told, type="server_error"),
    "gateway": lambda told, answer: response(f"<html>{told}</html>".encode(), status="502 Bad Gateway"),
    "other_json": lambda told, answer: response(json.dumps({"error": told}).encode(), status="502 Bad Gateway"),
    "message_alone": lambda told, answer: response(
        json.dumps({"error": {"message": told}}).encode(), status="502 Bad Gateway"
    ),
    "garbage": lambda told, answer: response(f"{told} {answer}".encode()),
    "half": lambda told, answer: response(_completion(answer)[:-20]),
    "usage_in_words": lambda told, answer: response(_completion(answer, usage={"prompt_tokens": told})),
    "no_usage": lambda told, answer: response(_completion(answer, usage=None)),
    "odd_choices": lambda told, answer: response(_completion(answer, choices=[{"message": told + answer}])),
    "odd_reason": lambda told, answer: response(_completion(answer, choice={"finish_reason": [told]})),
    "status_line": lambda told, answer: f"{json.dumps(told)} {answer}\r\n\r\n".encode(),
    "header": lambda told, answer: b"HTTP/1.1 200 OK\r\n" + json.dumps(told + answer).encode() + b"\r\n\r\n",
    "long_header": lambda told, answer: b"HTTP/1.1 200 OK\r\nX: " + (told + answer).encode() * 2000 + b"\r\n\r\n",
    "length": lambda told, answer: response(answer.encode(), f"Content-Length: {json.dumps(told)}"),
    "cut": lambda told, answer: response(_completion(answer), "Content-Length: 100000"),
    "nothing": lambda told, answer: b"",
    "silence": lambda told, answer: None,
    "redirect": lambda told, answer: response(
        told.encode(), f"Location: http://127.0.0.1:9/{json.dumps(told)[1:20]}", status="302 Found"
    ),
}


def _response(response_id: str, told: str, answer: str, case: str) -> bytes:
    """The end of a call in the background, which fails with what was told in one case."""
    body: dict[str, Any] = {"id": response_id, "object": "response", "model": "o3-2025-04-16"}
    error = {"code": "server_error", "message": told}
    match case:
        case "failed":
            body |= {"status": "failed", "error": error, "usage": None}
        case "failed_and_billed":
            body |= {"status": "failed", "error": error, "usage": RESPONSES_USAGE, "output": []}
        case "odd_status":
            body |= {"status": told + answer, "usage": None}
        case _:
            said = {"type": "message", "content": [{"type": "output_text", "text": answer}]}
            body |= {"status": "completed", "usage": RESPONSES_USAGE, "output": [said]}
    return json.dumps(body).encode()


BACKGROUND_CASES = ("completed", "failed", "failed_and_billed", "odd_status", "begun_badly")


class Hostile:
    """What it has told so far: the prompts by the ids of responses, so that a look is answered with them."""

    def __init__(self, wire: Wire, answers: Callable[[str], str]) -> None:
        self.wire, self._answers = wire, answers
        self._told: dict[str, tuple[str, str, str]] = {}

    def reply(self, request: bytes) -> bytes | None:
        head, _, body = request.partition(b"\r\n\r\n")
        method, path, _ = head.decode().split("\r\n")[0].split(" ")
        if method == "GET" and "/responses/" in path:
            response_id = path.rpartition("/")[2]
            return response(_response(response_id, *self._told[response_id]))
        prompt = _prompt(json.loads(body or b"{}"))
        key = re.search(r"(?i)authorization: bearer (\S+)", head.decode())
        told = f"{prompt} with {key[1] if key else ''}"
        found = re.search(r"case=(\w+)", prompt)
        case = found[1] if found else "answer"
        if not path.endswith("/responses"):
            return CASES[case](told, self._answers(prompt))
        if case == "begun_badly":
            return _error("400 Bad Request", told)
        response_id = f"resp_{len(self._told)}"
        self._told[response_id] = (told, self._answers(prompt), case)
        return response(json.dumps({"id": response_id, "object": "response", "status": "queued"}).encode())


def _prompt(body: dict[str, Any]) -> str:
    said = body.get("messages") or body.get("input") or ""
    content = said if isinstance(said, str) else said[-1]["content"]
    return content if isinstance(content, str) else content[0]["text"]


@contextmanager
def hostile_provider(answers: Callable[[str], str]) -> Iterator[Wire]:
    """Serves until the block ends. `answers`: what the model says to a prompt."""
    hostile: list[Hostile] = []

    def handle(connection: socket.socket, wire: Wire) -> None:
        if not hostile:
            hostile.append(Hostile(wire, answers))
        if not read_request(connection, wire):
            return
        reply = hostile[0].reply(wire.requests[-1])
        if reply is None:
            connection.settimeout(5)
            connection.recv(1)  # until the client has had enough
        else:
            connection.sendall(reply)

    with serving(handle) as wire:
        yield wire
