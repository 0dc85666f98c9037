"""The lines of a batch: read and checked from its file, and written into the files of its answers."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from config.simulator import errors, requests
from config.simulator.models import Model
from config.simulator.requests import CompletionRequest

ENDPOINT = "/v1/chat/completions"
PARAM = "metadata"
LINES_MAX = 50_000
EXPIRED = ("batch_expired", "This request could not be executed before the completion window expired.")
# The words of a line that a cancellation kept from running are not recorded publicly.
CANCELLED = ("batch_cancelled", "This request was not executed because the batch was cancelled.")


@dataclass(slots=True)
class Line:
    """One line: a request, or why its call would be refused."""

    custom_id: str
    model: Model
    request: CompletionRequest | None = None
    refusal: errors.ApiError | None = None
    prompt_tokens: int = 0

    @property
    def prompt(self) -> str:
        return self.request.prompt if self.request else ""

    async def count(self) -> None:
        """Counts the prompt; one that is too long for its model is refused."""
        if self.request is None:
            return
        try:
            self.prompt_tokens = await requests.count_prompt(self.request)
        except errors.ApiError as error:
            self.refusal = error


@dataclass(slots=True)
class Written:
    """What stands in the two files of answers so far."""

    output: bytearray = field(default_factory=bytearray)
    refusals: bytearray = field(default_factory=bytearray)

    def answered(self, line: Line, request_id: str, body: Mapping[str, Any]) -> None:
        self.output += _written(line, {"status_code": 200, "request_id": request_id, "body": body}, None)

    def refused(self, line: Line, refusal: errors.ApiError) -> None:
        body = json.loads(refusal.body())
        response = {"status_code": refusal.status, "request_id": uuid.uuid4().hex, "body": body}
        self.refusals += _written(line, response, None)

    def left(self, line: Line, *, is_cancelled: bool) -> None:
        code, message = CANCELLED if is_cancelled else EXPIRED
        self.refusals += _written(line, None, {"code": code, "message": message})


def _written(line: Line, response: Mapping[str, Any] | None, error: Mapping[str, Any] | None) -> bytes:
    value = {
        "id": "batch_req_" + uuid.uuid4().hex[:24],
        "custom_id": line.custom_id,
        "response": response,
        "error": error,
    }
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def fault_of(code: str, message: str, param: str | None, line: int | None) -> dict[str, Any]:
    """An entry of the report of a validation."""
    return {"code": code, "message": message, "param": param, "line": line}


def read(data: bytes, models: Mapping[str, Model]) -> tuple[list[Line], list[dict[str, Any]]]:
    """The lines of a file, and what is wrong with it as a whole; with any fault of that kind, none is run."""
    lines: list[Line] = []
    faults: list[dict[str, Any]] = []
    ids: set[str] = set()
    names: set[str] = set()
    for number, text in enumerate(data.split(b"\n"), 1):
        if not text.strip():
            continue
        try:
            value = json.loads(text)
            custom_id, body = str(value["custom_id"]), dict(value["body"])
        except (ValueError, KeyError, TypeError):
            faults.append(fault_of("invalid_json_line", "This line is not parseable as valid JSON.", None, number))
            continue
        if custom_id in ids:
            message = f"The custom_id for this request is a duplicate of another request: {custom_id}."
            faults.append(fault_of("duplicate_custom_id", message, "custom_id", number))
        ids.add(custom_id)
        if value.get("url") != ENDPOINT:
            faults.append(fault_of("invalid_url", "The URL does not match the batch's endpoint.", "url", number))
        name = str(body.get("model"))
        names.add(name)
        model = models.get(name)
        if model is None or model.batch_price is None:
            message = f"The provided model '{name}' is not supported by the Batch API."
            faults.append(fault_of("model_not_found", message, "body.model", number))
        elif len(names) > 1:
            faults.append(fault_of("mismatched_model", "All lines of a batch name one model.", "body.model", number))
        else:
            lines.append(_line(custom_id, body, model))
    if not ids and not faults:
        faults.append(fault_of("empty_file", "The input file is empty.", None, None))
    if len(lines) > LINES_MAX:
        faults.append(fault_of("too_many_requests", f"A batch has {LINES_MAX} requests at most.", None, None))
    return lines, faults


def _line(custom_id: str, body: dict[str, Any], model: Model) -> Line:
    try:
        request = requests.check(body, model)
    except errors.ApiError as error:
        return Line(custom_id, model, refusal=error)
    if request.stream:
        return Line(custom_id, model, refusal=errors.unsupported_value("stream", "true", ""))
    return Line(custom_id, model, request)
