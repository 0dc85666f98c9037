"""What came of a call: read from the bytes on the wire, the malformed ones above all."""

import asyncio
import gc
import gzip
import json
import random
import socket
import zlib
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jobs import provider, transport
from jobs.credentials import Access
from jobs.provider import Answer, Clients, Kept, Rejected, Uncertain, Unreachable, call
from tests.jobs.wire import Wire, answering, read_request, response, serving

BODY = {"model": "o1-mini", "messages": [{"role": "user", "content": "hello"}]}
GOOD: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "o1-mini-2024-09-12",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {
        "prompt_tokens": 43,
        "completion_tokens": 1511,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 256},
    },
}


def access_to(base_url: str, **ids: str | None) -> Access:
    return Access(
        base_url,
        "sk-test-key",
        ids.get("provider_organization_id"),
        ids.get("provider_project_id"),
        serves_shut_down_models=False,
    )


def ask(wire: Wire | str | Access, *, times: int = 1, pause_seconds: float = 0.0) -> Answer:
    """The answer to a call, or to the last of several that one event loop makes."""
    base_url = wire if isinstance(wire, str) else getattr(wire, "base_url", "")
    access = wire if isinstance(wire, Access) else access_to(base_url)

    async def calls() -> Answer:
        async with Clients() as clients:
            for number in range(times):
                await asyncio.sleep(pause_seconds if number else 0.0)
                answer = await call(clients, access, BODY, attempt_id="attempt-1", deadline_seconds=5.0)
            return answer

    return asyncio.run(calls())


def good(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def choice(**changes: Any) -> list[dict[str, Any]]:
    return [{**GOOD["choices"][0], **changes}]


def usage(**changes: Any) -> dict[str, Any]:
    merged = {**GOOD["usage"], **changes}
    return {name: value for name, value in merged.items() if value != "absent"}


# --- A good answer ----------------------------------------------------------------------------------------------------
def test_an_answer_is_read_with_its_tokens_and_its_ids():
    with answering(response(good(), "x-request-id: req_1")) as wire:
        answer = ask(wire)
    assert (answer.response_id, answer.request_id, answer.snapshot) == ("chatcmpl-1", "req_1", "o1-mini-2024-09-12")
    assert (answer.message["content"], answer.finish_reason, answer.is_empty) == ("hi", "stop", False)
    tokens = answer.tokens
    assert (tokens.input, tokens.cached_input, tokens.output, tokens.reasoning) == (43, 3, 1511, 256)
    assert answer.usage == GOOD["usage"]


def test_a_call_is_sent_once_with_the_attempts_id():
    with answering(response(good())) as wire:
        ask(wire)
    assert len(wire.requests) == 1
    assert wire.header("x-client-request-id") == "attempt-1"
    assert wire.header("authorization") == "Bearer sk-test-key"
    assert json.loads(wire.requests[0].partition(b"\r\n\r\n")[2]) == BODY


@pytest.mark.parametrize("details", [None, {}, {"cached_tokens": None}, "absent"])
def test_a_gateway_that_gives_no_details_gives_no_discount_and_no_reasoning(details):
    body = good(usage=usage(prompt_tokens_details=details, completion_tokens_details=details))
    with answering(response(body)) as wire:
        tokens = ask(wire).tokens
    assert (tokens.cached_input, tokens.reasoning) == (0, 0)


@pytest.mark.parametrize(
    ("message", "output_tokens", "is_empty"),
    [
        ({"content": ""}, 300, True),
        ({"content": None}, 300, True),
        ({}, 300, True),
        ({"content": "", "tool_calls": []}, 300, True),
        ({"content": ""}, 0, False),  # nothing was paid for the answer
        ({"content": "x"}, 300, False),
        ({"content": None, "refusal": "no"}, 300, False),
        ({"content": None, "tool_calls": [{"id": "1"}]}, 300, False),
        ({"content": None, "function_call": {"name": "f"}}, 300, False),
        ({"content": None, "audio": {"id": "a"}}, 300, False),
    ],
)
def test_an_answer_is_empty_when_tokens_were_paid_and_nothing_can_be_seen(message, output_tokens, is_empty):
    spent = usage(completion_tokens=output_tokens, completion_tokens_details={"reasoning_tokens": output_tokens})
    with answering(response(good(choices=choice(message=message), usage=spent))) as wire:
        assert ask(wire).is_empty is is_empty


@pytest.mark.parametrize(
    ("ids", "sent"),
    [
        ({"provider_organization_id": "org-a", "provider_project_id": "proj_a"}, ("org-a", "proj_a")),
        ({"provider_organization_id": "org-a"}, ("org-a", None)),
        ({}, (None, None)),
    ],
)
def test_the_ids_of_an_access_go_with_its_calls(ids, sent, monkeypatch):
    monkeypatch.delenv("OPENAI_ORG_ID", raising=False)
    monkeypatch.delenv("OPENAI_PROJECT_ID", raising=False)
    with answering(response(good())) as wire:
        ask(access_to(wire.base_url, **ids))
    assert (wire.header("openai-organization"), wire.header("openai-project")) == sent


def test_the_ids_of_the_environment_are_not_mixed_into_an_access_without_any(monkeypatch):
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-the-deployment")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj_of_the_deployment")
    with answering(response(good())) as wire:
        ask(wire)
    assert (wire.header("openai-organization"), wire.header("openai-project")) == (None, None)


