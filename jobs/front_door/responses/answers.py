"""A job as a response object: while it waits, while it is under way, and however it has ended. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from billing.api.contract import CostSerializer
from jobs.models import Job, JobContent
from jobs.responses import tokens_of, written
from jobs.states import JobStatus

STATUS: Mapping[str, str] = {
    JobStatus.QUEUED: "queued",
    JobStatus.RUNNING: "in_progress",
    JobStatus.IN_DOUBT: "in_progress",
    JobStatus.SUCCEEDED: "completed",
    JobStatus.INCOMPLETE: "incomplete",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELLED: "cancelled",
}
# How the provider's Responses API calls what chat calls a finish reason.
INCOMPLETE_REASONS = {"length": "max_output_tokens"}
PREFIX = "resp_"
_COST = CostSerializer()


def id_of(job: Job) -> str:
    """`resp_` and 32 hexadecimal digits: the job's own id, so that either is found by the other."""
    return PREFIX + job.pk.hex


def response_of(job: Job, *, reasons: bool | None = None) -> dict[str, Any]:
    """The response object. Without content, where that was erased, what was said is missing and the figures stay.

    `reasons`: whether it has an item for the reasoning, where that was said before anybody knew; else its usage tells.
    """
    content: JobContent | None = getattr(job, "content", None)
    asked: Mapping[str, Any] = (content.request if content else None) or {}
    door: Mapping[str, Any] = (content.asked if content else None) or {}
    status = STATUS[job.status]
    return {
        "id": id_of(job),
        "object": "response",
        "created_at": int(job.queued_at.timestamp()),
        "status": status,
        "background": door.get("background", False),
        "completed_at": int(job.finished_at.timestamp()) if job.finished_at and status == "completed" else None,
        "error": _error(job),
        "incomplete_details": _incomplete(job),
        "instructions": door.get("instructions"),
        "max_output_tokens": asked.get("max_completion_tokens"),
        "max_tool_calls": None,
        "model": job.snapshot or job.model,
        "output": list(_output(job, content.message if content else None, reasons)),
        "parallel_tool_calls": asked.get("parallel_tool_calls", True),
        "previous_response_id": door.get("previous_response_id"),
        "prompt_cache_key": asked.get("prompt_cache_key"),
        "reasoning": {"effort": asked.get("reasoning_effort"), "summary": None},
        "safety_identifier": asked.get("safety_identifier"),
        "service_tier": "default" if job.service_tier == "standard" else job.service_tier,
        "store": asked.get("store", True),
        "temperature": asked.get("temperature", 1),
        "text": _text(asked),
        "tool_choice": _choice(asked.get("tool_choice", "auto")),
        "tools": [{"type": "function", **tool.get("function", {})} for tool in asked.get("tools") or []],
        "top_logprobs": 0,
        "top_p": asked.get("top_p", 1),
        "truncation": "disabled",
        "usage": _usage(job),
        "user": asked.get("user"),
        "metadata": job.metadata,
    }


def _error(job: Job) -> dict[str, Any] | None:
    if job.status != JobStatus.FAILED:
        return None
    error = job.error or {}
    return {"code": error.get("code") or "server_error", "message": error.get("message") or "The job failed."}


def _incomplete(job: Job) -> dict[str, str] | None:
    if job.status != JobStatus.INCOMPLETE:
        return None
    return {"reason": INCOMPLETE_REASONS.get(job.finish_reason, job.finish_reason)}


def _output(job: Job, message: Mapping[str, Any] | None, reasons: bool | None) -> Iterator[dict[str, Any]]:
    """The items of an answer: the place of the reasoning, what was said, and the functions that are to be called."""
    if message is None:
        return
    if tokens_of(job.usage)["reasoning"] if reasons is None else reasons:
        yield reasoning_item(job.pk)
    if parts := list(_parts(message)):
        yield message_item(job.pk, "incomplete" if job.status == JobStatus.INCOMPLETE else "completed", parts)
    for number, call in enumerate(message.get("tool_calls") or []):
        function = call.get("function") or {}
        yield {
            "id": f"fc_{job.pk.hex}{number:02}",
            "type": "function_call",
            "status": "completed",
            "call_id": call.get("id"),
            "name": function.get("name"),
            "arguments": function.get("arguments"),
        }


def reasoning_item(job_id: UUID) -> dict[str, Any]:
    """The place of the reasoning, of which nothing is said."""
    return {"id": f"rs_{job_id.hex}", "type": "reasoning", "summary": []}


def message_item(job_id: UUID, status: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    """What was said."""
    return {
        "id": f"msg_{job_id.hex}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": parts,
    }


def _parts(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if message.get("content"):
        yield text_part(message["content"])
    if message.get("refusal"):
        yield {"type": "refusal", "refusal": message["refusal"]}


def text_part(text: str) -> dict[str, Any]:
    """Some text of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(job: Job) -> dict[str, Any] | None:
    """The tokens in this endpoint's shape, whichever way they were billed, and beside them what they cost."""
    if job.usage is None:
        return None
    tokens = tokens_of(job.usage)
    usage: dict[str, Any] = {
        "input_tokens": tokens["input"],
        "input_tokens_details": {"cached_tokens": tokens["cached"], **written(tokens)},
        "output_tokens": tokens["output"],
        "output_tokens_details": {"reasoning_tokens": tokens["reasoning"]},
        "total_tokens": tokens["input"] + tokens["output"],
    }
    return {**usage, "cost": None if job.total_usd is None else _COST.to_representation(job)}


def _text(asked: Mapping[str, Any]) -> dict[str, Any]:
    form = asked.get("response_format") or {"type": "text"}
    if form.get("type") == "json_schema":
        form = {"type": "json_schema", **form.get("json_schema", {})}
    return {"format": form, **({"verbosity": asked["verbosity"]} if "verbosity" in asked else {})}


def _choice(choice: Any) -> Any:
    if isinstance(choice, dict):
        return {"type": "function", "name": (choice.get("function") or {}).get("name")}
    return choice
