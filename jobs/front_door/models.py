"""`GET /v1/models`: what the key's project may call, in the provider's words, and until when each can be called."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from billing.clock import database_now
from jobs.api.offers import Offer, offers_to
from jobs.front_door.views import ClientView
from jobs.validation import RequestRejected


class ModelsView(ClientView):
    def get(self, request: Request) -> Response:
        """Every model and snapshot that a call would be taken for, each under the name that it is called by."""
        offers = offers_to(self.api_key.project, database_now())
        rows = [row for offer in offers if offer.availability.usable for row in _rows(offer)]
        return Response({"object": "list", "data": rows})


class ModelView(ClientView):
    def get(self, request: Request, name: str) -> Response:
        """One of them. Raises RequestRejected in the provider's words for any other name."""
        for offer in offers_to(self.api_key.project, database_now()):
            for row in _rows(offer):
                if row["id"] == name:
                    return Response(_usable(row, offer))
        raise RequestRejected(
            f"The model '{name}' does not exist or you do not have access to it.",
            code="model_not_found",
            param="model",
            status=404,
        )


def _usable(row: dict[str, Any], offer: Offer) -> dict[str, Any]:
    """The row of a model that may be called. Raises RequestRejected with the reason why it may not."""
    if not offer.availability.usable:
        raise RequestRejected(offer.availability.reason or "", code=offer.availability.code, param="model", status=404)
    return row


def _rows(offer: Offer) -> Iterator[dict[str, Any]]:
    """The model under its own name, and each snapshot of it."""
    model = offer.model
    yield _row(model.name, model.released_on, model.shutdown_on, model.successor)
    for snapshot in model.snapshots.all():
        yield _row(snapshot.name, model.released_on, snapshot.shutdown_on or model.shutdown_on, model.successor)


def _row(name: str, released_on: date, shutdown_on: date | None, successor: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": int(datetime.combine(released_on, time.min, UTC).timestamp()),
        "owned_by": "openai",
        # Beside the provider's own fields, which say nothing of it.
        "shutdown_on": shutdown_on.isoformat() if shutdown_on else None,
        "successor": successor or None,
    }