# --- A 200 that cannot be read was billed all the same ----------------------------------------------------------------
MALFORMED = {
    "nothing": b"",
    "no JSON": b"<html>welcome</html>",
    "half of it": good()[:-20],
    "not UTF-8": b'{"id": "\xff\xfe"}',
    "null": b"null",
    "a list": b"[]",
    "a text": b'"ok"',
    "a number": b"7",
    "an empty object": b"{}",
    "an error": b'{"error": {"message": "no"}}',
    "no choices": good(choices=[]),
    "choices of null": good(choices=None),
    "choices in an object": good(choices={"0": GOOD["choices"][0]}),
    "a choice that is a text": good(choices=["hi"]),
    "no message": good(choices=[{"finish_reason": "stop"}]),
    "a message of null": good(choices=choice(message=None)),
    "a message that is a text": good(choices=choice(message="hi")),
    "no finish reason": good(choices=choice(finish_reason=None)),
    "an empty finish reason": good(choices=choice(finish_reason="")),
    "no id": good(id=None),
    "an empty id": good(id=""),
    "an id that is a number": good(id=7),
    "no model": good(model=None),
    "a number of 5,000 digits": good().replace(b"1511", b"9" * 5000),
}
NOT_TO_BE_BELIEVED = {
    "no usage": json.dumps({name: value for name, value in GOOD.items() if name != "usage"}).encode(),
    "usage of null": good(usage=None),
    "usage in a list": good(usage=[43, 1511]),
    "no prompt tokens": good(usage=usage(prompt_tokens="absent")),
    "no completion tokens": good(usage=usage(completion_tokens="absent")),
    "tokens of null": good(usage=usage(completion_tokens=None)),
    "tokens in a text": good(usage=usage(completion_tokens="1511")),
    "half a token": good(usage=usage(completion_tokens=1511.5)),
    "whole tokens as a float": good(usage=usage(completion_tokens=1511.0)),
    "tokens that are true": good(usage=usage(prompt_tokens=True)),
    "negative tokens": good(usage=usage(completion_tokens=-1)),
    "negative reasoning": good(usage=usage(completion_tokens_details={"reasoning_tokens": -1})),
    "more cached than there were": good(usage=usage(prompt_tokens_details={"cached_tokens": 44})),
    "more reasoning than output": good(usage=usage(completion_tokens_details={"reasoning_tokens": 1512})),
    "details in a text": good(usage=usage(prompt_tokens_details="none")),
    "cached tokens in a text": good(usage=usage(prompt_tokens_details={"cached_tokens": "3"})),
    "tokens that are infinite": good().replace(b"1511", b"Infinity"),
    "more tokens than there can be": good(usage=usage(completion_tokens=10**9 + 1)),
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_an_unreadable_200_leaves_the_outcome_open(body):
    with answering(response(body, "x-request-id: req_1")) as wire, pytest.raises(Uncertain) as doubt:
        ask(wire)
    assert (doubt.value.code, doubt.value.status, doubt.value.request_id) == ("answer_unreadable", 200, "req_1")
    assert doubt.value.kept is None
    assert "unreadable body" in str(doubt.value)
    assert len(str(doubt.value)) < 400
    assert len(wire.requests) == 1


@pytest.mark.parametrize("body", NOT_TO_BE_BELIEVED.values(), ids=NOT_TO_BE_BELIEVED.keys())
def test_usage_that_cannot_be_true_leaves_the_bill_open_and_keeps_the_answer(body):
    with answering(response(body, "x-request-id: req_1")) as wire, pytest.raises(Uncertain) as doubt:
        ask(wire)
    assert (doubt.value.code, doubt.value.status, doubt.value.request_id) == ("usage_unreadable", 200, "req_1")
    assert doubt.value.kept == Kept("chatcmpl-1", "o1-mini-2024-09-12", GOOD["choices"][0]["message"], "stop")
    assert len(str(doubt.value)) < 400


def test_a_body_nested_without_end_leaves_the_outcome_open():
    with answering(response(b"[" * 200_000)) as wire, pytest.raises(Uncertain):
        ask(wire)


@pytest.mark.parametrize(
    ("status", "known"), [("204 No Content", "answer_unreadable"), ("206 Partial Content", "answer_unreadable")]
)
def test_another_success_than_200_without_an_answer_is_open_as_well(status, known):
    with answering(response(b"", status=status)) as wire, pytest.raises(Uncertain) as doubt:
        ask(wire)
    assert doubt.value.code == known


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        response(good(), f"Content-Length: {len(good()) + 1}"),
        response(b"no gzip", "Content-Encoding: gzip"),
        response(gzip.compress(good())[:-12], "Content-Encoding: gzip"),
        b"SSH-2.0-OpenSSH_9.6\r\n",
        response(b"zz\r\n", "Transfer-Encoding: chunked", "Content-Length-Is: none"),
    ],
    ids=["closed", "half a head", "too short", "no gzip", "half a gzip", "another protocol", "broken chunks"],
)
def test_a_connection_that_breaks_after_the_request_left_leaves_the_outcome_open(data):
    with answering(data) as wire, pytest.raises(Uncertain) as doubt:
        ask(wire)
    assert doubt.value.code in {"connection_lost", "answer_unreadable"}
    assert len(wire.requests) == 1


