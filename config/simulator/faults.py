"""Faults that a test asks for: what goes wrong, how often, and with which calls."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

Refusal = Literal[
    "401",
    "403",  # the project may not use the model
    "404",
    "408",  # a gateway's: the call behind it may be working
    "429",  # rate limit reached, with a duration and a retry-after
    "429_date",  # the same, with a date to wait for
    "request_too_large",  # a 429 that no waiting helps
    "slow_down",
    "500",
    "503",
    "529",
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "billing_hard_limit_reached",
    "html_502",  # what a proxy in between says
    "html_503",
    "hang",  # accepted and never answered
    "cut_before_billing",  # the connection is aborted instead of an answer
]
Spoiled = Literal[
    "cut_after_billing",
    "cut_in_the_body",
    "garbage",  # 200 and no JSON
    "html_200",
    "empty_object",  # 200 and {}
    "gzip_bomb",  # the whole answer and a lot of blanks, packed into a thousandth of that
    "slow_body",  # headers, then a trickle
    "slow_headers",  # the headers themselves trickle
]
# The answer is whole, and what it says of its tokens is not to be believed; the bill has the true ones.
OddUsage = Literal[
    "no_usage",
    "negative_usage",
    "usage_in_words",
    "huge_usage",  # a thousand times the tokens that were used
    "reasoning_above_output",
    "cached_above_input",
]
# What befalls a stream after some of it was sent; a call that is not streamed is answered as usual.
OfStreams = Literal[
    "cut_before_the_end",  # the connection is aborted and the work given up, unbilled
    "garbage_chunk",  # one chunk in the middle is no JSON; billed
    "error_event",  # says that it failed, and ends; unbilled
]
# What befalls the work of a response and not the answer to its creation; calls of chat know nothing of it.
OfResponses = Literal[
    "failed",  # ends as failed with `code`, unbilled
    "usage_withheld",  # does not say what it was billed for when it is cancelled
]
# What befalls a batch, or a line of one; calls know nothing of it.
OfBatches = Literal[
    "batch_create_lost",  # made, and the connection is cut instead of an answer
    "batch_create_cut",  # cut, and nothing was made
    "batch_create_refused",  # 429, of the batches that may be made in an hour
    "batch_invalid",  # its validation fails with `code`, whatever its file says
    "batch_line_refused",  # a line that ends with a 500, unbilled
    "batch_line_left_out",  # a line that ran and was billed, and stands in neither file
]
OtherModel = Literal["other_model"]  # answered, and billed, by the model of `answers_as`
Kind = Refusal | Spoiled | OddUsage | OfStreams | OtherModel | OfResponses | OfBatches
ODD_USAGE_KINDS: frozenset[str] = frozenset(get_args(OddUsage))
# The work is done and paid for, and only its answer goes wrong. A hang is not of them: its `billed` decides.
BILLED_KINDS: frozenset[str] = frozenset(get_args(Spoiled)) | ODD_USAGE_KINDS
STREAM_KINDS: frozenset[str] = frozenset(get_args(OfStreams))
RESPONSE_KINDS: frozenset[str] = frozenset(get_args(OfResponses))
KINDS: tuple[str, ...] = tuple(
    kind
    for kinds in (Refusal, Spoiled, OddUsage, OfStreams, OtherModel, OfResponses, OfBatches)
    for kind in get_args(kinds)
)
BATCH_KINDS: frozenset[str] = frozenset(get_args(OfBatches))
# What any call of chat may be befallen by, and what a line of a batch.
CALL_KINDS = frozenset(KINDS) - STREAM_KINDS - RESPONSE_KINDS - BATCH_KINDS
LINE_KINDS = frozenset({"batch_line_refused", "batch_line_left_out"}) | ODD_USAGE_KINDS


class InvalidFault(ValueError):
    """The fault asked for is not one that the simulator knows."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `count` None never runs out; `match` is a part of the prompt; `seconds` is the wait before it strikes.

    For a hang `seconds` is how long it lasts before the connection is aborted, None for as long as the client waits.
    """

    id: int
    kind: Kind
    count: int | None = 1
    probability: float = 1.0
    model: str | None = None
    match: str | None = None
    seconds: float | None = None
    bytes_per_second: float = 20.0
    retry_after: int = 1  # seconds; 0 leaves the header out
    billed: bool = False
    code: str = "server_error"
    answers_as: str = "gpt-4o-mini"

    @property
    def is_billed(self) -> bool:
        return self.kind in BILLED_KINDS or self.kind == "garbage_chunk" or (self.kind == "hang" and self.billed)

    @property
    def is_refusal(self) -> bool:
        """The call is answered by it, and no work is done."""
        return not self.is_billed and self.kind not in RESPONSE_KINDS

    def strikes(self, kinds: frozenset[str], *, models: frozenset[str], prompt: str) -> bool:
        """Whether it is of these kinds, and work of this model (by any of its names) with this prompt is meant."""
        return (
            self.count != 0
            and self.kind in kinds
            and (self.model is None or self.model in models)
            and (self.match is None or self.match in prompt)
        )

    def body(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": self.kind,
            "remaining": self.count,
            "probability": self.probability,
            "model": self.model,
            "match": self.match,
            "seconds": self.seconds,
            "bytes_per_second": self.bytes_per_second,
            "retry_after": self.retry_after,
            "billed": self.is_billed,
            "answers_as": self.answers_as,
        }


class Faults:
    """The faults that are set, in the order of setting; the first that strikes is the one that happens."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)  # noqa: S311 (nothing secret)
        self._set: list[Fault] = []
        self._next_id = 1

    def add(self, wanted: Mapping[str, Any]) -> Fault:
        """Sets a fault from a control request. Raises InvalidFault with the reason."""
        fault = _parse(wanted, self._next_id)
        self._next_id += 1
        self._set.append(fault)
        return fault

    def draw(self, kinds: frozenset[str], *, models: frozenset[str], prompt: str) -> Fault | None:
        """The fault of these kinds that befalls this call, used up by one."""
        for place, fault in enumerate(self._set):
            is_meant = fault.strikes(kinds, models=models, prompt=prompt)
            if is_meant and self._chance.random() < fault.probability:
                if fault.count is not None:
                    self._set[place] = replace(fault, count=fault.count - 1)
                return fault
        return None

    def clear(self) -> None:
        self._set.clear()

    def body(self) -> list[dict[str, Any]]:
        return [fault.body() for fault in self._set]


def _parse(wanted: Mapping[str, Any], number: int) -> Fault:
    kind = str(wanted.get("kind"))
    if kind not in KINDS:
        raise InvalidFault(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    known = Fault.__dataclass_fields__.keys() - {"id"}
    if unknown := wanted.keys() - known:
        raise InvalidFault(f"unknown: {', '.join(sorted(unknown))}; a fault has {', '.join(sorted(known))}")
    # null means "as by default", but for the count: that is how a fault without end is asked for.
    options = {name: value for name, value in wanted.items() if value is not None or name == "count"}
    fault = Fault(id=number, **{**options, "kind": cast(Kind, kind)})
    if not 0 <= fault.probability <= 1 or fault.bytes_per_second <= 0 or (fault.count is not None and fault.count < 0):
        raise InvalidFault("probability is 0 to 1, bytes_per_second above 0, count 0 or more, or null")
    return fault
