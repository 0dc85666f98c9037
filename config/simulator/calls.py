"""The life of one call: who asks, what is asked, may it, then the waiting, the answer and its line in the bill.

Work that was admitted goes on when its client hangs up: a provider bills what it computed, not what was read.
"""

import asyncio
import hashlib
import json
import logging
import random
import string
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from aiohttp import web

from config.simulator import answers, errors, requests, usage
from config.simulator.bill import Bill, BillLine
from config.simulator.counters import Counters
from config.simulator.differences import Differences
from config.simulator.faults import CALL_KINDS, RESPONSE_KINDS, STREAM_KINDS, Fault, Faults
from config.simulator.limiter import Admission, Limiter, with_overrides
from config.simulator.models import Endpoint, Limits, Model, catalogue, served
from config.simulator.requests import CompletionRequest
from config.simulator.settings import Settings
from config.simulator.usage import Usage

logger = logging.getLogger(__name__)

ALPHANUMERIC = string.ascii_letters + string.digits
# Seeded by the system: ids must not repeat between runs, unlike answers.
_ids = random.Random()  # noqa: S311 (unique, not secret)
CLIENT_REQUEST_ID_MAX = 512

Done = TypeVar("Done")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, from the headers of the request."""

    key: str
    organization: str
    project: str
    client_request_id: str | None

    @property
    def is_admin(self) -> bool:
        """An admin key reads usage and costs, and does nothing else."""
        return self.key.startswith("sk-admin-")


@dataclass(frozen=True, slots=True)
class Arrival:
    """One HTTP request on its way in; everything that is answered carries its id."""

    caller: Caller
    request_id: str
    started: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Order:
    """An admitted request."""

    arrival: Arrival
    request: CompletionRequest
    prompt_tokens: int
    admission: Admission


@dataclass(frozen=True, slots=True)
class Work:
    """What a model makes of an order."""

    choices: list[answers.Answer]
    spent: Usage


@dataclass(frozen=True, slots=True)
class Making:
    """A completion that is being made, and how many seconds that takes."""

    completion: dict[str, Any]
    spent: Usage
    seconds: float


class Provider:
    """One simulated provider: its models, limits, faults, counters and bill."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        overrides = _overrides(settings)
        self.models: Mapping[str, Model] = served(settings.tier, overrides)
        self.limits = {
            model.family: overrides.get(model.family) or model.limits[settings.tier] for model in self.models.values()
        }
        self.limiter = Limiter(
            enforced=settings.enforce_limits,
            requests_per_day={catalogue()[name].family: limit for name, limit in settings.requests_per_day.items()},
        )
        self.faults = Faults(settings.seed)
        self.counters = Counters()
        self.latency = settings.latency
        self.differences = Differences()
        self.usage_delay = settings.usage_delay
        self.bill = Bill(settings.bill)
        self._chance = random.Random(settings.seed)  # noqa: S311 (nothing secret)
        self._work: set[asyncio.Task[Any]] = set()

    def close(self) -> None:
        self.bill.close()

    # --- In ---------------------------------------------------------------------------------------------------------
    def authenticate(self, headers: Mapping[str, str]) -> Caller:
        """The caller. Raises ApiError: no key, a key that is none (it begins with sk-; sk-invalid... is refused)."""
        scheme, _, key = headers.get("authorization", "").partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            raise errors.missing_key()
        if not key.startswith("sk-") or key.startswith("sk-invalid"):
            raise errors.incorrect_key(key)
        client_request_id = headers.get("x-client-request-id")
        if client_request_id and not (client_request_id.isascii() and len(client_request_id) <= CLIENT_REQUEST_ID_MAX):
            raise errors.invalid_client_request_id()
        return Caller(
            key=key,
            organization=headers.get("openai-organization") or self.settings.organization,
            project=headers.get("openai-project") or self.settings.project,
            client_request_id=client_request_id,
        )

    async def order(self, arrival: Arrival, raw: bytes) -> Order:
        """The request, checked and admitted; raises ApiError. A request that fails a check counts as a request too."""
        return await self.order_of(arrival, requests.parse_body(raw), lambda body: body, "chat")

    async def order_of(
        self,
        arrival: Arrival,
        body: requests.Body,
        as_chat: Callable[[requests.Body], requests.Body],
        endpoint: Endpoint,
    ) -> Order:
        """The same for a body of another endpoint, which `as_chat` puts in the words of a chat completion."""
        model = requests.find_model(body, self.models, endpoint)
        self.counters.requests_by_model[model.id] += 1
        try:
            request = requests.check(as_chat(body), model)
            if request.stream and model.streaming == "verified" and not self.settings.verified:
                raise errors.unverified_organization()
            prompt_tokens = await requests.count_prompt(request)
        except errors.ApiError:
            self.limiter.count_failure(
                family=model.family, organization=arrival.caller.organization, limits=self.limits[model.family]
            )
            raise
        return Order(arrival, request, prompt_tokens, self._admit(arrival, request))

    def _admit(self, arrival: Arrival, request: CompletionRequest) -> Admission:
        admission = self.limiter.admit(
            model=request.model.id,
            family=request.model.family,
            organization=arrival.caller.organization,
            limits=self.limits[request.model.family],
            tokens=request.tokens_at_admission,
        )
        if admission.refusal is not None:
            admission.refusal.headers = {**admission.standing.headers(), **admission.refusal.headers}
            raise admission.refusal
        self.counters.admit(arrival.caller.key, request.model.family, request.tokens_at_admission)
        return admission

    # --- Work -------------------------------------------------------------------------------------------------------
    async def finish(self, order: Order) -> dict[str, Any]:
        """The completion, billed. Cancelling the caller does not stop the work; only the end of the server does."""
        return await asyncio.shield(self.start(self._complete(order)))

    def start(self, work: Coroutine[Any, Any, Done]) -> asyncio.Task[Done]:
        """Begins work that only the end of the server stops."""
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._work.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Its client may be gone, and then nobody else would say that a line could not be written.
            logger.error("a call could not be finished", exc_info=error)

    async def abandon_work(self) -> None:
        """Stops calls that still wait. They are not billed: nothing was answered."""
        for task in list(self._work):
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)

    def fault_for(self, order: Order, *, of_responses: bool = False) -> Fault | None:
        kinds = CALL_KINDS
        if of_responses:
            kinds |= RESPONSE_KINDS
        elif order.request.stream:
            kinds |= STREAM_KINDS
        return self.draw_fault(kinds, order.request.model, order.request.prompt)

    def draw_fault(self, kinds: frozenset[str], model: Model, prompt: str = "") -> Fault | None:
        """The fault of these kinds that befalls work of a model, counted."""
        fault = self.faults.draw(kinds, models=frozenset({model.id, model.snapshot}), prompt=prompt)
        if fault is not None:
            self.counters.faults[fault.kind] += 1
        return fault

    def answered_by(self, order: Order, model: str) -> Order:
        """The order as another model carries it out, answers and bills."""
        return replace(order, request=replace(order.request, model=self.models[model]))

    async def _complete(self, order: Order) -> dict[str, Any]:
        # Texts are made and counted before the wait, so that the wait is part of the time that is printed.
        return await self.bring_about(order, self.making_of(order))

    def making_of(self, order: Order) -> "Making":
        """The completion as it will be, and how long it takes; takes no time."""
        work = self.work_on(order)
        return Making(completion_body(order.request, work.choices, work.spent), work.spent, self.latency_of(work.spent))

    async def bring_about(self, order: Order, making: "Making") -> dict[str, Any]:
        """The completion, when it is made and billed."""
        with self.counters.flight():
            await asyncio.sleep(making.seconds)
            line = bill_line(order, making.completion, making.spent)
            await self.bill.write(line, _stored(order, making.completion) if order.request.store else None)
            self.counters.billed += 1
            return making.completion

    async def work_in_batch(self, order: Order) -> dict[str, Any]:
        """The completion of a line of a batch, billed; it takes no time of its own."""
        work = self.work_on(order)
        completion = completion_body(order.request, work.choices, work.spent)
        completion["service_tier"] = "default"  # as recorded: the tier of a batch is told by the usage API alone
        await self.bill.write(bill_line(order, completion, work.spent), None)
        self.counters.billed += 1
        return completion

    def work_on(self, order: Order) -> Work:
        """The answers to an order and what they cost in tokens; takes no time."""
        request = order.request
        questions = [request.question(self.settings.seed, index) for index in range(request.choices)]
        cap = request.cap if request.cap is not None else request.model.max_output
        choices = [answers.answer(question).capped(cap) for question in questions]
        return Work(choices, _usage(request.model, order.prompt_tokens, choices, questions[0].draw()))

    def latency_of(self, spent: Usage) -> float:
        return self._chance.uniform(*self.latency) + self.settings.latency_per_token * spent.completion_tokens