def test_a_connection_that_is_reset_leaves_the_outcome_open():
    def reset(connection: socket.socket, wire: Wire) -> None:
        read_request(connection, wire)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with serving(reset) as wire, pytest.raises(Uncertain) as doubt:
        ask(wire)
    assert doubt.value.code == "connection_lost"


def test_an_answer_without_end_is_not_read_for_ever(monkeypatch):
    monkeypatch.setattr(transport, "MOST_ANSWER_BYTES", 2**20)

    def endless(connection: socket.socket, wire: Wire) -> None:
        read_request(connection, wire)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        while True:
            connection.sendall(b" " * 65536)

    with serving(endless) as wire, pytest.raises(Uncertain, match="more than 1048576 bytes") as doubt:
        ask(wire)
    assert doubt.value.code == "connection_lost"


@pytest.mark.parametrize(("pack", "name"), [(gzip.compress, "gzip"), (zlib.compress, "deflate")])
def test_an_answer_is_unpacked(pack, name):
    with answering(response(pack(good()), f"Content-Encoding: {name}")) as wire:
        assert ask(wire).response_id
        assert set((wire.header("Accept-Encoding") or "").split(", ")) == {"gzip", "deflate"}


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "500 Internal Server Error"])
def test_an_answer_that_unpacks_without_end_is_not_unpacked(monkeypatch, status):
    """What it says is not known, a refusal neither, so it may have been billed."""
    monkeypatch.setattr(transport, "MOST_ANSWER_BYTES", 2**20)
    bomb = gzip.compress(good() + b" " * 2**23)
    assert len(bomb) < 2**14
    with answering(response(bomb, "Content-Encoding: gzip", status=status)) as wire, pytest.raises(Uncertain) as doubt:
        ask(wire)
    assert "more than 1048576 bytes" in str(doubt.value)


def test_an_answer_of_a_few_bytes_is_not_unpacked_to_millions():
    """Some calls of others would wait for each such answer; what repeats itself in a small one is an answer still."""
    repeated = good() + b" " * (transport.HARMLESS_BYTES - len(good()))
    with answering(response(gzip.compress(repeated), "Content-Encoding: gzip")) as wire:
        assert ask(wire).response_id
    bomb = gzip.compress(repeated + b" " * 2**20)
    with answering(response(bomb, "Content-Encoding: gzip")) as wire, pytest.raises(Uncertain, match="100 times"):
        ask(wire)


def test_a_long_answer_of_many_bytes_is_unpacked_whole():
    """The measure is what was unpacked from, however much of it came at once."""
    words = random.Random(7).choices([f"word{number}" for number in range(50_000)], k=800_000)
    long = json.loads(good())
    long["choices"][0]["message"]["content"] = " ".join(words)
    body = json.dumps(long).encode()
    assert len(body) > 3 * transport.HARMLESS_BYTES
    with answering(response(gzip.compress(body), "Content-Encoding: gzip")) as wire:
        assert ask(wire).response_id


