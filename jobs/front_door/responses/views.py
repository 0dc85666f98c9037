"""`/v1/responses`: made, waited for or left to run in the background, looked at, and cancelled."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import audit
from accounts.api.json_body import plain
from jobs import cancellation, catalogue, erasure
from jobs.api.views import job_of, jobs_of
from jobs.front_door import ids
from jobs.front_door.chat import read_completion
from jobs.front_door.exchange import Exchange
from jobs.front_door.responses.answers import PREFIX, id_of, response_of
from jobs.front_door.responses.live import ResponseEvents
from jobs.front_door.responses.requests import Messages, chat_of, renamed
from jobs.front_door.shapes import Shape, Whole
from jobs.front_door.turns import turn
from jobs.front_door.views import ClientView, WaitingView
from jobs.front_door.wishes import Wishes, wishes_of
from jobs.models import Job
from jobs.reads import note_read
from jobs.states import JOB_FINAL
from jobs.submission import Submission, submit
from jobs.validation import RequestRejected
from jobs.validation.refusals import wrong_type

# What a response says of itself that chat has no place for.
KEPT = ("instructions", "previous_response_id", "background", "truncation", "include")
FLAGS = ("background", "stream", "store")


class ResponsesView(WaitingView):
    def post(self, request: Request) -> HttpResponseBase:
        """The response when its job has ended, or at once where it is to run in the background."""
        wishes = wishes_of(request)
        body = _body_of(request.data)
        with turn():
            submission = self._submission(body, wishes)
        submission = replace(submission, wants_stream=bool(body.get("stream")) and wishes.stays)
        exchange = Exchange(request, self.api_key, wishes, _shape(body), lambda: self._submit(submission))
        if not body.get("background"):
            return exchange.response()
        with turn():
            return Response(response_of(job_of(self, exchange.begin())))

    def _submission(self, body: Mapping[str, Any], wishes: Wishes) -> Submission:
        """What the body asks for. Raises RequestRejected in the words of this endpoint."""
        previous = body.get("previous_response_id")
        earlier = conversation_of(found(self, previous, "previous_response_id")) if previous is not None else []
        chat = chat_of(body, earlier, instructs_as=_instructs_as(body.get("model")))
        asked = {name: body[name] for name in KEPT if body.get(name) is not None}
        try:
            submission, _ = read_completion(chat, wishes, asked={"endpoint": "responses", **asked})
        except RequestRejected as error:
            raise renamed(error) from error
        return submission

    def _submit(self, submission: Submission) -> Job:
        try:
            return submit(self.api_key, submission)
        except RequestRejected as error:
            raise renamed(error) from error


class ResponseView(ClientView):
    def get(self, request: Request, response_id: str) -> Response:
        """The response as it stands."""
        if request.query_params.get("stream") == "true":
            raise RequestRejected("A response that was made is not streamed again; get it whole.", param="stream")
        job = found(self, response_id, "response_id")
        note_read(job)
        erasure.note_fetched(job)
        return Response(response_of(job))

    def delete(self, request: Request, response_id: str) -> Response:
        """Erases what was asked and answered; the job and what it cost stay. Raises NotErasable while it goes on."""
        erasure.erase(found(self, response_id, "response_id"), by=audit.who(request))
        return Response({"id": response_id, "object": "response", "deleted": True})


class ResponseCancellationView(ClientView):
    def post(self, request: Request, response_id: str) -> Response:
        """The response, cancelled or about to be; one that has ended as it is. Raises NotCancellable."""
        job = found(self, response_id, "response_id")
        if job.status not in JOB_FINAL:
            cancellation.cancel(job)
        return Response(response_of(job_of(self, job.pk)))


# --- Requests ---------------------------------------------------------------------------------------------------------
def _body_of(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise RequestRejected("The JSON body of the request is no object: it has at least 'model' and 'input'.")
    body: dict[str, Any] = plain(data)
    for name in FLAGS:
        if body.get(name) is not None and not isinstance(body[name], bool):
            raise wrong_type(name, "a boolean", body[name])
    if body.get("background") and body.get("stream"):
        raise RequestRejected(
            "A response in the background is not streamed: leave 'stream' out and get it when it has ended.",
            code="unsupported_parameter",
            param="stream",
        )
    return body


def _instructs_as(model: Any) -> str:
    """The role in which a model takes instructions; one that takes none refuses them by its own words."""
    entry = catalogue.find(model) if isinstance(model, str) else None
    roles = entry.model.roles if entry else ()
    return "system" if "system" in roles and "developer" not in roles else "developer"


def conversation_of(job: Job) -> Messages:
    """What was said in a response and before it, without the instructions, which hold for one response alone.

    Raises RequestRejected for one that has no answer.
    """
    content = getattr(job, "content", None)
    if content is None or not content.message:
        raise RequestRejected(
            f"The response '{id_of(job)}' is {job.status} and has no answer to go on from.",
            param="previous_response_id",
        )
    messages = content.request["messages"]
    if (content.asked or {}).get("instructions"):
        messages = messages[1:]
    said = {
        name: value for name, value in content.message.items() if name in ("role", "content", "tool_calls") and value
    }
    return [*messages, {"content": None, **said}]


def found(view: ClientView, response_id: Any, param: str) -> Job:
    """The job of a response of the caller's project. Raises RequestRejected, and wrong_type for what is no text."""
    if not isinstance(response_id, str):
        raise wrong_type(param, "a string", response_id)
    job = jobs_of(view).filter(pk=ids.id_of(response_id, PREFIX)).first()
    if job is not None:
        return job
    raise RequestRejected(f"Response with id '{response_id[:100]}' not found.", param=param, status=404)


def _shape(body: Mapping[str, Any]) -> Shape:
    return ResponseEvents() if body.get("stream") else Whole(response_of)