PROVIDER = web.AppKey("PROVIDER", Provider)
ARRIVAL = web.RequestKey("ARRIVAL", Arrival)


def _overrides(settings: Settings) -> dict[str, Limits]:
    """Limits set by hand, by model family. Raises KeyError for a model that does not exist."""
    overrides: dict[str, Limits] = {}
    for name in {*settings.requests_per_minute, *settings.tokens_per_minute}:
        model = catalogue()[name]
        overrides[model.family] = with_overrides(
            model.limits.get(settings.tier),
            settings.requests_per_minute.get(name),
            settings.tokens_per_minute.get(name),
        )
    return overrides


def _usage(model: Model, prompt_tokens: int, choices: Sequence[answers.Answer], draw: int) -> Usage:
    cached = usage.cached_tokens(prompt_tokens, draw)
    return Usage(
        prompt_tokens=prompt_tokens,
        cached_tokens=cached,
        cache_write_tokens=usage.written_tokens(model, prompt_tokens, cached),
        completion_tokens=sum(choice.completion_tokens for choice in choices),
        reasoning_tokens=sum(choice.reasoning_tokens for choice in choices),
    )


# --- Bodies -----------------------------------------------------------------------------------------------------------
def completion_body(request: CompletionRequest, choices: Sequence[answers.Answer], spent: Usage) -> dict[str, Any]:
    """A chat completion in the key order of 2025. The choices of reasoning models have no `logprobs` key."""
    return {
        "id": "chatcmpl-" + "".join(_ids.choices(ALPHANUMERIC, k=29)),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request.model.snapshot,
        "choices": [_choice(index, choice, request.model) for index, choice in enumerate(choices)],
        "usage": spent.body(),
        "service_tier": request.service_tier,
        "system_fingerprint": fingerprint(request.model),
    }


