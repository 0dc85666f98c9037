"""`/v1/batches`: a file of calls that are made some time, at the price of batches and beside the rate limits.

Every line does the work of a chat call: the same checks, answers and bill. What has run is in the bill before the batch
says so, whether it completes, expires or is cancelled. Batches are kept in memory, and gone with the process.
"""

import asyncio
import random
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from aiohttp import web

from config.simulator import batch_lines, errors, replies, requests
from config.simulator.batch_lines import PARAM, Line, Written, fault_of
from config.simulator.calls import ARRIVAL, PROVIDER, Arrival, Caller, Order, Provider
from config.simulator.faults import BATCH_KINDS, LINE_KINDS
from config.simulator.files import Files
from config.simulator.limiter import Admission, Standing
from config.simulator.models import Limits, Model
from config.simulator.pauses import happens
from config.simulator.usage import BATCH

PATH = "/v1/batches"
ENDPOINTS = ("/v1/chat/completions",)
WINDOW = timedelta(hours=24)
LIMIT_DEFAULT, LIMIT_MAX = 20, 100
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
METADATA_PAIRS, METADATA_NAME, METADATA_VALUE = 16, 64, 512
OF_CREATION = frozenset({"batch_create_lost", "batch_create_cut", "batch_create_refused"})
_NO_LIMITS = Admission(Standing(Limits(0, 0), Limits(0, 0), 0, 0))


@dataclass(frozen=True, slots=True)
class Plan:
    """How batches run. `seconds`: one takes; `enqueued_tokens`: prompt tokens of a model that may wait in batches.

    `runs`: so many lines of each are run, and the others when it is cancelled, which they are not; with `expires`,
    their time is over after the seconds.
    """

    seconds: float = 0.0
    enqueued_tokens: int | None = None
    runs: int | None = None
    expires: bool = False


@dataclass(slots=True)
class Record:
    """One batch and where it stands; `body` is what is told of it now."""

    arrival: Arrival
    body: dict[str, Any]
    model: Model | None = None
    tokens: int = 0
    written: Written = field(default_factory=Written)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    def is_of(self, caller: Caller) -> bool:
        ours = self.arrival.caller
        return (ours.organization, ours.project) == (caller.organization, caller.project)


