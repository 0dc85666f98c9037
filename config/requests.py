"""An id for every request: in the answer's X-Request-Id, in problem details and in every line of the log.

Behind a proxy it is the one that the proxy has given the request, if it has.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from uuid import uuid4

from django.conf import settings
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from accounts import log_context, wall
from config import content_security
from jobs.front_door.turns import WAITING_PATHS, turn

CLIENT_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


# What has to be answered whatever else is going on.
HEALTH_PATHS = frozenset({"/healthz", "/readyz", "/readyz/all"})


class RequestIdMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]):
        self.get_response = get_response
        self._is_behind_proxy = settings.SECURE_PROXY_SSL_HEADER is not None

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.request_id = request_id = self._id_of(request)  # type: ignore[attr-defined]
        with log_context.about(request_id=request_id):
            response = self.get_response(request)
        response["X-Request-Id"] = request_id
        # The caller's own id comes back beside ours, so that both sides can search their logs for it.
        client_id = request.headers.get("X-Client-Request-Id", "")
        if CLIENT_ID.fullmatch(client_id):
            response["X-Client-Request-Id"] = client_id
        if request.path.startswith(("/api/", "/v1/")):
            # Prompts, answers and money: no cache between here and the caller keeps them.
            response["Cache-Control"] = "no-store"
            if (quota := getattr(request, "request_quota", None)) is not None:
                for name, value in quota.headers().items():
                    response[name] = value
        content_security.protect(response)
        return response

    def _id_of(self, request: HttpRequest) -> str:
        # From anybody else it would be a name that two requests can share.
        given = request.headers.get("X-Request-Id", "") if self._is_behind_proxy else ""
        return given if CLIENT_ID.fullmatch(given) else f"req_{uuid4().hex}"


class DatabaseTurnMiddleware:
    """Lets as many requests work at once as there are connections to the database for them; the others wait."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path in WAITING_PATHS or request.path in HEALTH_PATHS:
            return self.get_response(request)
        with turn():
            return self.get_response(request)


class WallMiddleware:
    """Whoever a request was found to act for, the thread acts for nobody when it has ended, and before the next.

    Outside of the turn at the database: a connection is given back before, and is before all walls by then. An answer
    in pieces is read of the same organization as the view, until the web server closes it.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        wall.step_out()
        is_streamed = False
        try:
            response = self.get_response(request)
            if isinstance(response, StreamingHttpResponse) and wall.organization() is not None:
                # Closed after what it is made of, which still works for the organization then.
                response.streaming_content = _Pieces(response)
                is_streamed = True
            return response
        finally:
            if not is_streamed:
                wall.step_out()


class _Pieces:
    """The pieces of a streamed answer."""

    def __init__(self, response: StreamingHttpResponse):
        self._pieces: Iterable[bytes] = iter(response.streaming_content)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)

    def close(self) -> None:
        wall.step_out()
