"""`/v1/batches`: many requests in one file, also of models that the provider takes no batches of."""

from datetime import timedelta
from typing import Any

from django.http import HttpResponse
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.once import answer_once, text_of
from accounts.idempotency import Answer
from billing.money import usd
from jobs.api.submission import MetadataField
from jobs.batches import creation, moving, preview
from jobs.front_door import ids
from jobs.front_door.files import instant, lifetime_of
from jobs.front_door.views import ClientView
from jobs.models import Batch
from jobs.validation import RequestRejected
from jobs.validation.refusals import missing, wrong_type

PAGING = ids.Paging(usual=20, most=100)
MEMBERS = frozenset({"input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after"})


class BatchesView(ClientView):
    def post(self, request: Request) -> HttpResponse:
        """The batch, to be validated; the same answer again for a repetition under the same Idempotency-Key."""
        wanted = _wanted(request.data)

        def create() -> Answer:
            return Answer(200, text_of(batch_as_sent(creation.create(self.api_key, **wanted))))

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
    def post(self, request: Request) -> Response:
        """What a batch of a file would cost at most, and by what the project's answers came to so far."""
        body = _object(request.data, frozenset({"input_file_id"}))
        file = creation.input_file(self.api_key, ids.id_of(_text(body, "input_file_id"), ids.FILE), lock=False)
        return Response(preview.preview(self.api_key, file))


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
    """A batch in the provider's words; beside them `cost`, and lines that expired or were cancelled counted apart."""
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
        "cost": {
            name: usd(getattr(batch, name))
            for name in ("input_usd", "cached_input_usd", "output_usd", "reasoning_usd", "total_usd")
        },
    }


def _file_id(pk: Any) -> str | None:
    return None if pk is None else f"{ids.FILE}{pk.hex}"
