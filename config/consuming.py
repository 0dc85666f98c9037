"""Whether this worker process still takes messages: it sends itself one every few seconds.

A worker whose broker connection broke may go on without consuming, alive and connected to all appearance (celery issues
8030, 9054, 10205). One that does not hear itself, while the broker answers, ends; whoever started it starts it anew.
"""

import logging
import os
import threading
from functools import partial
from pathlib import Path
from typing import Any

import redis
from celery import bootsteps, current_app
from celery.signals import task_success
from celery.utils.nodenames import worker_direct
from celery.worker import consumer, state
from django.conf import settings
from kombu.exceptions import OperationalError as BrokerError

from config import alive, tracing
from jobs import limiter, waking
from jobs.execution import engine

logger = logging.getLogger(__name__)

EVERY_SECONDS = 2.0
# Messages in a row: more than a restart of the broker costs. Counted and not timed, because a process that was stopped
# or starved for a while is not deaf: it sent none meanwhile.
MOST_UNHEARD = 5
CANARY_TASK = "config.tasks.canary"
# So that whoever starts it again sees a failure (EX_TEMPFAIL of sysexits.h).
EXIT_CODE = 75


class Watch:
    """Sends the canary and listens for it, on a thread of its own."""

    def __init__(self, hostname: str, threads: int) -> None:
        self._queue = worker_direct(hostname)
        self._threads = threads
        self._stopping = threading.Event()
        self._was_heard = False
        self._unheard = 0

    def start(self) -> None:
        threading.Thread(target=self._watch, name="watch", daemon=True).start()

    def stop(self) -> None:
        """The worker is told to end, and takes no messages any more."""
        self._stopping.set()

    def hear(self) -> None:
        """The canary has come through."""
        self._was_heard, self._unheard = True, 0
        if settings.ALIVE_FILE:
            Path(settings.ALIVE_FILE).touch()

    def _watch(self) -> None:
        while not self._stopping.wait(EVERY_SECONDS):
            if self._is_deaf():
                self._end()
            try:
                limiter.connection().ping()
                # The types know queues by name only.
                current_app.send_task(CANARY_TASK, queue=self._queue)  # type: ignore[arg-type]
                self._unheard += 1
            except (redis.RedisError, BrokerError, OSError):
                self._unheard = 0  # nobody hears anything
            except Exception:
                # The thread goes on watching.
                logger.exception("the worker could not send itself a message")
            if self._is_busy():
                self._unheard = 0

    def _is_busy(self) -> bool:
        """Whether all threads have work: then messages wait, and rightly so."""
        return len(state.active_requests) >= self._threads

    def _is_deaf(self) -> bool:
        # Not heard yet: it is still starting. Told to stop: by Celery's word, None until then, and 0 is one too.
        return self._was_heard and state.should_stop is None and self._unheard >= MOST_UNHEARD

    def _end(self) -> None:
        logger.critical(
            "this worker takes no messages any more, though the broker answers: it ends, to be started anew"
        )
        if calls := engine.running():
            calls.stop()  # what is under way is paid for, and is finished and booked first
        logging.shutdown()
        os._exit(EXIT_CODE)  # the main thread may hang, and would not hear of it


_watch: Watch | None = None


def hear() -> None:
    """The canary of this process has come through."""
    if _watch is not None:
        _watch.hear()


class Consuming(bootsteps.StartStopStep):
    """Started with the worker, and stopped before its calls are waited for."""

    requires = ("jobs.execution.step:Calls",)

    def start(self, worker: Any) -> None:
        global _watch
        tracing.start()
        _watch = Watch(worker.hostname, worker.concurrency)
        _watch.start()

    def stop(self, worker: Any) -> None:
        if _watch is not None:
            _watch.stop()

    def terminate(self, worker: Any) -> None:
        self.stop(worker)


class Consumer(consumer.Consumer):
    """Asks a broker that is away once a second; the pauses of Celery's own grow to half a minute."""

    def ensure_connected(self, conn: Any) -> Any:
        conn.ensure_connection = partial(conn.ensure_connection, interval_start=1, interval_step=0, interval_max=1)
        return super().ensure_connected(conn)


# What others want to know of, by its task.
_PARTS = {waking.WAKE_TASK: alive.Part.DISPATCH, "jobs.tasks.work_on_batches": alive.Part.BATCHES}


@task_success.connect
def note_success(sender: Any = None, **kwargs: Any) -> None:
    """A task has ended well."""
    part = _PARTS.get(getattr(sender, "name", ""))
    if part is not None:
        try:
            alive.say(part)
        except redis.RedisError as error:
            logger.warning("nobody was told that %s runs: %s", part, error)
