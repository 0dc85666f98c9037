"""Answers a POST once per Idempotency-Key, with the same bytes for each repetition."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from accounts.api.idempotency_key import MAX_CHARACTERS, idempotency_key
from accounts.idempotency import Answer, fingerprint_of, run_once
from accounts.models import ApiKey

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description=f"1 to {MAX_CHARACTERS} printable ASCII characters, bare or quoted. The request is done once, however "
    "often it is sent with the same key; a repetition gets the first answer again.",
)


def replayed(status: int) -> OpenApiParameter:
    """The documentation of the header on an answer of this status."""
    return OpenApiParameter(
        "Idempotent-Replayed",
        OpenApiTypes.STR,
        OpenApiParameter.HEADER,
        response=[status],
        description="`true` on the answer to a repetition.",
    )


def location(status: int, description: str) -> OpenApiParameter:
    """The documentation of where an answer of this status points."""
    return OpenApiParameter(
        "Location", OpenApiTypes.URI, OpenApiParameter.HEADER, response=[status], description=description
    )


def text_of(body: Mapping[str, Any]) -> str:
    """The JSON of an answer. Kept as text, because PostgreSQL's would give the members back in another order."""
    return JSONRenderer().render(body).decode()


def answer_once(request: Request, work: Callable[[], Answer], *, below: str | None = "") -> HttpResponse:
    """The answer of `work`, whose body is a JSON object as text; an earlier one where the request repeats it.

    What was made has an `id`, and is found by it below the path of the request and `below`; None: nothing was made.
    """
    assert isinstance(request.auth, ApiKey)
    key = idempotency_key(request)
    answer = run_once(request.auth.project, key, fingerprint_of("POST", request.path, request.body), work)
    response = HttpResponse(answer.body, status=answer.status, content_type="application/json")
    if below is not None:
        response["Location"] = request.build_absolute_uri(f"{request.path}{below}/{json.loads(answer.body)['id']}")
    if answer.is_replay:
        response["Idempotent-Replayed"] = "true"
    return response