@pytest.mark.parametrize("blanks", [2**14 - 1, 2**14, 3 * 2**14 + 100])
def test_an_answer_is_unpacked_in_measures_and_the_calls_of_others_go_on_between(monkeypatch, blanks):
    monkeypatch.setattr(transport, "UNPACKED_AT_ONCE", 2**10)
    body, rounds = good() + b" " * blanks, 0

    async def pieces():
        yield gzip.compress(body)  # all of it is there, so that nothing else is waited for

    async def others():
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    async def both() -> bytes:
        async with asyncio.TaskGroup() as group:
            beside = group.create_task(others())
            said = await transport._whole(cast("Any", answer))
            beside.cancel()
            return said

    answer = SimpleNamespace(headers={"Content-Encoding": "gzip"}, content=SimpleNamespace(iter_any=pieces))
    assert asyncio.run(both()) == body
    assert rounds >= blanks // 2**10


def test_an_answer_that_is_packed_as_nobody_asked_is_not_guessed_at():
    with answering(response(good(), "Content-Encoding: br")) as wire, pytest.raises(Uncertain, match="packed as 'br'"):
        ask(wire)


# --- Refusals ---------------------------------------------------------------------------------------------------------
def refusal(status: str, body: bytes, *headers: str) -> Rejected | Uncertain:
    with answering(response(body, *headers, status=status)) as wire, pytest.raises((Rejected, Uncertain)) as refused:
        ask(wire)
    assert len(wire.requests) == 1  # the client does not repeat anything by itself
    return refused.value


def error_body(**fields: Any) -> bytes:
    return json.dumps({"error": {"message": "No.", "type": "t", "param": None, "code": "c", **fields}}).encode()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 429, 500, 503, 529])
def test_a_refusal_is_read_with_the_providers_words(status):
    error = refusal(f"{status} Some Reason", error_body(param="model"), "x-request-id: req_9")
    assert isinstance(error, Rejected)
    told = error.rejection
    assert (told.status, told.code, told.type, told.param, told.message) == (status, "c", "t", "model", "No.")
    assert (error.request_id, told.is_final, told.retry_after) == ("req_9", False, None)


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 520, 522, 524, 529])
def test_a_gateways_error_leaves_the_outcome_open(status):
    error = refusal(f"{status} Some Reason", b"<html>Bad gateway</html>", "x-request-id: req_9")
    assert isinstance(error, Uncertain)
    assert (error.code, error.status, error.request_id) == ("gateway_error", status, "req_9")


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"null", b'{"error": "oops"}', b'{"error": null}', b"[" * 9999]
)
def test_a_refusal_without_a_readable_error_is_still_a_refusal(body):
    error = refusal("400 Bad Request", body)
    assert isinstance(error, Rejected)
    assert (error.rejection.status, error.rejection.code, error.rejection.param) == (400, "", None)
    assert error.rejection.message


def test_a_redirect_is_not_followed():
    error = refusal("302 Found", b"", "Location: http://127.0.0.1:1/v1/chat/completions")
    assert isinstance(error, Rejected)
    assert error.rejection.status == 302


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], None),
        (["retry-after: 20"], 20.0),
        (["retry-after: 0"], 0.0),
        (["retry-after: 1.5"], 1.5),
        (["retry-after-ms: 1500"], 1.5),
        (["retry-after-ms: 1500", "retry-after: 2"], 1.5),
        (["retry-after-ms: soon", "retry-after: 2"], 2.0),
        (["retry-after-ms: -1", "retry-after: 2"], 2.0),
        (["retry-after: Wed, 21 Oct 2026 07:28:00 GMT"], None),
        (["retry-after: Wed, 21 Oct 2026 07:28:30 GMT", "date: Wed, 21 Oct 2026 07:28:00 GMT"], 30.0),
        (["retry-after: Wed, 21 Oct 2026 07:27:00 GMT", "date: Wed, 21 Oct 2026 07:28:00 GMT"], 0.0),
        (["retry-after: Wed, 21 Oct 2026 07:28:00 GMT", "date: soon"], None),
        (["retry-after: -5"], None),
        (["retry-after: inf"], None),
        (["retry-after: nan"], None),
        (["retry-after: "], None),
    ],
)
def test_how_long_the_provider_asks_to_wait(headers, seconds):
    assert refusal("429 Too Many Requests", error_body(), *headers).rejection.retry_after == seconds


