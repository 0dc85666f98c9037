"""`/v1/batches`: many requests in one file, also of models that the provider takes no batches of."""

from collections.abc import Generator, Iterator
from datetime import timedelta
from itertools import chain
from time import monotonic
from typing import Any

from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.once import answer_once, text_of
from accounts.idempotency import Answer
from billing.money import usd
from jobs.api.submission import MetadataField
from jobs.batches import creation, moving, preview
from jobs.batches.at_provider import figures
from jobs.front_door import ids
from jobs.front_door.files import instant, lifetime_of
from jobs.front_door.views import ClientView
from jobs.front_door.wishes import max_cost_of
from jobs.models import Batch
from jobs.validation import RequestRejected
from jobs.validation.refusals import missing, wrong_type

PAGING = ids.Paging(usual=20, most=100)
# Between the values of a JSON text blanks mean nothing.
SIGN_OF_LIFE = b" "
MEMBERS = frozenset({"input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after", "bursar"})


class BatchesView(ClientView):
    def post(self, request: Request) -> HttpResponse:
        """The batch, to be validated; the same answer again for a repetition under the same Idempotency-Key."""
        wanted, most = _wanted(request.data), max_cost_of(request)

        def create() -> Answer:
            return Answer(200, text_of(batch_as_sent(creation.create(self.api_key, max_cost_usd=most, **wanted))))

        return answer_once(request, create)

    def get(self, request: Request) -> Response:
        """A page of the project's batches, the newest first."""
        found = Batch.objects.filter(project=self.api_key.project)
        rows, has_more = ids.page(request, found, ids.BATCH, PAGING)
        return Response(ids.as_list([batch_as_sent(row) for row in rows], has_more=has_more))


class BatchView(ClientView):
    def get(self, request: Request, batch_id: str) -> Response:
        """The batch as it stands."""
        return Response(batch_as_sent(batch_of(self, batch_id)))


class BatchCancellationView(ClientView):
    def post(self, request: Request, batch_id: str) -> Response:
        """The batch, about to be cancelled. Raises BatchNotCancellable."""
        return Response(batch_as_sent(moving.cancel(batch_of(self, batch_id))))


class BatchPreviewView(ClientView):
    def post(self, request: Request) -> HttpResponseBase:
        """What a batch of a file would cost at most, and by what the project's answers came to so far.

        One that takes long is sent as a stream of blanks with the JSON behind them: no proxy takes it for dead.
        """
        body = _object(request.data, frozenset({"input_file_id"}))
        file = creation.input_file(self.api_key, ids.id_of(_text(body, "input_file_id"), ids.FILE), lock=False)
        parts = _with_signs_of_life(preview.preview(self.api_key, file))
        first = next(parts)
        if first != SIGN_OF_LIFE:
            return HttpResponse(first, content_type="application/json")
        answer = StreamingHttpResponse(chain([first], parts), content_type="application/json")
        answer["X-Accel-Buffering"] = "no"  # proxies pass each of them on
        return answer


def _with_signs_of_life(looking: Generator[None, None, dict[str, Any]]) -> Iterator[bytes]:
    """The JSON of a preview at the end, and before it a blank for each span of silence."""
    silent_since = monotonic()
    while True:
        try:
            next(looking)
        except StopIteration as ended:
            yield text_of(ended.value).encode()
            return
        if monotonic() - silent_since >= settings.KEEPALIVE_SECONDS:
            yield SIGN_OF_LIFE
            silent_since = monotonic()


def batch_of(view: ClientView, batch_id: str) -> Batch:
    """A batch of the caller's project. Raises RequestRejected."""
    found = Batch.objects.filter(project=view.api_key.project, pk=ids.id_of(batch_id, ids.BATCH)).first()
    batch: Batch = ids.known(found, "Batch", batch_id)
    return batch


def _wanted(body: Any) -> dict[str, Any]:
    body = _object(body, MEMBERS)
    kept = body.get("output_expires_after")
    if kept is not None and not isinstance(kept, dict):
        raise wrong_type("output_expires_after", "an object", kept)
    return {
        "input_file_id": ids.id_of(_text(body, "input_file_id"), ids.FILE),
        "endpoint": _text(body, "endpoint"),
        "completion_window": _text(body, "completion_window"),
        "metadata": _metadata(body.get("metadata")),
        "output_expires_after": _kept_for(kept) if kept else None,
        "at_provider": _at_provider(body.get("bursar")),
    }


def _object(body: Any, members: frozenset[str]) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise RequestRejected("The body is a JSON object.")
    if unknown := sorted(body.keys() - members):
        raise RequestRejected(f"Unrecognized request arguments supplied: {', '.join(unknown)[:200]}")
    return body


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        raise missing(name)
    if not isinstance(value, str):
        raise wrong_type(name, "a string", value)
    return value


def _at_provider(value: Any) -> bool | None:
    """What `{"bursar": {"at_provider": ...}}` wants; None where nothing is said."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise wrong_type("bursar", "an object", value)
    if unknown := sorted(value.keys() - {"at_provider"}):
        raise RequestRejected(f"Unrecognized request arguments supplied: {', '.join(unknown)[:200]}", param="bursar")
    wanted = value.get("at_provider")
    if wanted is not None and not isinstance(wanted, bool):
        raise wrong_type("bursar.at_provider", "a boolean", wanted)
    return wanted


def _metadata(value: Any) -> dict[str, str] | None:
    if value is None:
        return None
    try:
        found: dict[str, str] = _METADATA.run_validation(value)
    except ValidationError as error:
        raise ValidationError({"metadata": error.detail}) from error
    return found


def _kept_for(value: dict[str, Any]) -> timedelta:
    return lifetime_of("output_expires_after", value.get("anchor"), value.get("seconds"))


_METADATA = MetadataField()


def batch_as_sent(batch: Batch) -> dict[str, Any]:
    """A batch in the provider's words; beside them `cost`, `max_cost_usd`, and lines that expired or were cancelled
    counted apart.
    """
    moments = ("in_progress", "expires", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
    return {
        "id": batch.public_id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model or None,
        "errors": {"object": "list", "data": batch.errors} if batch.errors else None,
        "input_file_id": _file_id(batch.input_file_id),
        "completion_window": batch.completion_window,
        "status": batch.status,
        # They are named when they can be fetched.
        "output_file_id": _file_id(batch.output_file_id) if batch.has_files else None,
        "error_file_id": _file_id(batch.error_file_id) if batch.has_files else None,
        "created_at": instant(batch.created_at),
        **{f"{name}_at": instant(getattr(batch, f"{name}_at")) for name in moments},
        "request_counts": {
            "total": batch.total,
            "completed": batch.completed,
            "failed": batch.failed,
            "expired": batch.expired,
            "cancelled": batch.cancelled,
        },
        "metadata": batch.metadata,
        "usage": {
            "input_tokens": batch.input_tokens,
            "input_tokens_details": {"cached_tokens": batch.cached_tokens},
            "output_tokens": batch.output_tokens,
            "output_tokens_details": {"reasoning_tokens": batch.reasoning_tokens},
            "total_tokens": batch.input_tokens + batch.output_tokens,
        },
        "at_provider": figures.as_sent(batch),
        "cost": {
            name: usd(getattr(batch, name))
            for name in ("input_usd", "cached_input_usd", "output_usd", "reasoning_usd", "total_usd")
        },
        "max_cost_usd": None if batch.max_cost_usd is None else usd(batch.max_cost_usd),
    }


def _file_id(pk: Any) -> str | None:
    return None if pk is None else f"{ids.FILE}{pk.hex}"
