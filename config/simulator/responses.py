"""The Responses API: work that is waited for, or done in the background, asked about, and cancelled.

The work is that of a chat call: the same checks, limits, answers and bill. A background response outlives the
connection that created it; what it cost is in the bill when it ends, and before anybody is told so.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web

from config.simulator import errors, replies, requests
from config.simulator import responses_bodies as bodies
from config.simulator.calls import ARRIVAL, PROVIDER, Caller, Order, Provider, Work, bill_line
from config.simulator.faults import Fault
from config.simulator.pauses import happens
from config.simulator.responses_requests import as_chat, renamed
from config.simulator.usage import Usage
from config.simulator.webhooks import Webhooks

PATH = "/v1/responses"
# Of the time that a background response takes, so much it only waits.
QUEUED_SHARE = 0.1
# What public samples are billed for a prompt over a chat call of the same text: 75 tokens for a text of 38 and 7.
PROMPT_OVERHEAD = 30


@dataclass(slots=True)
class Record:
    """One response and where it stands; `body` is what is told of it now."""

    order: Order
    body: dict[str, Any]
    fault: Fault | None
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def is_of(self, caller: Caller) -> bool:
        ours = self.order.arrival.caller
        return (ours.organization, ours.project) == (caller.organization, caller.project)


class Responses:
    """Every response of one simulator. Those that ended and were billed are on disk; the others in memory."""

    def __init__(self, provider: Provider, webhooks: Webhooks) -> None:
        self._provider = provider
        self._webhooks = webhooks
        self._records: dict[str, Record] = {}
        self._deleted: set[str] = set()

    def begin(self, order: Order, asked: Mapping[str, Any], fault: Fault | None) -> Record:
        """Starts the work, which goes on whoever hangs up."""
        status: bodies.Status = "queued" if asked.get("background") else "in_progress"
        record = Record(order, bodies.begun(order, asked, status), fault)
        self._records[record.body["id"]] = record
        self._provider.start(self._run(record))
        return record

    async def find(self, response: str, caller: Caller) -> dict[str, Any]:
        """The response as it stands. Raises ApiError for one that is unknown, deleted, not stored or another's."""
        record = self._records.get(response)
        if record is not None and record.is_of(caller) and record.body["store"]:
            return record.body
        found = None
        if response not in self._deleted:
            found = await asyncio.to_thread(
                self._provider.bill.response, response, organization=caller.organization, project=caller.project
            )
        if found is None:
            raise errors.response_not_found(response)
        return found

    async def cancel(self, response: str, caller: Caller) -> dict[str, Any]:
        """The response, stopped; one that has ended stays as it is. Raises ApiError where it cannot be cancelled."""
        body = await self.find(response, caller)
        if not body["background"]:
            raise errors.not_in_background(response)
        record = self._records.get(response)
        if record is None:
            return body
        record.cancelled.set()
        await record.ended.wait()
        return record.body

    async def delete(self, response: str, caller: Caller) -> None:
        """Forgets a response. The bill does not."""
        await self.find(response, caller)
        self._records.pop(response, None)
        self._deleted.add(response)

    # --- Work -------------------------------------------------------------------------------------------------------
    async def _run(self, record: Record) -> None:
        with self._provider.counters.flight():
            work = self._provider.work_on(record.order)
            seconds = self._provider.latency_of(work.spent)
            queued = seconds * QUEUED_SHARE if record.body["background"] else 0.0
            if await happens(record.cancelled, queued):
                record.body = bodies.cancelled(record.body, None)
            else:
                record.body = {**record.body, "status": "in_progress"}
                await self._think(record, work, seconds - queued)
        record.ended.set()
        if record.body["background"]:
            self._webhooks.tell(f"response.{record.body['status']}", record.body["id"])

    async def _think(self, record: Record, work: Work, seconds: float) -> None:
        began = time.monotonic()
        if await happens(record.cancelled, seconds):
            spent = _part(work.spent, (time.monotonic() - began) / seconds if seconds else 1.0)
            is_withheld = record.fault is not None and record.fault.kind == "usage_withheld"
            await self._end(record, bodies.cancelled(record.body, None if is_withheld else spent), spent)
        elif record.fault is not None and record.fault.kind == "failed":
            record.body = bodies.failed(record.body, record.fault.code)
        else:
            reasons = record.order.request.model.reasoning
            (answer,) = work.choices
            await self._end(record, bodies.answered(record.body, answer, work.spent, reasons=reasons), work.spent)

    async def _end(self, record: Record, body: dict[str, Any], spent: Usage) -> None:
        """Bills, and only then tells how it ended."""
        stored = json.dumps(body, ensure_ascii=False) if body["store"] else None
        await self._provider.bill.write(bill_line(record.order, body, spent), stored)
        self._provider.counters.billed += 1
        record.body = body
        self._records.pop(body["id"], None)


def _part(spent: Usage, share: float) -> Usage:
    """What was used when so much of the work was done: all of the prompt, and reasoning before anything visible."""
    completion = int(spent.completion_tokens * min(share, 1.0))
    return replace(spent, completion_tokens=completion, reasoning_tokens=min(spent.reasoning_tokens, completion))


RESPONSES = web.AppKey("RESPONSES", Responses)


# --- Routes -----------------------------------------------------------------------------------------------------------
async def create_response(http: web.Request) -> web.StreamResponse:
    provider = http.app[PROVIDER]
    asked = requests.parse_body(await http.read())
    try:
        order = await provider.order_of(http[ARRIVAL], asked, as_chat, "responses")
    except errors.ApiError as error:
        raise renamed(error) from None
    order = replace(order, prompt_tokens=order.prompt_tokens + PROMPT_OVERHEAD)
    fault = provider.fault_for(order, of_responses=True)
    if fault is not None and fault.is_refusal:
        with provider.counters.flight():
            return await replies.refuse(http, order, fault)
    record = http.app[RESPONSES].begin(order, asked, fault)
    body = record.body
    if not body["background"]:
        await record.ended.wait()
        body = record.body
    if fault is not None and fault.is_billed:
        with provider.counters.flight():
            return await replies.spoil(http, order, fault, body)
    provider.counters.answered += 1
    return replies.success(body, replies.order_headers(order))


async def retrieve_response(http: web.Request) -> web.StreamResponse:
    http.app[PROVIDER].counters.looks += 1
    found = await http.app[RESPONSES].find(http.match_info["response"], http[ARRIVAL].caller)
    return replies.success(found, replies.provider_headers(http[ARRIVAL]))


async def cancel_response(http: web.Request) -> web.StreamResponse:
    found = await http.app[RESPONSES].cancel(http.match_info["response"], http[ARRIVAL].caller)
    return replies.success(found, replies.provider_headers(http[ARRIVAL]))


async def delete_response(http: web.Request) -> web.StreamResponse:
    response = http.match_info["response"]
    await http.app[RESPONSES].delete(response, http[ARRIVAL].caller)
    body = {"id": response, "object": "response", "deleted": True}
    return replies.success(body, replies.provider_headers(http[ARRIVAL]))


ROUTES = (
    web.post(PATH, create_response),
    web.get(PATH + "/{response}", retrieve_response),
    web.delete(PATH + "/{response}", delete_response),
    web.post(PATH + "/{response}/cancel", cancel_response),
)
