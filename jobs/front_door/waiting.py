"""Waiting for jobs: a thread each, without a connection to the database, and one thread per process that looks for all.

docs/decisions/0031 says why threads.
"""

import logging
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread
from time import monotonic, sleep
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import Q

from jobs.errors import TooManyWaiting
from jobs.front_door.endings import MAY_STAND_STILL
from jobs.front_door.undelivered import SAY_SECONDS, say_that_they_wait
from jobs.models import Job
from jobs.relay.listening import listener
from jobs.states import JOB_FINAL, JobStatus
from jobs.waiting import waiting_on

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.1
# What queued jobs wait on is looked at less often: it takes more to read, and changes nothing for most.
QUEUED_LOOK_SECONDS = 0.5
AWAY_SECONDS = 1.0
# Threads of the web process that never wait for a job: other routes and health checks go on.
THREADS_FOR_OTHERS = 16
# Messages that a client does not take: beyond that it is not kept up with, and has the rest in the end.
MOST_HEARD = 1000

_STATUSES = "SELECT id, status FROM jobs_job WHERE id = ANY(%s::uuid[]) AND status = ANY(%s)"
_TELLING = [*(status.value for status in JOB_FINAL), JobStatus.QUEUED.value]


class Waiter:
    """One connection that waits for a job. What is known of the job is written by the watcher alone, and what is heard
    of its answer while it is made by the listener.
    """

    def __init__(self, job_id: UUID, name: UUID | None):
        self.job_id = job_id
        self.name = name  # in the table of answers that are owed
        self.has_ended = False
        self.told: dict[str, Any] | None = None  # what the job waits on, where that may not pass by itself
        self._heard: deque[bytes] = deque(maxlen=MOST_HEARD)
        self._news = Event()

    def hear(self, told: bytes) -> None:
        """Takes note of what was told of the answer; of too much the oldest is lost, which the next shows."""
        self._heard.append(told)
        self._news.set()

    def take(self) -> list[bytes]:
        """What was heard since it was last taken."""
        return [self._heard.popleft() for _ in range(len(self._heard))]

    def wait(self, seconds: float) -> bool:
        """Whether there was news before so many seconds had passed."""
        came = self._news.wait(max(seconds, 0.0))
        self._news.clear()
        return came

    def tell(self, *, has_ended: bool, told: dict[str, Any] | None = None) -> None:
        if has_ended != self.has_ended or told != self.told:
            self.has_ended, self.told = has_ended, told
            self._news.set()


class Watcher:
    """Looks at every job that somebody waits for, in one query, as long as anybody waits."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiters: dict[UUID, set[Waiter]] = defaultdict(set)
        self._thread: Thread | None = None

    def add(self, waiter: Waiter) -> None:
        with self._lock:
            self._waiters[waiter.job_id].add(waiter)
            if self._thread is None or not self._thread.is_alive():  # none is, in a process that was forked
                self._thread = Thread(target=self._watch, name="watcher of jobs", daemon=True)
                self._thread.start()

    def remove(self, waiter: Waiter) -> None:
        with self._lock:
            of_job = self._waiters.get(waiter.job_id, set())
            of_job.discard(waiter)
            if not of_job:
                self._waiters.pop(waiter.job_id, None)

    def _watch(self) -> None:
        look_at_queued_at = say_at = 0.0
        is_away = False
        while True:
            with self._lock:
                waiters = [waiter for of_job in self._waiters.values() for waiter in of_job]
                if not waiters:
                    self._thread = None
                    return
            now = monotonic()
            try:
                queued = _look(waiters)
                if queued and now >= look_at_queued_at:
                    _look_at_queued(queued)
                    look_at_queued_at = monotonic() + QUEUED_LOOK_SECONDS
                if now >= say_at:
                    say_that_they_wait(waiter.name for waiter in waiters if waiter.name)
                    say_at = monotonic() + SAY_SECONDS
                is_away = False
            except Exception as error:
                # A database that is away, above all: whoever waits goes on waiting, as the job does.
                if not is_away:
                    logger.warning("jobs that are waited for could not be looked at: %s", error)
                is_away = True
            finally:
                connection.close()
            sleep(AWAY_SECONDS if is_away else LOOK_SECONDS)


def _look(waiters: list[Waiter]) -> list[Waiter]:
    """Tells those whose job has ended; returns those whose job is queued."""
    ids = list({waiter.job_id for waiter in waiters if not waiter.has_ended})
    if not ids:
        return []
    with connection.cursor() as cursor:
        cursor.execute(_STATUSES, [ids, _TELLING])
        found: dict[UUID, str] = dict(cursor.fetchall())
    queued = []
    for waiter in waiters:
        status = found.get(waiter.job_id)
        if status == JobStatus.QUEUED:
            queued.append(waiter)
        elif status is not None:
            waiter.tell(has_ended=True)
        elif not waiter.has_ended:
            waiter.tell(has_ended=False)
    return queued


def _look_at_queued(waiters: list[Waiter]) -> None:
    """Tells what their jobs wait on, where that may not pass: most wait for room, and none of those is read."""
    stands = Q(project__paused_at__isnull=False)
    for told in ("waiting_on", "queue__waiting_on"):
        stands |= Q(**{f"{told}__reason__in": sorted(MAY_STAND_STILL)})
    queued = Job.objects.filter(stands, status=JobStatus.QUEUED).select_related("project", "queue")
    jobs = queued.in_bulk([waiter.job_id for waiter in waiters])
    for waiter in waiters:
        job = jobs.get(waiter.job_id)
        waiter.tell(has_ended=waiter.has_ended, told=waiting_on(job) if job else None)


_watcher = Watcher()


@contextmanager
def watching(job_id: UUID, name: UUID | None = None, *, reads_along: bool = False) -> Iterator[Waiter]:
    """Inside, the job is watched, and the connection of this name counts as one that waits.

    `reads_along`: it also hears what is told of the answer while it is made.
    """
    waiter = Waiter(job_id, name)
    if reads_along:
        listener().add(job_id, waiter)
    _watcher.add(waiter)
    try:
        yield waiter
    finally:
        _watcher.remove(waiter)
        if reads_along:
            listener().remove(job_id, waiter)


class Places:
    """How many may wait in this process at once: a thread each, and some threads are left for everybody else."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._taken = 0

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Inside, one is taken. Raises TooManyWaiting when there is none."""
        with self._lock:
            if self._taken >= max(settings.WEB_THREADS - THREADS_FOR_OTHERS, 1):
                raise TooManyWaiting
            self._taken += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken -= 1


places = Places()
