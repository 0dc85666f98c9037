"""Response objects: of work that waits, that is under way, and that has ended in one of the ways there are."""

import random
import string
import time
from collections.abc import Mapping
from typing import Any, Literal

from config.simulator.answers import Answer
from config.simulator.calls import Order
from config.simulator.responses_requests import is_stored
from config.simulator.usage import Usage

Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
# Seeded by the system: ids must not repeat between runs, unlike answers.
_ids = random.Random()  # noqa: S311 (unique, not secret)
HEX = string.hexdigits[:16]


def new_id(prefix: str) -> str:
    """`resp_`, `rs_` or `msg_` and 48 hexadecimal digits, as recorded in 2025."""
    return prefix + "".join(_ids.choices(HEX, k=48))


def begun(order: Order, asked: Mapping[str, Any], status: Status) -> dict[str, Any]:
    """The object before there is an answer. `asked` is the body as the caller sent it."""
    model = order.request.model
    reasoning, text = asked.get("reasoning") or {}, asked.get("text") or {}
    return {
        "id": new_id("resp_"),
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "background": bool(asked.get("background")),
        "error": None,
        "incomplete_details": None,
        "instructions": asked.get("instructions"),
        "max_output_tokens": asked.get("max_output_tokens"),
        "model": model.snapshot,
        "output": [],
        "parallel_tool_calls": asked.get("parallel_tool_calls", True),
        "previous_response_id": asked.get("previous_response_id"),
        "reasoning": {
            "effort": reasoning.get("effort") or ("medium" if model.efforts else None),
            "summary": reasoning.get("summary"),
        },
        "service_tier": order.request.service_tier,
        "store": is_stored(asked),
        "temperature": asked.get("temperature", 1.0),
        "text": {"format": text.get("format") or {"type": "text"}},
        "tool_choice": asked.get("tool_choice", "auto"),
        "tools": asked.get("tools") or [],
        "top_p": asked.get("top_p", 1.0),
        "truncation": "disabled",
        "usage": None,
        "user": asked.get("user"),
        "metadata": dict(order.request.metadata),
    }


def answered(body: Mapping[str, Any], answer: Answer, spent: Usage, *, reasons: bool) -> dict[str, Any]:
    """Completed, or incomplete where the cap cut the answer off: reasoning alone leaves no message behind."""
    is_whole = answer.finish_reason == "stop"
    thought = [{"id": new_id("rs_"), "type": "reasoning", "summary": []}] if reasons else []
    message = {
        "id": new_id("msg_"),
        "type": "message",
        "status": "completed" if is_whole else "incomplete",
        "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": answer.text}],
        "role": "assistant",
    }
    return {
        **body,
        "status": "completed" if is_whole else "incomplete",
        "completed_at": int(time.time()) if is_whole else None,
        "incomplete_details": None if is_whole else {"reason": "max_output_tokens"},
        "output": [*thought, message] if answer.text else thought,
        "usage": usage_body(spent),
    }


def failed(body: Mapping[str, Any], code: str) -> dict[str, Any]:
    """The provider gave up, and billed nothing."""
    message = "The server had an error processing your request. Sorry about that!"
    return {**body, "status": "failed", "error": {"code": code, "message": message}}


def cancelled(body: Mapping[str, Any], spent: Usage | None) -> dict[str, Any]:
    """Stopped by its owner. That its usage is told is a guess: no recorded cancellation shows it (2026)."""
    return {**body, "status": "cancelled", "usage": usage_body(spent) if spent else None}


def usage_body(spent: Usage) -> dict[str, Any]:
    """The usage object of responses."""
    return {
        "input_tokens": spent.prompt_tokens,
        "input_tokens_details": {"cached_tokens": spent.cached_tokens, **spent.written},
        "output_tokens": spent.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": spent.reasoning_tokens},
        "total_tokens": spent.prompt_tokens + spent.completion_tokens,
    }
