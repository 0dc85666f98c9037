"""An id for every request: in the answer's X-Request-Id, in problem details and in the log."""

import re
from collections.abc import Callable
from uuid import uuid4

from django.http import HttpRequest, HttpResponse

CLIENT_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


class RequestIdMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.request_id = f"req_{uuid4().hex}"  # type: ignore[attr-defined]
        response = self.get_response(request)
        response["X-Request-Id"] = request.request_id  # type: ignore[attr-defined]
        # The caller's own id comes back beside ours, so that both sides can search their logs for it.
        client_id = request.headers.get("X-Client-Request-Id", "")
        if CLIENT_ID.fullmatch(client_id):
            response["X-Client-Request-Id"] = client_id
        if request.path.startswith("/api/"):
            # Prompts, answers and money: no cache between here and the caller keeps them.
            response["Cache-Control"] = "no-store"
        return response
