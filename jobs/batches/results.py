"""The lines of the output and error files, as the provider writes them."""

import json
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from jobs.batches.refusals import ERASED
from jobs.front_door.answers import completion_of
from jobs.models import Attempt, BatchLine, Job
from jobs.states import AttemptStatus


def answered_attempts(jobs: Iterable[Job]) -> Mapping[UUID, Attempt]:
    """The attempt that brought the answer, by job."""
    ended = (AttemptStatus.ANSWERED, AttemptStatus.RESOLVED)
    found = Attempt.objects.filter(job__in=list(jobs), status__in=ended).order_by("number")
    return {attempt.job_id: attempt for attempt in found}


def output_line(line: BatchLine, attempt: Attempt | None) -> bytes:
    """A line of the output file: the request was answered."""
    job = line.job
    assert job is not None, "a constraint says so"
    request_id = (attempt and attempt.provider_request_id) or f"req_{job.pk.hex}"
    response = {"status_code": 200, "request_id": request_id, "body": completion_of(job, attempt=attempt)}
    return _written(line, response, None)


def error_line(line: BatchLine) -> bytes:
    """A line of the error file: the request was refused, or was not answered at all."""
    error: dict[str, Any] = line.error or ERASED
    if "body" not in error:
        return _written(line, None, {"code": error.get("code"), "message": error.get("message")})
    request_id = f"req_{line.job_id.hex if line.job_id else _id_of(line)}"
    return _written(line, {"status_code": error["status"], "request_id": request_id, "body": error["body"]}, None)


def _written(line: BatchLine, response: dict[str, Any] | None, error: dict[str, Any] | None) -> bytes:
    value = {
        "id": f"batch_req_{_id_of(line)}",
        "custom_id": line.custom_id,
        "response": response,
        "error": error,
    }
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _id_of(line: BatchLine) -> str:
    return f"{line.batch_id.hex}{line.number:08x}"
