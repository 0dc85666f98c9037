"""A request at the front door, from the moment it comes until its answer has left: it becomes a job, and waits for it.

What waits is the request's thread, without a connection to the database. The job does not depend on it: whatever
becomes of the connection, the job ends, and the same request sent again finds it.
"""

import errno
import logging
from collections.abc import Callable, Generator
from contextlib import ExitStack
from enum import Enum, auto
from time import monotonic, sleep
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from accounts import idempotency
from accounts.api.idempotency_key import idempotency_key
from accounts.api.once import text_of
from accounts.idempotency import Answer, fingerprint_of
from accounts.models import ApiKey
from jobs import erasure
from jobs.advice.advice import Advice
from jobs.api.representation import job_as_sent
from jobs.cancellation import withdraw
from jobs.front_door import undelivered
from jobs.front_door.connections import ClientConnection
from jobs.front_door.endings import Refusal, may_stand_still, refusal_of, restarted, standstill, unfinished
from jobs.front_door.headers import advice_headers, headers_of, job_headers
from jobs.front_door.relayed import Relayed, Restarted
from jobs.front_door.shapes import Shape
from jobs.front_door.turns import turn
from jobs.front_door.undelivered import Claim
from jobs.front_door.waiting import places, watching
from jobs.front_door.wishes import OnDisconnect, Wishes
from jobs.models import Job
from jobs.reads import note_read
from jobs.streams import Contradiction
from jobs.waiting import waiting_on

logger = logging.getLogger(__name__)

# A client that has gone is noticed within this.
LOOK_AT_CLIENT_SECONDS = 1.0
STANDSTILL_LOOK_SECONDS = 5.0
# The job may start late and then take as long as a call may: a client waits for both, and somewhat longer.
MARGIN_SECONDS = 60.0
# What web servers call a client that closed the connection; nobody reads it.
CLIENT_CLOSED = 499
AWAY = (OperationalError, InterfaceError)


class News(Enum):
    """Why a wait ended, where it was not by a refusal."""

    ENDED = auto()
    SAID = auto()  # some of the answer, which is being made
    RESTARTED = auto()  # it is made anew, and the client has some of another
    GONE = auto()
    TIME_IS_UP = auto()


class Fate(Enum):
    """What became of the answer that is owed."""

    LOST = auto()  # the connection ended before it
    LEFT = auto()  # nobody waits any longer, and the job goes on
    DELIVERED = auto()


