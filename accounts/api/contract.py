"""What every route of `/api/v1` has in common: the project it acts for, how it reads a query, how it is documented."""

from collections.abc import Sequence
from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, inline_serializer
from rest_framework import serializers
from rest_framework.exceptions import APIException, ErrorDetail, ValidationError
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts.api.json_body import ExactJSONParser
from accounts.models import ApiKey

REQUEST_ID = OpenApiParameter(
    "X-Request-Id",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    response=True,
    description="The id of this request, also in Bursar's log. Quote it when you ask for help.",
)
PROBLEMS = {
    400: "The request is not valid; `errors` names each field.",
    401: "The API key is missing, unknown, expired or revoked.",
    402: "The call can cost more than a limit allows, or than its own `max_cost_usd`; `budget` has the figures.",
    403: "This is not allowed: at the organization's usage tier, or to this key; `code` says which.",
    404: "There is no such thing that the key may see.",
    409: "The request does not fit the present state; `code` says which.",
    411: "The body has no Content-Length.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "The Idempotency-Key was used before with another request.",
    429: "Too many requests (`throttled`), or as many jobs are queued as may be. Repeat after `Retry-After`.",
    503: "Something that Bursar needs does not answer. Repeat after `Retry-After`, with the same Idempotency-Key.",
}
# Any route may answer with these.
ALWAYS = (401, 429, 503)


RATE_LIMIT = OpenApiParameter(
    "RateLimit",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    response=True,
    description="Requests that the key has left (`r`), and the seconds until it has all of them again (`t`).",
)
RATE_LIMIT_POLICY = OpenApiParameter(
    "RateLimit-Policy",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    response=True,
    description="Requests that the key may send (`q`) in so many seconds (`w`).",
)


class ApiSchema(AutoSchema):
    """Describes the headers that every answer carries."""

    def get_override_parameters(self) -> list[Any]:
        return [*super().get_override_parameters(), REQUEST_ID, RATE_LIMIT, RATE_LIMIT_POLICY]


class LengthRequired(APIException):
    status_code = 411
    default_code = "length_required"
    default_detail = "Send the body with a Content-Length: one that is sent in chunks would be taken for an empty one."


class ProjectView(APIView):
    """A view that acts for the project whose API key was sent, and sees nothing of any other."""

    schema = ApiSchema()
    parser_classes = [ExactJSONParser]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Authenticates, and refuses a body in chunks: Django would read none of it."""
        super().initial(request, *args, **kwargs)
        if "Transfer-Encoding" in request.headers:
            raise LengthRequired

    @property
    def api_key(self) -> ApiKey:
        """The key of this request, with its project and organization loaded."""
        assert isinstance(self.request.auth, ApiKey)
        return self.request.auth


# Inline, because a class may not have a field that is called `errors`.
PROBLEM = inline_serializer(
    "Problem",
    {
        "type": serializers.CharField(help_text="`urn:bursar:problem:<code>`"),
        "title": serializers.CharField(),
        "status": serializers.IntegerField(),
        "detail": serializers.CharField(help_text="For people: what happened, and what to do about it."),
        "instance": serializers.CharField(help_text="Path of the request."),
        "code": serializers.CharField(help_text="For programs: stable, and what they decide by."),
        "request_id": serializers.CharField(),
        "errors": inline_serializer(
            "ProblemError",
            {
                "pointer": serializers.CharField(
                    required=False, help_text="Where in the body: a JSON pointer as a URI fragment, `#/priority`."
                ),
                "parameter": serializers.CharField(required=False, help_text="Or which query parameter."),
                "header": serializers.CharField(required=False, help_text="Or which request header."),
                "detail": serializers.CharField(),
                "code": serializers.CharField(),
            },
            many=True,
            required=False,
        ),
        "budget": serializers.DictField(required=False, help_text="The limit that is in the way, with its figures."),
        "advice": serializers.ListField(
            child=serializers.DictField(), required=False, help_text="The advice by which the project refuses the job."
        ),
    },
)


def page_of(name: str, child: type[serializers.Serializer]) -> serializers.Serializer:
    """The documentation of a page of these."""
    return inline_serializer(
        name,
        {
            "data": child(many=True),
            "has_more": serializers.BooleanField(),
            "next": serializers.URLField(allow_null=True, help_text="Where the next page is; null on the last one."),
        },
    )


def problems(*statuses: int) -> dict[tuple[int, str], OpenApiResponse]:
    """The documentation of these error answers, and of those that any route may give."""
    return {
        (status, "application/problem+json"): OpenApiResponse(PROBLEM, PROBLEMS[status])
        for status in sorted({*statuses, *ALWAYS})
    }


def read_query(request: Request, reader: type[serializers.Serializer], *, beside: Sequence[str] = ()) -> dict[str, Any]:
    """The validated query parameters; a list takes its parameter repeated, separated by commas, or both.

    A name that the reader does not know is refused, because a misspelt filter would show everything. `beside` are names
    that the caller reads itself. Raises ValidationError.
    """
    fields = reader().fields
    unknown = sorted(set(request.query_params) - set(fields) - set(beside))
    if unknown:
        message = f"Unknown parameter; known are {', '.join(fields)}."
        raise ValidationError({name: [ErrorDetail(message, code="unknown_parameter")] for name in unknown})
    given: dict[str, Any] = {}
    for name in fields.keys() & request.query_params.keys():
        values = request.query_params.getlist(name)
        if isinstance(fields[name], serializers.ListField):
            given[name] = [part.strip() for value in values for part in value.split(",") if part.strip()]
        elif len(values) == 1:
            given[name] = values[0]
        else:
            raise ValidationError({name: [ErrorDetail("Send this parameter once.", code="repeated_parameter")]})
    query = reader(data=given)
    query.is_valid(raise_exception=True)
    return dict(query.validated_data)
