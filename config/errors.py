"""How errors become HTTP answers: problem details (RFC 9457) for the API, decided here and nowhere else.

Below `/v1` the same problems go out in the provider's envelope.
"""

import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import psycopg
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.request import UnreadablePostError
from django.template.loader import render_to_string
from django.views import defaults
from rest_framework.exceptions import (
    APIException,
    AuthenticationFailed,
    ErrorDetail,
    NotAuthenticated,
    ValidationError,
)
from rest_framework.request import Request

from accounts.api.idempotency_key import IdempotencyKeyInvalid
from accounts.errors import (
    AlreadyMember,
    DomainError,
    IdempotencyKeyInFlight,
    IdempotencyKeyReused,
    LastOwner,
    NameTaken,
    RoleNotYours,
    TeamOwnsProjects,
)
from accounts.wall import WallMissing
from billing.errors import (
    AlreadyAsked,
    LimitTooSmall,
    NotAllowed,
    OwnRequest,
    PreviewTooLarge,
    RequestDecided,
    UnknownPrice,
)
from billing.webhooks.endpoints import EndpointDisabled, TooManyEndpoints
from billing.webhooks.urls import UrlRefused
from config import openai_errors, refusals
from jobs.backlog import COUNTED_EVERY_SECONDS
from jobs.batches.errors import BatchNotCancellable, FileInUse, FileTooLarge
from jobs.comparisons.errors import ComparisonNotCancellable, WordingHasNoPlace
from jobs.errors import (
    AdviceBlocks,
    BacklogFull,
    MaxCostTooSmall,
    NotCancellable,
    NotErasable,
    RateLimitUnknown,
    RequestTooLarge,
    TooManyWaiting,
)
from jobs.validation import RequestRejected

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:bursar:problem:"

# What the caller can do something about. A domain error that is not listed nobody expected at this door.
STATUS: Mapping[type[DomainError], int] = {
    LimitTooSmall: 402,
    MaxCostTooSmall: 402,
    # As the provider answers to a service tier or model that it does not sell, so that clients treat both alike.
    UnknownPrice: 400,
    RateLimitUnknown: 403,
    RequestTooLarge: 400,
    AdviceBlocks: 400,
    NotCancellable: 409,
    NotErasable: 409,
    IdempotencyKeyInvalid: 400,
    IdempotencyKeyReused: 422,
    IdempotencyKeyInFlight: 409,
    BacklogFull: 429,
    TooManyWaiting: 503,
    WallMissing: 503,
    RoleNotYours: 403,
    LastOwner: 409,
    AlreadyMember: 409,
    NameTaken: 409,
    TeamOwnsProjects: 409,
    NotAllowed: 403,
    OwnRequest: 403,
    AlreadyAsked: 409,
    RequestDecided: 409,
    PreviewTooLarge: 400,
    UrlRefused: 400,
    TooManyEndpoints: 409,
    EndpointDisabled: 409,
    FileTooLarge: 413,
    FileInUse: 409,
    BatchNotCancellable: 409,
    ComparisonNotCancellable: 409,
    WordingHasNoPlace: 400,
}
RETRY_AFTER: Mapping[type[DomainError], int] = {
    IdempotencyKeyInFlight: 1,
    BacklogFull: ceil(COUNTED_EVERY_SECONDS),
    TooManyWaiting: 2,
}
# The database restarts in a few seconds; a pool that is exhausted is free again sooner.
DATABASE_RETRY_AFTER = 5
DATABASE_AWAY = (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)
# What is below it speaks as the provider does.
OPENAI_PATH = "/v1/"
HEADER_PARAMS = frozenset({"Idempotency-Key"})


@dataclass(frozen=True, slots=True)
class Problem:
    """An error answer before it is written. `errors` says where each fault is; `details` are further members."""

    status: int
    code: str
    detail: str
    errors: Sequence[Mapping[str, str]] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    # What the provider says in its own words, where it has them.
    param: str | None = None
    no_provider_code: bool = False

    @property
    def provider_code(self) -> str | None:
        """The code for a client of the provider, which gives none to some of its refusals."""
        return None if self.no_provider_code else self.code

    @property
    def title(self) -> str:
        """The code as words: like the type, it is the same for every occurrence."""
        return self.code.replace("_", " ").capitalize()


def problem_response(exception: Exception, context: Mapping[str, Any]) -> HttpResponse | None:
    """DRF's exception handler. None leaves an unexpected error to Django, which logs it and asks `server_error`."""
    request: Request = context["request"]
    problem = problem_of(exception, is_query=request.method in {"GET", "HEAD"})
    if problem is None:
        return None
    if isinstance(exception, LimitTooSmall):
        refusals.note(str(exception.details.get("budget", {}).get("scope", "unknown")))
    if problem.status >= 500:
        logger.error("request %s: %s: %s", _request_id(request), type(exception).__name__, exception)
    return answer(problem, request)


def answer(problem: Problem, request: HttpRequest | Request) -> HttpResponse:
    """The problem as it goes out. Its own members stand above whatever the details are called."""
    if request.path.startswith(OPENAI_PATH):
        return openai_errors.answer(problem)
    body = {
        **problem.details,
        "type": TYPE_PREFIX + problem.code,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": request.path,
        "code": problem.code,
        "request_id": _request_id(request),
    }
    if problem.errors:
        body["errors"] = list(problem.errors)
    return JsonResponse(body, status=problem.status, content_type=MEDIA_TYPE, headers=dict(problem.headers))