class Batches:
    """Every batch of one simulator."""

    def __init__(self, provider: Provider, files: Files) -> None:
        self.plan = Plan()
        self._provider = provider
        self._files = files
        self._records: dict[str, Record] = {}

    def begin(self, arrival: Arrival, asked: Mapping[str, Any]) -> Record:
        """Makes a batch, which runs whoever hangs up. Raises ApiError."""
        self._files.find(_text(asked, "input_file_id"), arrival.caller)
        if _text(asked, "endpoint") not in ENDPOINTS:
            raise errors.invalid_value("endpoint", asked["endpoint"], ENDPOINTS)
        if _text(asked, "completion_window") != "24h":
            raise errors.invalid_value("completion_window", asked["completion_window"], ("24h",))
        record = Record(arrival, _begun(asked, _metadata(asked)))
        self._records[record.body["id"]] = record
        self._provider.start(self._run(record, self.plan))
        return record

    def find(self, batch_id: str, caller: Caller) -> Record:
        """A batch of the caller's project. Raises ApiError."""
        record = self._records.get(batch_id)
        if record is None or not record.is_of(caller):
            raise errors.ApiError(404, f"No batch found with id '{batch_id}'.")
        return record

    def of(self, caller: Caller) -> list[Record]:
        """The caller's batches, the newest first."""
        return [record for record in reversed(self._records.values()) if record.is_of(caller)]

    def cancel(self, record: Record) -> None:
        """Stops a batch before its next line. Raises ApiError for one that has ended."""
        if record.body["status"] in ENDED:
            raise errors.ApiError(409, f"Cannot cancel a batch with status '{record.body['status']}'.")
        if record.body["status"] != "cancelling":
            _step(record, "cancelling")
        record.cancelled.set()

    def reset(self) -> None:
        """Stops what is under way, which takes no more of its queue, and runs the next as usual."""
        self.plan = Plan()
        for record in self._records.values():
            record.tokens = 0
            record.cancelled.set()

    # --- Work -------------------------------------------------------------------------------------------------------
    async def _run(self, record: Record, plan: Plan) -> None:
        lines, faults = batch_lines.read(self._input(record), self._provider.models)
        record.model = lines[0].model if lines else None
        faults = faults or await self._too_many(record, lines, plan)
        if record.model and (drawn := self._provider.draw_fault(BATCH_KINDS & {"batch_invalid"}, record.model)):
            faults = [fault_of(drawn.code, "The batch could not be validated.", None, None)]
        if faults:
            record.body["errors"] = {"object": "list", "data": faults}
            record.tokens = 0
            _step(record, "failed")
            return
        record.body["request_counts"]["total"] = len(lines)
        if not record.cancelled.is_set():
            _step(record, "in_progress")
        ends_as = await self._run_all(record, lines, plan)
        self._finish(record, ends_as)

    async def _run_all(self, record: Record, lines: list[Line], plan: Plan) -> str:
        """Runs lines until all have run, the batch is cancelled or its time is over; the status that it ends with."""
        order = list(lines)
        random.Random(record.body["id"]).shuffle(order)  # noqa: S311 (the provider promises no order)
        ran, seconds = 0, plan.seconds / len(lines)
        for line in order:
            if (plan.runs is not None and ran >= plan.runs) or await happens(record.cancelled, seconds):
                break
            await self._run_one(record, line)
            ran += 1
        if ran == len(order) and not record.cancelled.is_set():
            return "completed"
        if not record.cancelled.is_set() and (not plan.expires or await happens(record.cancelled, plan.seconds)):
            await record.cancelled.wait()
        is_cancelled = record.cancelled.is_set()
        for line in order[ran:]:
            record.written.left(line, is_cancelled=is_cancelled)
        return "cancelled" if is_cancelled else "expired"

    async def _run_one(self, record: Record, line: Line) -> None:
        """One call, billed before it is written; what it is refused for costs nothing."""
        counts = record.body["request_counts"]
        drawn = self._provider.draw_fault(LINE_KINDS, line.model, line.prompt)
        refusal = line.refusal
        if drawn is not None and drawn.kind == "batch_line_refused":
            refusal = errors.server_error()
        if refusal is not None:
            record.written.refused(line, refusal)
            counts["failed"] += 1
            return
        assert line.request is not None, "what is no request was refused"
        caller = replace(record.arrival.caller, client_request_id=line.custom_id[:512])
        request = replace(line.request, service_tier=BATCH)
        order = Order(Arrival(caller, replies.new_request_id()), request, line.prompt_tokens, _NO_LIMITS)
        with self._provider.counters.flight():
            completion = await self._provider.work_in_batch(order)
        counts["completed"] += 1
        if drawn is None or drawn.kind != "batch_line_left_out":
            said = completion if drawn is None else replies.with_odd_usage(drawn.kind, completion)
            record.written.answered(line, order.arrival.request_id, said)

    def _finish(self, record: Record, ends_as: str) -> None:
        if ends_as != "cancelled":
            _step(record, "finalizing")
        for name, data in (("output", record.written.output), ("error", record.written.refusals)):
            if data:
                filename = f"{record.body['id']}_{name}.jsonl"
                file = self._files.add(record.arrival.caller, filename, "batch_output", bytes(data), None)
                record.body[f"{name}_file_id"] = file.id
        record.tokens = 0
        _step(record, ends_as)

    def _input(self, record: Record) -> bytes:
        return self._files.find(record.body["input_file_id"], record.arrival.caller).data

    async def _too_many(self, record: Record, lines: list[Line], plan: Plan) -> list[dict[str, Any]]:
        """Counts the prompts; the fault of a batch for which the model's queue has no room."""
        for line in lines:
            await line.count()
        tokens = sum(line.prompt_tokens for line in lines)
        organization = record.arrival.caller.organization
        waiting = sum(
            other.tokens
            for other in self._records.values()
            if other.model is record.model and other.arrival.caller.organization == organization
        )
        if plan.enqueued_tokens is None or waiting + tokens <= plan.enqueued_tokens or record.model is None:
            record.tokens = tokens
            return []
        return [
            fault_of(
                "token_limit_exceeded",
                f"Enqueued token limit reached for {record.model.id} in organization {organization}. Limit: "
                f"{plan.enqueued_tokens:,} enqueued tokens. Please try again once some in_progress batches have been "
                "completed.",
                None,
                None,
            )
        ]


