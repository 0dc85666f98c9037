"""The worker's side: what its streams bring is told to whoever listens, many tokens and many calls at once."""

import logging
import os
import time
from collections import deque
from collections.abc import Mapping
from functools import cache
from threading import Event, Thread
from typing import Any
from uuid import UUID

import redis

from jobs import limiter
from jobs.relay.messages import Message, channel_of, sealed
from jobs.storable import storable
from jobs.streams import Delta, joined

logger = logging.getLogger(__name__)

# What comes within this goes in one message: readers see no difference, and tokens come every few milliseconds.
GRAIN_SECONDS = 0.04


class Telling:
    """One attempt's answer, told as it comes. Noted on the event loop; a thread seals and sends it.

    It is over when nobody listens, or when something was lost: what comes after a gap is of no use to anybody.
    """

    def __init__(self, job_id: UUID, attempt: int) -> None:
        self.job_id = job_id
        self.is_over = False
        self.is_waiting = False
        self._attempt = attempt
        self._number = 0
        self._frame: Mapping[str, Any] = {}
        self._shows_something = False
        self._deltas: deque[Delta] = deque()

    def __call__(self, frame: Mapping[str, Any], delta: Delta) -> None:
        if self.is_over:
            return
        self._frame = frame
        self._deltas.append(delta)
        # Until something can be seen, another attempt may take the place of this one, and nobody need know.
        self._shows_something = self._shows_something or delta.shows_something
        if self._shows_something and not self.is_waiting:
            self.is_waiting = True
            _teller().tell(self)

    def message(self) -> bytes | None:
        """What has come since the last message; None for nothing. For the thread that sends."""
        # Before taking: whatever comes from here on is told next time.
        self.is_waiting = False
        deltas = joined(self._deltas.popleft() for _ in range(len(self._deltas)))
        if not deltas:
            return None
        frame = {} if self._number else storable(dict(self._frame))
        told = tuple(Delta(index, storable(said), storable(_set(beside))) for index, said, beside in deltas)
        message = Message(self._attempt, self._number, told, frame)
        self._number += 1
        return sealed(self.job_id, message)


def _set(beside: Mapping[str, Any]) -> dict[str, Any]:
    """What has a value of what stands beside a message."""
    return {name: value for name, value in beside.items() if value}


class Teller:
    """Sends what is to be told, of all calls in one round trip: at once, and then at most once a grain."""

    def __init__(self) -> None:
        self._word = Event()
        self._tellings: deque[Telling] = deque()
        self._is_away = False
        Thread(target=self._run, name="teller", daemon=True).start()

    def tell(self, telling: Telling) -> None:
        """There is something to tell of a call; returns at once."""
        self._tellings.append(telling)
        self._word.set()

    def _run(self) -> None:
        while True:
            self._word.wait()
            self._word.clear()
            tellings = [self._tellings.popleft() for _ in range(len(self._tellings))]
            try:
                self._send(tellings)
                self._is_away = False
            except Exception as error:
                # It may have come through or not, and the answer is stored in the end: nothing is sent twice.
                for telling in tellings:
                    telling.is_over = True
                if not isinstance(error, redis.RedisError | OSError):
                    logger.exception("what comes of streams was not told")
                elif not self._is_away:
                    logger.warning("what comes of streams was not told: %s", error)
                self._is_away = True
            time.sleep(GRAIN_SECONDS)

    def _send(self, tellings: list[Telling]) -> None:
        sending = limiter.connection().pipeline(transaction=False)
        told = []
        for telling in tellings:
            message = telling.message()
            if message is not None:
                sending.publish(channel_of(telling.job_id), message)
                told.append(telling)
        for telling, listeners in zip(told, sending.execute(), strict=True):
            # Whoever comes later would miss the beginning, and is given all of it in the end.
            telling.is_over = listeners == 0


@cache
def _teller() -> Teller:
    return Teller()


# A fork has no thread of its parent: the child starts its own at its first word.
os.register_at_fork(after_in_child=_teller.cache_clear)