def _choice(index: int, choice: answers.Answer, model: Model) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": choice.text, "refusal": None, "annotations": []}
    logprobs = {} if model.reasoning else {"logprobs": None}
    return {"index": index, "message": message, **logprobs, "finish_reason": choice.finish_reason}


def fingerprint(model: Model) -> str:
    return "fp_" + hashlib.blake2b(model.snapshot.encode(), digest_size=5).hexdigest()


def _stored(order: Order, completion: Mapping[str, Any]) -> str:
    """The stored completion, with what the list shows beside the answer."""
    body = order.request.body
    return json.dumps(
        {
            **completion,
            "request_id": order.arrival.request_id,
            "tool_choice": body.get("tool_choice"),
            "seed": body.get("seed"),
            "top_p": body.get("top_p", 1.0),
            "temperature": body.get("temperature", 1.0),
            "presence_penalty": body.get("presence_penalty", 0.0),
            "frequency_penalty": body.get("frequency_penalty", 0.0),
            "input_user": body.get("user"),
            "tools": body.get("tools"),
            "metadata": order.request.metadata,
            "response_format": body.get("response_format"),
        },
        ensure_ascii=False,
    )


def bill_line(order: Order, completion: Mapping[str, Any], spent: Usage) -> BillLine:
    request, caller = order.request, order.arrival.caller
    cost = usage.cost_usd(request.model, request.service_tier, spent)
    return BillLine(
        id=completion["id"],
        request_id=order.arrival.request_id,
        created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        key_last4=caller.key[-4:],
        organization=caller.organization,
        project=caller.project,
        model=request.model.id,
        snapshot=request.model.snapshot,
        service_tier=request.service_tier,
        metadata=json.dumps(request.metadata),
        prompt_tokens=spent.prompt_tokens,
        cached_tokens=spent.cached_tokens,
        completion_tokens=spent.completion_tokens,
        reasoning_tokens=spent.reasoning_tokens,
        cost_usd=usage.decimal_text(cost),
        client_request_id=caller.client_request_id,
    )
