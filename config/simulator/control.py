"""What the provider does not have: its bill and counters to read, faults and latency to set. No key is asked for."""

import asyncio
import json
import math
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from config.simulator.batches import BATCHES, Plan
from config.simulator.calls import PROVIDER
from config.simulator.differences import InvalidDifference
from config.simulator.faults import InvalidFault
from config.simulator.stored import metadata_of
from config.simulator.webhooks import WEBHOOKS, Endpoint

PREFIX = "/simulator/"


async def health(http: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def bill(http: web.Request) -> web.Response:
    """Totals; `lines=1` adds every line, `metadata[name]=value` leaves only the calls that carry it."""
    provider, metadata = http.app[PROVIDER], metadata_of(http)
    body = await asyncio.to_thread(provider.bill.totals, metadata)
    if http.query.get("lines") == "1":
        body["lines"] = await asyncio.to_thread(provider.bill.lines, metadata)
    return web.json_response(body)


async def counters(http: web.Request) -> web.Response:
    return web.json_response(http.app[PROVIDER].counters.body())


async def list_faults(http: web.Request) -> web.Response:
    return web.json_response({"faults": http.app[PROVIDER].faults.body()})


async def add_fault(http: web.Request) -> web.Response:
    wanted = await _object(http)
    try:
        fault = http.app[PROVIDER].faults.add(wanted)
    except (InvalidFault, TypeError) as error:
        return _bad(str(error))
    return web.json_response(fault.body(), status=201)


async def clear_faults(http: web.Request) -> web.Response:
    http.app[PROVIDER].faults.clear()
    return web.json_response({"faults": []})


async def set_latency(http: web.Request) -> web.Response:
    """`{"seconds": x}`, or `{"min": x, "max": y}` for something in between."""
    wanted = await _object(http)
    low, high = wanted.get("min", wanted.get("seconds")), wanted.get("max", wanted.get("seconds"))
    if not (_is_seconds(low) and _is_seconds(high) and low <= high):
        return _bad('send {"seconds": x} or {"min": x, "max": y} with 0 <= x <= y')
    http.app[PROVIDER].latency = (low, high)
    return web.json_response({"min": low, "max": high})


async def set_webhook(http: web.Request) -> web.Response:
    """`{"url": ..., "secret": "whsec_..."}` for events of later ends; without a url nobody is told any more."""
    wanted = await _object(http)
    url, secret = wanted.get("url"), wanted.get("secret")
    if url and not isinstance(secret, str):
        return _bad('send {"url": ..., "secret": "whsec_..."}, or {} to tell nobody')
    http.app[WEBHOOKS].endpoint = Endpoint(str(url), str(secret)) if url else None
    return web.json_response({"url": url})


async def set_batches(http: web.Request) -> web.Response:
    """The fields of Plan, for batches that are made from now on; what is left out is as usual."""
    wanted = await _object(http)
    try:
        http.app[BATCHES].plan = Plan(**wanted)
    except TypeError as error:
        return _bad(str(error))
    return web.json_response(dict(wanted))


async def set_usage_delay(http: web.Request) -> web.Response:
    """`{"seconds": x}`: how long after a call was billed the usage and costs APIs report it."""
    seconds: Any = (await _object(http)).get("seconds")
    if not _is_seconds(seconds):
        return _bad('send {"seconds": x} with 0 <= x')
    http.app[PROVIDER].usage_delay = float(seconds)
    return web.json_response({"seconds": seconds})


async def add_difference(http: web.Request) -> web.Response:
    wanted = await _object(http)
    try:
        seeded = http.app[PROVIDER].differences.add(wanted)
    except (InvalidDifference, TypeError) as error:
        return _bad(str(error))
    return web.json_response(seeded, status=201)


async def clear_differences(http: web.Request) -> web.Response:
    """From now on the usage and costs APIs report the bill as it is."""
    http.app[PROVIDER].differences.clear()
    return web.json_response({"differences": []})


async def reset(http: web.Request) -> web.Response:
    """Counters, rate limits and batches as at the start, with none under way; bill, faults and latency stay."""
    provider = http.app[PROVIDER]
    provider.counters.reset()
    provider.limiter.reset()
    http.app[BATCHES].reset()
    return web.json_response({"status": "reset"})


ROUTES = (
    web.get(PREFIX + "healthz", health),
    web.get(PREFIX + "bill", bill),
    web.get(PREFIX + "counters", counters),
    web.get(PREFIX + "faults", list_faults),
    web.post(PREFIX + "faults", add_fault),
    web.delete(PREFIX + "faults", clear_faults),
    web.post(PREFIX + "latency", set_latency),
    web.post(PREFIX + "webhook", set_webhook),
    web.post(PREFIX + "batches", set_batches),
    web.post(PREFIX + "usage-delay", set_usage_delay),
    web.post(PREFIX + "differences", add_difference),
    web.delete(PREFIX + "differences", clear_differences),
    web.post(PREFIX + "reset", reset),
)


async def _object(http: web.Request) -> Mapping[str, Any]:
    try:
        body = await http.json()
    except json.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text='{"error": "send a JSON object"}', content_type="application/json")
    return body


def _is_seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _bad(reason: str) -> web.Response:
    return web.json_response({"error": reason}, status=400)
