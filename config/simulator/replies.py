"""How answers leave: headers, JSON as the provider prints it, and answers that go wrong on request."""

import asyncio
import json
import math
import random
import struct
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from email.utils import formatdate
from functools import cache
from json.encoder import encode_basestring
from typing import Any, NoReturn

from aiohttp import web

from config.simulator import errors
from config.simulator.calls import Arrival, Order
from config.simulator.faults import ODD_USAGE_KINDS, Fault
from config.simulator.limiter import go_duration

# What stands on every answer of api.openai.com and says nothing (recorded 2025-07-09).
FIXED_HEADERS = {
    "access-control-expose-headers": "X-Request-ID",
    "cf-cache-status": "DYNAMIC",
    "openai-version": "2020-10-01",
    "server": "cloudflare",
    "strict-transport-security": "max-age=31536000; includeSubDomains; preload",
    "x-content-type-options": "nosniff",
}
HTML_502 = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
    "<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
)
GARBAGE = b"upstream connect error or disconnect/reset before headers"
# More than any client has reason to take.
BOMB_MEGABYTES = 65
# Packed by deflate, no name, no time, by an unknown system (RFC 1952).
_GZIP_HEADER = bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255])
_WORDS = {None: "null", True: "true", False: "false"}
# Seeded by the system: ids must not repeat between runs, unlike answers.
_ids = random.Random()  # noqa: S311 (unique, not secret)


def new_request_id() -> str:
    return f"req_{_ids.getrandbits(128):032x}"


def provider_headers(arrival: Arrival) -> dict[str, str]:
    """Headers of whatever a known caller is answered, errors included."""
    milliseconds = str(max(int((time.monotonic() - arrival.started) * 1000), 1))
    return {
        **FIXED_HEADERS,
        "openai-organization": arrival.caller.organization,
        "openai-processing-ms": milliseconds,
        "openai-project": arrival.caller.project,
        "x-envoy-upstream-service-time": milliseconds,
        "x-request-id": arrival.request_id,
    }


def order_headers(order: Order) -> dict[str, str]:
    return {**provider_headers(order.arrival), **order.admission.standing.headers()}


def json_bytes(body: Any) -> bytes:
    """A success as the provider prints it: two spaces of indent and a newline at the end."""
    return (_printed(body, "\n") + "\n").encode()


def _printed(value: Any, margin: str) -> str:
    """What `json.dumps(value, indent=2, ensure_ascii=False)` gives, which takes longer than all the rest of a call."""
    kind = type(value)
    if kind is str:
        return str(encode_basestring(value))
    if kind is int:
        return str(value)
    inner = margin + "  "
    if kind is dict and value:
        members = [f"{encode_basestring(name)}: {_printed(member, inner)}" for name, member in value.items()]
        return "{" + inner + ("," + inner).join(members) + margin + "}"
    if kind is list and value:
        return "[" + inner + ("," + inner).join([_printed(member, inner) for member in value]) + margin + "]"
    return _WORDS[value] if value is None or kind is bool else json.dumps(value)


def success(body: Any, headers: Mapping[str, str]) -> web.Response:
    return web.Response(body=json_bytes(body), headers={**headers, "content-type": "application/json"})


def failure(error: errors.ApiError, headers: Mapping[str, str]) -> web.Response:
    return web.Response(
        status=error.status,
        body=error.body(),
        headers={**headers, **error.headers, "content-type": "application/json"},
    )


# --- Answers that go wrong --------------------------------------------------------------------------------------------
async def refuse(http: web.Request, order: Order, fault: Fault) -> web.Response:
    """What a fault answers before anything is billed. Raises ApiError, or never returns: the connection is aborted."""
    if fault.kind != "hang" and fault.seconds:
        await asyncio.sleep(fault.seconds)
    match fault.kind:
        case "html_502" | "html_503":
            status = int(fault.kind[-3:])
            headers = {"server": "cloudflare", "content-type": "text/html; charset=UTF-8"}
            return web.Response(status=status, text=HTML_502, headers=headers)
        case "hang":
            return await hang(http, fault)
        case "cut_before_billing":
            return await abort(http)
    raise _with_limits(_refusal(order, fault), order)


def _refusal(order: Order, fault: Fault) -> errors.ApiError:
    """The error of a fault that is one."""
    caller, model = order.arrival.caller, order.request.model.id
    made: dict[str, Callable[[], errors.ApiError]] = {
        "401": lambda: errors.incorrect_key(caller.key),
        "403": lambda: errors.no_access_to_model(caller.project, model),
        "404": lambda: errors.model_not_found(model),
        "408": errors.gateway_timed_out,
        "429": lambda: _rate_limited(order, fault),
        "429_date": lambda: _rate_limited(order, fault),
        "request_too_large": lambda: errors.request_too_large(
            model=model, organization=caller.organization, limit=1000, requested=1001
        ),
        "slow_down": errors.slow_down,
        "500": errors.server_error,
        "503": errors.overloaded,
        "529": lambda: replace(errors.overloaded(), status=529),
        "billing_hard_limit_reached": errors.billing_hard_limit,
    }
    return made[fault.kind]() if fault.kind in made else errors.quota_exceeded(fault.kind)


