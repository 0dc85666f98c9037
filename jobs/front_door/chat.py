"""`POST /v1/chat/completions`: a chat completion as the provider makes them, by way of a job."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.http.response import HttpResponseBase
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from accounts.api.json_body import plain
from billing.models import ServiceTier
from jobs.api.submission import METADATA_VALUE, MetadataField
from jobs.front_door.answers import chunk_of, chunks_of, completion_of
from jobs.front_door.exchange import Exchange
from jobs.front_door.relayed import Relayed
from jobs.front_door.shapes import Events, Shape, Whole
from jobs.front_door.views import WaitingView
from jobs.front_door.wishes import Wishes, wishes_of
from jobs.models import Job
from jobs.submission import Submission, submit
from jobs.validation import PromptRequest, RequestRejected
from jobs.validation.refusals import invalid_value, missing, wrong_type

# The provider's names for what a call may be served by; its own default is what no name is sent for.
SERVICE_TIERS: Mapping[str, ServiceTier] = {
    "auto": ServiceTier.STANDARD,
    "default": ServiceTier.STANDARD,
    "flex": ServiceTier.FLEX,
    "priority": ServiceTier.PRIORITY,
}
_METADATA = MetadataField(child=serializers.CharField(max_length=METADATA_VALUE), allow_null=True)


@dataclass(frozen=True, slots=True)
class Streaming:
    """Whether, and how, the answer is wanted as a stream. The job knows only whether."""

    is_wanted: bool = False
    include_usage: bool = False


class ChatCompletionsView(WaitingView):
    def post(self, request: Request) -> HttpResponseBase:
        """The completion, when its job has ended; 202 and the job where the client wanted that."""
        wishes = wishes_of(request)
        submission, streaming = read_completion(request.data, wishes)
        return Exchange(
            request, self.api_key, wishes, _shape(streaming), lambda: submit(self.api_key, submission)
        ).response()


def _shape(streaming: Streaming) -> Shape:
    def chunks(job: Job, relayed: Relayed) -> Iterator[Mapping[str, Any]]:
        return chunks_of(completion_of(job), relayed, include_usage=streaming.include_usage)

    if not streaming.is_wanted:
        return Whole(completion_of)
    return Events(partial(chunk_of, include_usage=streaming.include_usage), chunks)


def read_completion(
    body: Any, wishes: Wishes, *, asked: Mapping[str, Any] | None = None
) -> tuple[Submission, Streaming]:
    """What a body asks for. Raises RequestRejected, and ValidationError for metadata.

    `asked`: what another endpoint wants to say again of the request, and chat has no place for.

    What only the model or the provider can judge goes on to the submission as it was sent.
    """
    if not isinstance(body, dict):
        raise RequestRejected("The JSON body of the request is no object: it has at least 'model' and 'messages'.")
    parameters = {name: plain(value) for name, value in body.items()}
    model, messages = parameters.pop("model", None), parameters.pop("messages", None)
    if not model:
        raise RequestRejected("you must provide a model parameter")
    if not isinstance(model, str):
        raise wrong_type("model", "a string", model)
    if messages is None:
        raise missing("messages")
    streaming = _streaming(parameters)
    metadata = _metadata(parameters)
    tier = _service_tier(parameters.pop("service_tier", None))
    prompt = PromptRequest(model=model, messages=messages, parameters=parameters)
    submission = Submission(
        prompt,
        metadata=metadata,
        service_tier=tier,
        max_cost_usd=wishes.max_cost_usd,
        asked=asked,
        wants_stream=streaming.is_wanted and wishes.stays,
        wants_advice=True,
        ignored_advice=wishes.ignored_advice,
    )
    return submission, streaming


def _streaming(parameters: dict[str, Any]) -> Streaming:
    wanted, options = parameters.pop("stream", None), parameters.pop("stream_options", None)
    if wanted is not None and not isinstance(wanted, bool):
        raise wrong_type("stream", "a boolean", wanted)
    if options is None:
        return Streaming(bool(wanted))
    if not isinstance(options, dict):
        raise wrong_type("stream_options", "an object", options)
    if not wanted:
        raise RequestRejected(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
        )
    return Streaming(True, include_usage=options.get("include_usage") is True)


def _metadata(parameters: dict[str, Any]) -> dict[str, str]:
    """The pairs to find the job by. The provider gets them as well where it is to keep the answer, and takes none
    otherwise.
    """
    try:
        found: dict[str, str] = _METADATA.run_validation(parameters.get("metadata")) or {}
    except ValidationError as error:
        raise ValidationError({"metadata": error.detail}) from error
    if parameters.get("store") is not True:
        parameters.pop("metadata", None)
    return found


def _service_tier(name: Any) -> ServiceTier:
    if name is None:
        return ServiceTier.STANDARD
    if not isinstance(name, str):
        raise wrong_type("service_tier", "a string", name)
    if name not in SERVICE_TIERS:
        raise invalid_value("service_tier", name, list(SERVICE_TIERS))
    return SERVICE_TIERS[name]
