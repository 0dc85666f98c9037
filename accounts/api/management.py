"""What the routes of management have in common: keys and roles, bodies without surprises, pages, and their words."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.core.exceptions import ObjectDoesNotExist
from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, NotFound, ValidationError
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import audit
from accounts.access import Capability
from accounts.api.contract import ProjectView, read_query
from accounts.api.permissions import IsManagementKey, require
from accounts.audit import Who
from accounts.models import Organization, User

TAGS = ["Management"]
PAGE, MAX_PAGE = 20, 100
# What POST and PATCH may answer beside their success.
REFUSALS = (400, 403, 404, 409, 411, 413, 415)


class ManagementView(ProjectView):
    """A view for management keys: it acts with the role that the key's maker has now, in the key's organization."""

    permission_classes = [IsAuthenticated, IsManagementKey]
    plain_key_methods: ClassVar[frozenset[str]] = frozenset()
    # What a method takes in all of the organization. Asked before anything is looked up, so that a refusal says nothing
    # of what is there. A method that is not named shows what the person may see.
    takes: ClassVar[Mapping[str, Capability]] = {}

    def check_permissions(self, request: Request) -> None:
        super().check_permissions(request)
        # Django answers HEAD by GET, and its length tells of what is there.
        if needed := self.takes.get("GET" if request.method == "HEAD" else request.method or ""):
            require(request, needed)

    def handle_exception(self, exc: Exception) -> Any:
        # What somebody else removed between our looking and our writing.
        return super().handle_exception(NotFound("This is gone.") if isinstance(exc, ObjectDoesNotExist) else exc)

    @property
    def organization(self) -> Organization:
        """The key's organization; its fields may be a second old."""
        return self.api_key.project.organization

    @property
    def person(self) -> User:
        """Whom the key acts for."""
        return self.api_key.created_by

    @property
    def by(self) -> Who:
        """Who acts, as the audit trail names them."""
        return audit.who(self.request)


class Body(serializers.Serializer):
    """A JSON object that has no member which nobody reads."""

    def to_internal_value(self, data: Any) -> Any:
        unknown = sorted(set(data) - set(self.fields)) if isinstance(data, dict) else []
        if unknown:
            message = f"Unknown parameter; known are {', '.join(self.fields)}."
            raise ValidationError({name: [ErrorDetail(message, code="unknown_parameter")] for name in unknown})
        return super().to_internal_value(data)


def read_body(request: Request, reader: type[Body], *, partial: bool = False, **context: Any) -> dict[str, Any]:
    """The validated members of the body. Raises ValidationError with one entry for each that is wrong."""
    body = reader(data=request.data, partial=partial, context=context)
    body.is_valid(raise_exception=True)
    return dict(body.validated_data)


def invalid(field: str, message: str, code: str = "invalid") -> ValidationError:
    """The error of one field."""
    return ValidationError({field: [ErrorDetail(message, code=code)]})


class LimitQuery(serializers.Serializer):
    limit = serializers.IntegerField(default=PAGE, min_value=1, max_value=MAX_PAGE, help_text="Rows on a page.")


class PageQuery(LimitQuery):
    cursor = serializers.UUIDField(required=False, help_text="From `next`: where the page begins.")


class NumberedPageQuery(LimitQuery):
    """Where rows are numbered."""

    cursor = serializers.IntegerField(required=False, help_text="From `next`: where the page begins.")


def page(
    rows: "QuerySet[Any]",
    request: Request,
    shown: type[serializers.BaseSerializer],
    reader: type[LimitQuery] = PageQuery,
    **context: Any,
) -> Response:
    """The page of these rows that the request asks for, newest first. Raises ValidationError."""
    query = read_query(request, reader)
    return answer_page(request, rows_from(rows, query), query["limit"], shown, **context)


def rows_from(rows: "QuerySet[Any]", query: Mapping[str, Any]) -> list[Any]:
    """The rows of the page that a PageQuery asks for, newest first, and one more where there is a next page."""
    found = rows.order_by("-pk")
    if "cursor" in query:
        found = found.filter(pk__lt=query["cursor"])
    return list(found[: query["limit"] + 1])


def answer_page(
    request: Request, rows: list[Any], limit: int, shown: type[serializers.BaseSerializer], **context: Any
) -> Response:
    """A page of at most `limit` of these rows; one more of them says that there is a next page."""
    return answer_rows(request, rows, limit, lambda there: list(shown(there, many=True, context=context).data))


def answer_rows(request: Request, rows: list[Any], limit: int, sent: Callable[[list[Any]], list[Any]]) -> Response:
    """The same, where what goes out is made for all rows of a page together."""
    there, more = rows[:limit], len(rows) > limit
    following = address_of_next(request, there[-1].pk) if more else None
    return Response({"data": sent(there), "has_more": more, "next": following})


def address_of_next(request: Request, last: object) -> str:
    """The URL of the page that begins after this row, with every other parameter as it is."""
    pairs = [(name, value) for name, values in request.query_params.lists() for value in values if name != "cursor"]
    return f"{request.build_absolute_uri(request.path)}?{urlencode([*pairs, ('cursor', last)])}"