class Exchange:
    """`submit` makes the job, in a transaction, when there is none yet."""

    def __init__(
        self, request: Request, api_key: ApiKey, wishes: Wishes, shape: Shape, submit: Callable[[], Job]
    ) -> None:
        self._request, self._api_key, self._wishes, self._shape = request, api_key, wishes, shape
        self._submit = submit
        self._advice: tuple[Advice, ...] = ()
        self._key = idempotency_key(request)
        self._fingerprint = fingerprint_of("POST", request.path, request.body)
        self._began = monotonic()
        self._give_up_at = self._began + settings.CALL_DEADLINE_SECONDS + MARGIN_SECONDS
        self._look_for_standstill_at = 0.0
        self._is_replay = False
        self._job_id: UUID | None = None
        self._claim: Claim | None = None
        self._fate = Fate.LOST
        self._is_left = False
        self._held = ExitStack()
        self._reads_along = shape.can_relay and wishes.stays
        self._said = b""

    def response(self) -> HttpResponseBase:
        """The answer, or the job where that was wished for. Raises what `submit` raises, and TooManyWaiting."""
        if self._wishes.wants_job:
            with turn():
                self._job_id = self.begin()
                return self._job()
        try:
            self._held.enter_context(places.taken())
            self._connection = ClientConnection(self._request._request)
            self._job_id = self._arrive()
            if self._job_id is None:
                return self._sent(iter([b""]), status=CLIENT_CLOSED)
            name = self._claim.waiter if self._claim else None
            self._relayed = Relayed(self._job_id)
            watched = watching(self._job_id, name, reads_along=self._reads_along)
            self._waiter = self._held.enter_context(watched)
            return self._waited()
        except BaseException:
            self.leave()
            raise

    # --- The job ------------------------------------------------------------------------------------------------------
    def _arrive(self) -> UUID | None:
        """The job that this request waits for: a new one, unless it repeats an earlier request. None: its client has
        gone before there was one.
        """
        if self._wishes.is_retry and self._key is None:
            self._claim = undelivered.take_over(self._api_key, self._fingerprint, lambda: self._connection.is_gone)
            if self._claim is not None:
                return self._claim.job_id
            if self._connection.is_gone:
                return None
        with turn():
            return self._begun(is_owed=True)

    def begin(self) -> UUID:
        """The job, for who does not wait for it. Raises what `submit` raises."""
        return self._begun(is_owed=False)

    def _begun(self, *, is_owed: bool) -> UUID:
        if self._key is not None:
            answer = idempotency.run_once(
                self._api_key.project, self._key, self._fingerprint, lambda: Answer(202, {"id": str(self._made().pk)})
            )
            self._is_replay = answer.is_replay
            return UUID(answer.body["id"])
        with transaction.atomic():
            job = self._made()
            if is_owed:
                self._claim = undelivered.owe(job.pk, self._api_key, self._fingerprint)
        return job.pk

    def _made(self) -> Job:
        job = self._submit()
        self._advice = job.advice
        return job

    def _read(self) -> Job:
        assert self._job_id is not None, "nothing is read before there is a job"
        related = ("content", "project__organization", "queue", "api_key__project")
        return Job.objects.select_related(*related).get(pk=self._job_id)

    # --- Waiting ------------------------------------------------------------------------------------------------------
    def _waited(self) -> HttpResponseBase:
        wait = self._wishes.wait_seconds
        quiet = self._shape.quiet_seconds if wait is None else float(wait)
        news = self._wait(min(self._began + quiet, self._give_up_at))
        match news:
            case News.ENDED:
                return self._ended()
            case News.GONE:
                return self._sent(iter([b""]), status=CLIENT_CLOSED)
            case News.TIME_IS_UP if wait is not None:
                with turn():
                    response = self._job()
                self.leave()
                return response
            case News.SAID:
                return self._kept_alive()
            case News.TIME_IS_UP if monotonic() < self._give_up_at:
                return self._kept_alive()
            case News.TIME_IS_UP | News.RESTARTED:  # of which there is none before anything was said
                return self._refused(self._unfinished(), Fate.LEFT)
            case refusal:
                return self._refused(refusal, Fate.DELIVERED)

    def _wait(self, until: float) -> News | Refusal:
        """Until there is something to say, and not for longer."""
        while True:
            if self._waiter.has_ended:
                return News.ENDED
            if (news := self._told()) is not None:
                return news
            if (refusal := self._standstill()) is not None:
                return refusal
            if self._connection.is_gone:
                return News.GONE
            left = until - monotonic()
            if left <= 0:
                return News.TIME_IS_UP
            self._waiter.wait(min(left, LOOK_AT_CLIENT_SECONDS))

    def _told(self) -> News | None:
        """Whether something was told of the answer that the client may have."""
        heard = self._waiter.take()
        if not heard:
            return None
        try:
            deltas = self._relayed.take(heard)
        except Restarted:
            return News.RESTARTED
        self._said = self._shape.relayed(self._relayed, deltas) if deltas else b""
        return News.SAID if self._said else None

    def _standstill(self) -> Refusal | None:
        """Why the job does not start as long as anybody waits for it: then it is withdrawn."""
        if not may_stand_still(self._waiter.told) or monotonic() < self._look_for_standstill_at:
            return None
        try:
            with turn():
                job = self._read()
                refusal = standstill(job, waiting_on(job))
                if refusal is None or not withdraw(job):
                    refusal = None
                elif self._key is not None:
                    # Nothing was done under the key, and it may be used again when there is room.
                    idempotency.forget(job.project, self._key)
        except AWAY:
            refusal = None
        self._look_for_standstill_at = monotonic() + STANDSTILL_LOOK_SECONDS
        return refusal

    def _finished(self) -> tuple[Job, Refusal | None, dict[str, str]]:
        """The job that has ended, why it has no answer, and what is told beside it; waits for the database."""
        while True:
            try:
                with turn():
                    job = self._read()
                    return job, refusal_of(job), headers_of(job, self._api_key)
            except AWAY:
                if monotonic() > self._give_up_at:
                    raise
                sleep(LOOK_AT_CLIENT_SECONDS)

    def _unfinished(self) -> Refusal:
        with turn():
            return unfinished(self._read())

    # --- Answers ------------------------------------------------------------------------------------------------------
    def _ended(self) -> HttpResponseBase:
        job, refusal, headers = self._finished()
        if refusal is not None:
            return self._refused(refusal, Fate.DELIVERED, headers)
        with turn():
            body = self._body_of(job)
        headers["Content-Length"] = str(len(body))
        return self._sent(self._body(body, Fate.DELIVERED), headers=headers)

    def _body_of(self, job: Job) -> bytes:
        """The answer, or what is missing of it. It counts as fetched from now on: where it is kept no longer, a retry
        is in time for it. Raises Contradiction.
        """
        note_read(job)
        erasure.note_fetched(job)
        return self._shape.answer(job, self._relayed)

    def _refused(self, refusal: Refusal, fate: Fate, headers: dict[str, str] | None = None) -> HttpResponseBase:
        response = refusal.response()
        headers = {**(headers or {}), **refusal.headers, "Content-Length": str(len(response.content))}
        body = self._body(response.content, fate)
        return self._sent(body, status=refusal.status, headers=headers, content_type="application/json")

    def _body(self, body: bytes, fate: Fate) -> Generator[bytes, None, None]:
        yield body
        # Asked for more, the server has sent it; a client that has gone by now may not have read it.
        if self._connection.has_taken_all:
            self._fate = fate

    def _job(self) -> HttpResponse:
        """202 and the job itself, as the native API has it."""
        job = self._read()
        if self._claim is not None:
            self._claim.delivered()
            self._claim = None
        self._fate = Fate.DELIVERED
        response = HttpResponse(text_of(job_as_sent(job)), status=202, content_type="application/json")
        response["Location"] = self._request.build_absolute_uri(f"/api/v1/jobs/{job.pk}")
        response["Preference-Applied"] = self._wishes.applied
        for name, value in self._beside(job_headers(job)).items():
            response[name] = value
        return response

    def _kept_alive(self) -> HttpResponseBase:
        with turn():
            headers = job_headers(self._read())
        # Proxies pass each sign of life on.
        return self._sent(self._signs_of_life(), headers={**headers, "X-Accel-Buffering": "no"})

    def _signs_of_life(self) -> Generator[bytes, None, None]:
        news: News | Refusal = News.TIME_IS_UP
        while news in (News.TIME_IS_UP, News.SAID) and monotonic() < self._give_up_at:
            yield self._said or self._shape.sign_of_life
            self._said = b""
            news = self._wait(min(monotonic() + settings.KEEPALIVE_SECONDS, self._give_up_at))
        if news is News.GONE:
            return
        end, fate = self._end(news)
        if isinstance(end, bytes):
            yield from self._body(end, fate)
        elif (body_of_failure := self._shape.failure(end)) is not None:
            yield from self._body(body_of_failure, fate)
        else:
            # The status was sent, and cannot be taken back: the client sees a broken connection, sends the request
            # again, and is told. What was withdrawn is asked for anew.
            self._fate = fate if isinstance(news, Refusal) else Fate.LEFT
            raise BrokenPipeError(errno.EPIPE, "the answer is an error, and the status was sent before it")

    def _end(self, news: News | Refusal) -> tuple[bytes | Refusal, Fate]:
        """What a body that has begun ends with: the answer, or why there is none."""
        assert self._job_id is not None, "nobody waits before there is a job"
        match news:
            case News.ENDED:
                job, refusal, _ = self._finished()
                if refusal is not None:
                    return refusal, Fate.DELIVERED
                try:
                    with turn():
                        return self._body_of(job), Fate.DELIVERED
                except Contradiction:
                    return restarted(self._job_id), Fate.LEFT
            case News.RESTARTED:
                return restarted(self._job_id), Fate.LEFT
            case Refusal():
                return news, Fate.DELIVERED
        return self._unfinished(), Fate.LEFT

    def _sent(
        self,
        body: Any,
        *,
        status: int = 200,
        headers: dict[str, str] | None = None,
        content_type: str | None = None,
    ) -> HttpResponseBase:
        return StreamingHttpResponse(
            _Sending(body, self.leave),
            status=status,
            content_type=content_type or self._shape.content_type,
            headers=self._beside(headers or {}),
        )

    def _beside(self, headers: dict[str, str]) -> dict[str, str]:
        milliseconds = max(round((monotonic() - self._began) * 1000), 1)
        headers = {**headers, **advice_headers(self._advice), "openai-processing-ms": str(milliseconds)}
        return {**headers, "Idempotent-Replayed": "true"} if self._is_replay else headers

    def leave(self) -> None:
        """Gives everything back, once, and says what became of the answer."""
        if self._is_left:
            return
        self._is_left = True
        try:
            with turn():
                self._settle()
        except Exception:
            # Nobody waits for it any more; within seconds the next retry finds that out by itself.
            logger.exception("what became of an answer was not noted")
        finally:
            self._held.close()

    def _settle(self) -> None:
        is_over = self._fate is Fate.DELIVERED
        if self._fate is Fate.LOST and self._wishes.on_disconnect is OnDisconnect.CANCEL and self._job_id:
            is_over = withdraw(self._read())
        if self._claim is None:
            return
        if is_over:
            self._claim.delivered()
        else:
            self._claim.given_up()


class _Sending:
    """The parts of a body for the web server, which closes it at the end, however that comes."""

    def __init__(self, parts: Any, leave: Callable[[], None]):
        self._parts, self._leave = parts, leave

    def __iter__(self) -> Any:
        return self._parts

    def close(self) -> None:
        if hasattr(self._parts, "close"):
            self._parts.close()
        self._leave()
