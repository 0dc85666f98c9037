"""A job that has ended as the provider's own answer: a chat completion, whichever way the call was made."""

from collections.abc import Iterator, Mapping
from typing import Any

from billing.api.contract import CostSerializer
from jobs.front_door.relayed import Relayed
from jobs.models import Attempt, Job, JobContent
from jobs.responses import tokens_of, written
from jobs.states import AttemptStatus
from jobs.streams import Delta

# A value of the provider's for its default tier, where its answer does not name one.
DEFAULT_TIER = "default"
# The counts that this endpoint has beside those that any has (recorded answers, 2025 on).
_NO_AUDIO = {"audio_tokens": 0}
_NO_PREDICTION = {"accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}
_COST = CostSerializer()
# What every chunk says of the completion as a whole.
_FRAME = ("id", "created", "model", "service_tier", "system_fingerprint")


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
        "choices": choices_of(job),
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


def chunk_of(frame: Mapping[str, Any], delta: Delta, *, include_usage: bool) -> dict[str, Any]:
    """One chunk of an answer that is being made."""
    said = {"index": delta.choice, "delta": delta.message, "logprobs": None, **delta.beside, "finish_reason": None}
    return {**_framed(frame), "choices": [said], **({"usage": None} if include_usage else {})}


def chunks_of(completion: Mapping[str, Any], relayed: Relayed, *, include_usage: bool) -> Iterator[dict[str, Any]]:
    """What the client does not have of an answer: of each choice the rest in one chunk, and then how it ended.

    Raises Contradiction where the answer is another than the one that it has the beginning of.
    """
    frame = _framed({**completion, **relayed.frame})
    no_usage = {"usage": None} if include_usage else {}
    for choice, delta in zip(completion["choices"], relayed.rest(completion["choices"]), strict=True):
        if delta.message or delta.beside:
            yield chunk_of(frame, delta, include_usage=include_usage)
        ended = {"index": delta.choice, "delta": {}, "logprobs": None, "finish_reason": choice["finish_reason"]}
        yield {**frame, "choices": [ended], **no_usage}
    if include_usage:
        yield {**frame, "choices": [], "usage": completion["usage"]}


def _framed(completion: Mapping[str, Any]) -> dict[str, Any]:
    said = {name: completion.get(name) for name in _FRAME}
    said["service_tier"] = said["service_tier"] or DEFAULT_TIER
    return {"id": said.pop("id"), "object": "chat.completion.chunk", **said}


def choices_of(job: Job) -> list[dict[str, Any]]:
    """Every choice of the answer."""
    rest = _rest_of(job)
    return [_first_choice(job, rest), *rest.get("choices", [])]


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
        "prompt_tokens_details": {"cached_tokens": tokens["cached"], **written(tokens), **_NO_AUDIO},
        "completion_tokens_details": {"reasoning_tokens": tokens["reasoning"], **_NO_AUDIO, **_NO_PREDICTION},
    }