async def spoil(http: web.Request, order: Order, fault: Fault, completion: Mapping[str, Any]) -> web.StreamResponse:
    """What a fault makes of an answer that is billed."""
    if fault.kind != "hang" and fault.seconds:
        await asyncio.sleep(fault.seconds)
    headers = {**order_headers(order), "content-type": "application/json"}
    match fault.kind:
        case kind if kind in ODD_USAGE_KINDS:
            return web.Response(body=json_bytes(with_odd_usage(kind, completion)), headers=headers)
        case "garbage" | "empty_object":
            return web.Response(body=GARBAGE if fault.kind == "garbage" else b"{}", headers=headers)
        case "html_200":
            return web.Response(text=HTML_502, headers={**headers, "content-type": "text/html; charset=UTF-8"})
        case "cut_in_the_body":
            return await _cut_half_way(http, json_bytes(completion), headers)
        case "slow_headers":
            return await _trickle_headers(http, headers, fault.bytes_per_second)
        case "gzip_bomb":
            return web.Response(body=_bomb(json_bytes(completion)), headers={**headers, "content-encoding": "gzip"})
        case "slow_body":
            return await _trickle(http, json_bytes(completion), headers, fault.bytes_per_second)
        case "hang":
            return await hang(http, fault)
        case _:
            return await abort(http)


async def hang(http: web.Request, fault: Fault) -> NoReturn:
    """Waits for the client to give up, or for the fault's seconds and aborts."""
    if fault.seconds is not None:
        await asyncio.sleep(fault.seconds)
        await abort(http)
    await asyncio.get_running_loop().create_future()
    raise AssertionError("a future that nobody resolves was resolved")


async def abort(http: web.Request) -> NoReturn:
    """Resets the connection; the handler is then cancelled by the loss of it."""
    if http.transport is not None:
        http.transport.abort()
    await asyncio.get_running_loop().create_future()
    raise AssertionError("a future that nobody resolves was resolved")


def with_odd_usage(kind: str, completion: Mapping[str, Any]) -> dict[str, Any]:
    """The completion with tokens that are not those of the bill."""
    spent = dict(completion["usage"])
    output, details = spent["completion_tokens"], dict(spent["completion_tokens_details"])
    match kind:
        case "no_usage":
            return {name: value for name, value in completion.items() if name != "usage"}
        case "negative_usage":
            spent["completion_tokens"] = -output
        case "usage_in_words":
            spent["completion_tokens"] = f"{output} tokens"
        case "huge_usage":
            spent["completion_tokens"] = output * 1000
        case "reasoning_above_output":
            spent["completion_tokens_details"] = {**details, "reasoning_tokens": output + 1}
        case _:
            cached = {"cached_tokens": spent["prompt_tokens"] + 1, "audio_tokens": 0}
            spent["prompt_tokens_details"] = cached
    return {**completion, "usage": spent}


def _bomb(body: bytes) -> bytes:
    """The body and blanks after it, which JSON allows, as gzip: who has no bound reads it all, and finds it fine."""
    packed, blanks = _packed_blanks()
    packing = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    head = packing.compress(body) + packing.flush(zlib.Z_FULL_FLUSH)
    checksum = zlib.crc32(body)
    for _ in range(BOMB_MEGABYTES):
        checksum = zlib.crc32(blanks, checksum)
    # Ten bytes of header, and at the end the checksum and the length (RFC 1952).
    length = len(body) + len(blanks) * BOMB_MEGABYTES
    return _GZIP_HEADER + head + packed + struct.pack("<II", checksum, length % 2**32)


@cache
def _packed_blanks() -> tuple[bytes, bytes]:
    """All the blanks of a bomb, packed once to follow any body, and one megabyte of them as they are."""
    packing, blanks = zlib.compressobj(wbits=-zlib.MAX_WBITS), b" " * 2**20
    return b"".join([*(packing.compress(blanks) for _ in range(BOMB_MEGABYTES)), packing.flush()]), blanks


async def _cut_half_way(http: web.Request, body: bytes, headers: Mapping[str, str]) -> NoReturn:
    response = web.StreamResponse(headers={**headers, "content-length": str(len(body))})
    await response.prepare(http)
    await response.write(body[: len(body) // 2])
    await asyncio.sleep(0.01)  # what was written goes out before the reset
    await abort(http)


async def _trickle_headers(http: web.Request, headers: Mapping[str, str], bytes_per_second: float) -> NoReturn:
    """Writes past the server, which would send all of the headers at once; they never end."""
    assert http.transport is not None
    http.transport.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        for byte in "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode():
            http.transport.write(bytes([byte]))
            await asyncio.sleep(1 / bytes_per_second)


async def _trickle(
    http: web.Request, body: bytes, headers: Mapping[str, str], bytes_per_second: float
) -> web.StreamResponse:
    response = web.StreamResponse(headers={**headers, "content-length": str(len(body))})
    await response.prepare(http)
    for at in range(len(body)):
        await response.write(body[at : at + 1])
        await asyncio.sleep(1 / bytes_per_second)
    await response.write_eof()
    return response


def _rate_limited(order: Order, fault: Fault) -> errors.ApiError:
    limits = order.admission.standing.limits
    error = errors.rate_limited(
        model=order.request.model.id,
        organization=order.arrival.caller.organization,
        unit="requests",
        limit=limits.requests,
        used=limits.requests,
        requested=1,
        wait=go_duration(fault.retry_after * 1000 or math.ceil(60_000 / limits.requests)),
        retry_after=fault.retry_after or None,
    )
    if fault.kind == "429_date":
        error.headers = {"retry-after": formatdate(math.ceil(time.time()) + fault.retry_after, usegmt=True)}
    return error


def _with_limits(error: errors.ApiError, order: Order) -> errors.ApiError:
    error.headers = {**order.admission.standing.headers(), **error.headers}
    return error
