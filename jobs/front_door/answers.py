"""A job that has ended as the provider's own answer: a chat completion, whichever way the call was made."""

from collections.abc import Iterator, Mapping
from typing import Any

from billing.api.contract import CostSerializer
from jobs.models import Attempt, Job, JobContent
from jobs.responses import tokens_of
from jobs.states import AttemptStatus

# A value of the provider's for its default tier, where its answer does not name one.
DEFAULT_TIER = "default"
# The counts that this endpoint has beside those that any has (recorded answers, 2025 on).
_NO_AUDIO = {"audio_tokens": 0}
_NO_PREDICTION = {"accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}
_COST = CostSerializer()


def completion_of(job: Job, *, attempt: Attempt | None = None) -> dict[str, Any]:
    """The chat completion that answers a job which was answered, with its cost in `usage.cost`.

    Reads the job's content, unless it is loaded, and the attempt that brought the answer, unless it is given.
    """
    rest = _rest_of(job)
    beside = dict(rest.get("completion", {}))
    return {
        "id": response_id_of(job, attempt),
        "object": "chat.completion",
        "created": beside.pop("created", None) or int((job.finished_at or job.queued_at).timestamp()),
        "model": job.snapshot or job.model,
        "choices": [_first_choice(job, rest), *rest.get("choices", [])],
        "usage": usage_of(job),
        "service_tier": beside.pop("service_tier", None) or DEFAULT_TIER,
        "system_fingerprint": beside.pop("system_fingerprint", None),
        # Whatever else the provider said of it: annotations of newer versions, results of moderation.
        **{name: value for name, value in beside.items() if name != "metadata"},
    }


def usage_of(job: Job) -> dict[str, Any]:
    """The tokens in the shape of chat completions, and what they cost: decimal strings in US dollars."""
    usage = dict(job.usage or {})
    if "prompt_tokens" not in usage:
        usage = _as_chat(usage)
    cost = None if job.total_usd is None else _COST.to_representation(job)
    return {**usage, "cost": cost}


def response_id_of(job: Job, attempt: Attempt | None = None) -> str:
    """The provider's own id of the answer; one made of the job's where there is none of this kind."""
    if attempt is None:
        answered = (AttemptStatus.ANSWERED, AttemptStatus.RESOLVED)
        attempt = Attempt.objects.filter(job=job, status__in=answered).order_by("-number").first()
    said = attempt.provider_response_id if attempt else ""
    return said if said.startswith("chatcmpl-") else f"chatcmpl-{job.pk.hex}"


def chunks_of(completion: Mapping[str, Any], *, include_usage: bool) -> Iterator[dict[str, Any]]:
    """The same answer as the chunks of a stream: of each choice its message in one, and then how it ended."""
    frame = {name: completion[name] for name in ("id", "created", "model", "service_tier", "system_fingerprint")}
    frame = {"id": frame.pop("id"), "object": "chat.completion.chunk", **frame}
    no_usage = {"usage": None} if include_usage else {}
    for choice in completion["choices"]:
        index, logprobs = choice["index"], choice.get("logprobs")
        said = {"index": index, "delta": _delta(choice["message"]), "logprobs": logprobs, "finish_reason": None}
        ended = {"index": index, "delta": {}, "logprobs": None, "finish_reason": choice["finish_reason"]}
        yield {**frame, "choices": [said], **no_usage}
        yield {**frame, "choices": [ended], **no_usage}
    if include_usage:
        yield {**frame, "choices": [], "usage": completion["usage"]}


def _first_choice(job: Job, rest: Mapping[str, Any]) -> dict[str, Any]:
    beside = dict(rest.get("choice", {}))
    logprobs = beside.pop("logprobs", None)
    return {
        "index": 0,
        "message": _message_of(job),
        "logprobs": logprobs,
        "finish_reason": job.finish_reason,
        **beside,
    }


def _message_of(job: Job) -> dict[str, Any]:
    content = _content_of(job)
    # Content may have been erased since; that an answer was paid for is still told.
    return dict(content.message) if content and content.message else {"role": "assistant", "content": None}


def _rest_of(job: Job) -> dict[str, Any]:
    content = _content_of(job)
    return dict(content.rest or {}) if content else {}


def _content_of(job: Job) -> JobContent | None:
    try:
        return job.content
    except JobContent.DoesNotExist:
        return None


def _as_chat(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Usage as the Responses API bills it, in the words of chat completions."""
    tokens = tokens_of(usage)
    return {
        "prompt_tokens": tokens["input"],
        "completion_tokens": tokens["output"],
        "total_tokens": tokens["input"] + tokens["output"],
        "prompt_tokens_details": {"cached_tokens": tokens["cached"], **_NO_AUDIO},
        "completion_tokens_details": {"reasoning_tokens": tokens["reasoning"], **_NO_AUDIO, **_NO_PREDICTION},
    }


def _delta(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message as the difference to nothing: calls of tools are numbered there."""
    delta = {name: value for name, value in message.items() if name != "tool_calls"}
    if message.get("tool_calls"):
        delta["tool_calls"] = [{"index": number, **call} for number, call in enumerate(message["tool_calls"])]
    return delta