BATCHES = web.AppKey("BATCHES", Batches)


# --- Bodies -----------------------------------------------------------------------------------------------------------
def _begun(asked: Mapping[str, Any], metadata: dict[str, str] | None) -> dict[str, Any]:
    """A batch at its beginning, in the key order of the reference."""
    now = int(time.time())
    steps = ("finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
    return {
        "id": "batch_" + uuid.uuid4().hex[:24],
        "object": "batch",
        "endpoint": asked["endpoint"],
        "errors": None,
        "input_file_id": asked["input_file_id"],
        "completion_window": asked["completion_window"],
        "status": "validating",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": now,
        "in_progress_at": None,
        "expires_at": now + int(WINDOW.total_seconds()),
        **{f"{step}_at": None for step in steps},
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "metadata": metadata,
    }


def _step(record: Record, status: str) -> None:
    record.body = {**record.body, "status": status, f"{status}_at": int(time.time())}


def _text(asked: Mapping[str, Any], name: str) -> str:
    value = asked.get(name)
    if value is None:
        raise errors.missing_parameter(name)
    if not isinstance(value, str):
        raise errors.wrong_type(name, "a string", value)
    return value


def _metadata(asked: Mapping[str, Any]) -> dict[str, str] | None:
    metadata = asked.get("metadata")
    if metadata is None:
        return None
    if not isinstance(metadata, dict):
        raise errors.wrong_type(PARAM, "an object", metadata)
    if len(metadata) > METADATA_PAIRS:
        raise errors.too_many_properties(PARAM, METADATA_PAIRS, len(metadata))
    for name, value in metadata.items():
        if not isinstance(value, str):
            raise errors.wrong_type(f"{PARAM}.{name}", "a string", value)
        if len(name) > METADATA_NAME or len(value) > METADATA_VALUE:
            raise errors.string_too_long(f"{PARAM}.{name}", METADATA_VALUE, len(value))
    return metadata


# --- Routes -----------------------------------------------------------------------------------------------------------
async def create_batch(http: web.Request) -> web.StreamResponse:
    provider, batches, arrival = http.app[PROVIDER], http.app[BATCHES], http[ARRIVAL]
    asked = requests.parse_body(await http.read())
    fault = provider.draw_fault(OF_CREATION, next(iter(provider.models.values())))
    if fault is not None and fault.kind == "batch_create_refused":
        raise errors.ApiError(429, "You have made too many batches within an hour.", type="rate_limit_exceeded")
    if fault is not None and fault.kind == "batch_create_cut":
        await replies.abort(http)
    record = batches.begin(arrival, asked)
    if fault is not None:
        await replies.abort(http)
    return replies.success(record.body, replies.provider_headers(arrival))


async def list_batches(http: web.Request) -> web.StreamResponse:
    """A page of them, the newest first."""
    found = [record.body for record in http.app[BATCHES].of(http[ARRIVAL].caller)]
    if (after := http.query.get("after")) is not None:
        places = [place for place, body in enumerate(found) if body["id"] == after]
        found = found[places[0] + 1 :] if places else []
    text = http.query.get("limit", str(LIMIT_DEFAULT))
    limit = min(int(text), LIMIT_MAX) if text.isdecimal() and int(text) else LIMIT_DEFAULT
    page = found[:limit]
    body = {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(found) > limit,
    }
    return replies.success(body, replies.provider_headers(http[ARRIVAL]))


async def retrieve_batch(http: web.Request) -> web.StreamResponse:
    http.app[PROVIDER].counters.looks += 1
    record = http.app[BATCHES].find(http.match_info["batch"], http[ARRIVAL].caller)
    return replies.success(record.body, replies.provider_headers(http[ARRIVAL]))


async def cancel_batch(http: web.Request) -> web.StreamResponse:
    record = http.app[BATCHES].find(http.match_info["batch"], http[ARRIVAL].caller)
    http.app[BATCHES].cancel(record)
    return replies.success(record.body, replies.provider_headers(http[ARRIVAL]))


ROUTES = (
    web.post(PATH, create_batch),
    web.get(PATH, list_batches),
    web.get(PATH + "/{batch}", retrieve_batch),
    web.post(PATH + "/{batch}/cancel", cancel_batch),
)