@pytest.mark.parametrize(("value", "is_final"), [("false", True), ("true", False)])
def test_the_provider_may_say_itself_that_a_retry_is_useless(value, is_final):
    assert refusal("503 Unavailable", error_body(), f"x-should-retry: {value}").rejection.is_final is is_final


# --- Nothing sent -----------------------------------------------------------------------------------------------------
def test_a_refused_connection_sent_nothing():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(Unreachable, match="Refused"):
        ask(f"http://127.0.0.1:{port}/v1")


def test_an_unknown_host_sent_nothing():
    with pytest.raises(Unreachable):
        ask("http://no-such-host.invalid/v1")


# The event loop leaves the socket of a handshake that failed to be collected: here, and not in the next test.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_server_without_tls_was_sent_nothing():
    with serving(lambda connection, wire: connection.sendall(b"no TLS")) as wire, pytest.raises(Unreachable):
        ask(wire.base_url.replace("http:", "https:"))
    assert wire.requests == []
    gc.collect()


def test_a_connection_that_is_not_accepted_in_time_sent_nothing(settings):
    settings.CALL_CONNECT_TIMEOUT_SECONDS = 0.3
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        address = deaf.getsockname()
        waiting = [socket.socket() for _ in range(4)]  # they fill the queue of connections not yet accepted
        try:
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(address)
            with pytest.raises(Unreachable):
                ask(f"http://127.0.0.1:{address[1]}/v1")
        finally:
            for one in waiting:
                one.close()


@pytest.mark.parametrize(("is_sent", "expected"), [(False, Unreachable), (True, Uncertain)])
def test_whatever_the_client_raises_only_what_was_sent_decides(monkeypatch, caplog, is_sent, expected):
    def fails(clients: Clients, access: Access):
        transport.sending.get().is_sent = is_sent
        raise ZeroDivisionError("a fault of the client's own")

    monkeypatch.setattr(Clients, "client", fails)
    with pytest.raises(expected, match="a fault of the client's own"):
        ask("http://127.0.0.1:1/v1")
    assert "attempt-1" in caplog.text


def test_a_handshake_that_is_never_answered_sent_nothing(settings):
    settings.CALL_CONNECT_TIMEOUT_SECONDS = 0.3

    def silent(connection: socket.socket, wire: Wire) -> None:
        while connection.recv(65536):
            pass

    with serving(silent) as wire, pytest.raises(Unreachable):
        ask(wire.base_url.replace("http:", "https:"))


# --- Connections ------------------------------------------------------------------------------------------------------
def keep_alive(connection: socket.socket, wire: Wire) -> None:
    while read_request(connection, wire):
        connection.sendall(response(good()))


def test_calls_share_a_connection():
    with serving(keep_alive) as wire:
        ask(wire, times=3)
    assert (len(wire.requests), wire.connections) == (3, 1)


def test_a_kept_connection_that_the_provider_closed_is_not_used_again():
    with answering(response(good())) as wire:  # the server closes after each answer, and does not say so
        assert ask(wire, times=3, pause_seconds=0.1).message["content"] == "hi"
    assert (len(wire.requests), wire.connections) == (3, 3)


def test_equal_accesses_share_a_client_and_not_without_end(monkeypatch):
    monkeypatch.setattr(provider, "MOST_CLIENTS", 2)

    async def look() -> None:
        async with Clients() as clients:
            first = clients.client(access_to("http://127.0.0.1:1/v1"))
            assert clients.client(access_to("http://127.0.0.1:1/v1")) is first
            second = clients.client(access_to("http://127.0.0.1:2/v1"))
            assert clients.client(access_to("http://127.0.0.1:1/v1")) is first
            clients.client(access_to("http://127.0.0.1:3/v1"))
            assert clients.client(access_to("http://127.0.0.1:1/v1")) is first
            assert clients.client(access_to("http://127.0.0.1:2/v1")) is not second

    asyncio.run(look())


def test_a_missing_key_is_explained_by_the_provider_itself():
    with answering(response(error_body(code="invalid_api_key"), status="401 Unauthorized")) as wire:
        access = Access(wire.base_url, "", None, None, serves_shut_down_models=False)
        with pytest.raises(Rejected) as refused:
            ask(access)
    assert refused.value.rejection.code == "invalid_api_key"