def problem_of(exception: Exception, *, is_query: bool) -> Problem | None:
    """The problem that an error is to its caller; None for one that nobody expected.

    `is_query` says where invalid fields are: among the query parameters, or in the body.
    """
    match exception:
        case DomainError():
            return _of_domain(exception)
        case ValidationError():
            return _of_validation(exception, is_query=is_query)
        case APIException():
            return _of_api(exception)
        case Http404():
            return Problem(404, "not_found", "There is nothing at this address.")
        case PermissionDenied():
            return Problem(403, "permission_denied", "This is not allowed.")
        case RequestDataTooBig():
            return Problem(413, "body_too_large", "The body is larger than this server takes.")
        case UnreadablePostError():
            return Problem(400, "body_incomplete", "The connection ended before the body did.")
        case SuspiciousOperation():
            return Problem(400, "bad_request", "The request is not valid.")
    return _database_unavailable() if isinstance(exception, DATABASE_AWAY) else None


def _database_unavailable() -> Problem:
    detail = "Bursar's database does not answer. Repeat the request in a few seconds, with the same Idempotency-Key."
    return Problem(503, "database_unavailable", detail, headers={"Retry-After": str(DATABASE_RETRY_AFTER)})


# --- Django's own handlers, for what happens before or outside a view of the API --------------------------------------
def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _unless_page(request, exception) or defaults.bad_request(request, exception)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _unless_page(request, exception) or defaults.permission_denied(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _unless_page(request, exception) or defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """The answer to an error that no view expected: no word of its inside, and the id to find it in the log by.

    A database that is away, as the admin and middleware meet it, is a 503 here as it is in the API.
    """
    if isinstance(sys.exception(), DATABASE_AWAY):
        logger.error("request %s: %s", _request_id(request), sys.exception())
        return _answer_as_read(_database_unavailable(), request)
    # Django logs the traceback right after this line.
    logger.error("request %s: unexpected error at %s %s", _request_id(request), request.method, request.path)
    if not _is_api(request):
        return defaults.server_error(request)
    detail = "Something went wrong in Bursar. The log has it under this request_id."
    return answer(Problem(500, "internal_error", detail), request)


def _answer_as_read(problem: Problem, request: HttpRequest) -> HttpResponse:
    """The problem as JSON, or as a page where people are."""
    if not request.path.startswith("/admin/"):
        return answer(problem, request)
    page = render_to_string("problem.html", {"problem": problem, "request_id": _request_id(request)})
    return HttpResponse(page, status=problem.status, headers=dict(problem.headers))


def _unless_page(request: HttpRequest, exception: Exception) -> HttpResponse | None:
    problem = problem_of(exception, is_query=True) if _is_api(request) else None
    return answer(problem, request) if problem else None


def _is_api(request: HttpRequest) -> bool:
    return request.path.startswith(("/api/", OPENAI_PATH))


# --- From each family of errors to a problem --------------------------------------------------------------------------
def _of_domain(error: DomainError) -> Problem | None:
    status = error.status if isinstance(error, RequestRejected) else STATUS.get(type(error))
    if status is None:
        return None
    retry_after = RETRY_AFTER.get(type(error))
    return Problem(
        status,
        error.code,
        error.message,
        errors=[_error_at(error.param, error.message, error.code)] if error.param else (),
        details=error.details,
        headers={"Retry-After": str(retry_after)} if retry_after else {},
        param=error.param,
        no_provider_code=isinstance(error, RequestRejected) and error.provider_code is None,
    )


def _error_at(param: str, detail: str, code: str) -> dict[str, str]:
    if param in HEADER_PARAMS:
        return {"header": param, "detail": detail, "code": code}
    # The provider writes messages[0].role, and sometimes messages.[0].content.
    return {"pointer": _pointer(re.split(r"[.\[\]]+", param.strip("[]."))), "detail": detail, "code": code}


def _of_validation(error: ValidationError, *, is_query: bool) -> Problem:
    faults = list(_faults(error.detail))
    errors = [
        {
            **({"parameter": path[0]} if is_query and path else {"pointer": _pointer(path)}),
            "detail": str(fault),
            "code": str(fault.code),
        }
        for path, fault in faults
    ]
    path, fault = faults[0]
    detail = f"{'.'.join(path)}: {fault}" if path else str(fault)
    if len(faults) > 1:
        detail += f" And {len(faults) - 1} more: see errors."
    return Problem(400, "invalid_request", detail, errors=errors)


def _faults(detail: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], ErrorDetail]]:
    """Every fault in a tree of DRF's, with the path to the field that has it."""
    match detail:
        case dict():
            for name, inner in detail.items():
                yield from _faults(inner, path if name == "non_field_errors" else (*path, str(name)))
        case list():
            for index, inner in enumerate(detail):
                # A list of texts belongs to the field itself, a list of trees to its elements.
                yield from _faults(inner, path if isinstance(inner, ErrorDetail) else (*path, str(index)))
        case ErrorDetail():
            yield path, detail


def _of_api(error: APIException) -> Problem:
    code, headers = str(getattr(error.detail, "code", error.default_code)), {}
    if isinstance(error, NotAuthenticated | AuthenticationFailed):
        headers["WWW-Authenticate"] = getattr(error, "auth_header", "Bearer")
    wait: float | None = getattr(error, "wait", None)  # of Throttled
    if wait is not None:
        headers["Retry-After"] = str(ceil(wait))
    detail = str(error.detail)
    if isinstance(error, NotAuthenticated):
        detail = "Send an API key of a project in the header: Authorization: Bearer bk_live_..."
    return Problem(error.status_code, code, detail, headers=headers)


def _pointer(path: Sequence[str]) -> str:
    """A JSON pointer as a URI fragment (RFC 6901, section 6); "#" is the whole body."""
    return "#" + "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)


def _request_id(request: HttpRequest | Request) -> str:
    return getattr(request, "request_id", "")
