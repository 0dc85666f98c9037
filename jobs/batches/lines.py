"""The lines of an input file: found in its bytes, and read as requests."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from accounts.api.json_body import MalformedJson, parse, plain
from accounts.errors import DomainError
from billing.models import ServiceTier
from jobs.batches import files
from jobs.models import File
from jobs.submission import Submission
from jobs.validation import PromptRequest, RequestRejected

ENDPOINT = "/v1/chat/completions"
MAX_CUSTOM_ID = 512
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MEMBERS = frozenset({"custom_id", "method", "url", "body"})
# What the provider calls the tier that has no name here.
STANDARD_TIERS = ("auto", "default")
TIERS = {tier.value: tier for tier in ServiceTier if tier is not ServiceTier.BATCH} | dict.fromkeys(
    STANDARD_TIERS, ServiceTier.STANDARD
)


@dataclass(frozen=True, slots=True)
class RawLine:
    """A line as it stands in the file. `text` is None where it is longer than a line may be."""

    position: int
    length: int
    text: bytes | None

    @property
    def next_position(self) -> int:
        """Where the line after it begins."""
        return self.position + self.length + 1

    @property
    def is_empty(self) -> bool:
        return self.text is not None and not self.text.strip()


class LineFault(DomainError):
    """The line is no request of this batch."""

    code = "invalid_request"


@dataclass(frozen=True, slots=True)
class Request:
    """One line, read: the caller's own id for it, and what is asked of which model."""

    custom_id: str
    prompt: PromptRequest
    service_tier: ServiceTier

    def in_batch(self) -> "Request":
        """The same for the provider's batch endpoint, whose price is the tier: it is not asked for."""
        parameters = {name: value for name, value in self.prompt.parameters.items() if name != "service_tier"}
        prompt = PromptRequest(self.prompt.model, self.prompt.messages, parameters)
        return Request(self.custom_id, prompt, ServiceTier.BATCH)

    def submission(
        self, *, batch_id: str, priority: int, deadline: datetime, max_cost_usd: Decimal | None
    ) -> Submission:
        """The job that it becomes, found again by the metadata that its body has, by its batch and by its own id.

        `max_cost_usd`: what its batch has left to spend; None: as much as the limits allow.
        """
        parameters = {name: value for name, value in self.prompt.parameters.items() if name != "metadata"}
        own = {"batch_id": batch_id, "custom_id": self.custom_id}
        return Submission(
            PromptRequest(self.prompt.model, self.prompt.messages, parameters),
            metadata={**(self.prompt.parameters.get("metadata") or {}), **own},
            priority=priority,
            service_tier=self.service_tier,
            max_cost_usd=max_cost_usd,
            is_held_to_its_bound=max_cost_usd is not None,
            deadline=deadline,
        )


def raw_lines(file: File, start: int, *, longest: int) -> Iterator[RawLine]:
    """Every line from a position on, which is where a line begins; of those that are too long, only where they are."""
    begun, pending, skipped = start, bytearray(), 0
    for data in files.content(file, start):
        at = 0
        while (end := data.find(b"\n", at)) >= 0:
            pending += data[at:end]
            line = _raw(begun, pending, skipped, longest)
            yield line
            begun, at, skipped = line.next_position, end + 1, 0
            pending.clear()
        pending += data[at:]
        if len(pending) > longest:
            skipped += len(pending)
            pending.clear()
    if pending or skipped:
        yield _raw(begun, pending, skipped, longest)


def _raw(position: int, pending: bytearray, skipped: int, longest: int) -> RawLine:
    length = skipped + len(pending)
    if length > longest:
        return RawLine(position, length, None)
    text = bytes(pending)
    return RawLine(position, length, text.removeprefix(BYTE_ORDER_MARK) if position == 0 else text)


def read_request(text: bytes) -> Request:
    """The request of a line. Raises LineFault, or RequestRejected in the provider's words for its body."""
    try:
        value = parse(text.strip().removeprefix(BYTE_ORDER_MARK))
    except MalformedJson as error:
        raise LineFault(f"This line is no JSON object: {error.detail}", code="invalid_json_line") from error
    if not isinstance(value, dict):
        raise LineFault("This line is JSON, and no object.", code="invalid_json_line")
    custom_id = _custom_id(value)
    _must_be(value, "method", "POST", "invalid_method")
    _must_be(value, "url", ENDPOINT, "invalid_url")
    if unknown := sorted(value.keys() - MEMBERS):
        message = f"Unknown members: {', '.join(name[:64] for name in unknown[:5])}. A request has custom_id, method, "
        raise LineFault(message + "url and body.", code="unknown_parameter", param=unknown[0][:64])
    body = value.get("body")
    if not isinstance(body, dict):
        raise _missing("body") if body is None else LineFault("'body' is no object.", code="invalid_type", param="body")
    prompt = _prompt(plain(body))
    return Request(custom_id, prompt, _tier(prompt.parameters.get("service_tier")))


def _custom_id(value: dict[str, Any]) -> str:
    custom_id = value.get("custom_id")
    if custom_id is None:
        raise _missing("custom_id")
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= MAX_CUSTOM_ID:
        message = f"'custom_id' is a text of 1 to {MAX_CUSTOM_ID} characters."
        raise LineFault(message, code="invalid_type", param="custom_id")
    return custom_id


def _must_be(value: dict[str, Any], name: str, wanted: str, code: str) -> None:
    if value.get(name) is None:
        raise _missing(name)
    if value[name] != wanted:
        raise LineFault(f"'{name}' has to be {wanted}, as in every line of this batch.", code=code, param=name)


def _missing(name: str) -> LineFault:
    return LineFault(f"Missing required parameter: '{name}'.", code="missing_required_parameter", param=name)


def _prompt(body: dict[str, Any]) -> PromptRequest:
    parameters = dict(body)
    model = parameters.pop("model", None)
    if not isinstance(model, str) or not model:
        raise _missing("body.model")
    return PromptRequest(model, parameters.pop("messages", None), parameters)


def _tier(name: Any) -> ServiceTier:
    if name is None:
        return ServiceTier.STANDARD
    if not isinstance(name, str) or name not in TIERS:
        message = f"Invalid 'service_tier': {json.dumps(name)[:64]}. Leave it out, or send one of {', '.join(TIERS)}."
        raise RequestRejected(message, code="invalid_value", param="service_tier")
    return TIERS[name]
