"""Asking for a dispatch soon. Whoever has work only leaves word; a thread of the process passes it on.

So nobody waits for Redis, not even when it hangs, and work that comes in quick succession asks it once.
"""

import logging
import os
import time
from functools import cache
from threading import Event, Thread

import redis
from celery import current_app
from kombu.exceptions import OperationalError as BrokerError

from jobs import limiter

logger = logging.getLogger(__name__)

WAKE_KEY = "bursar:dispatch:woken"
WAKE_TASK = "jobs.tasks.dispatch"
# Asked at most this often by one process. What comes meanwhile is passed on when the time is over.
GRAIN_SECONDS = 0.02


class Waker:
    """Passes on that there is work: at once, and then at most once a grain, but always after the last word."""

    def __init__(self) -> None:
        self._word = Event()
        Thread(target=self._pass_on, name="waker", daemon=True).start()

    def wake(self) -> None:
        self._word.set()

    def _pass_on(self) -> None:
        while True:
            self._word.wait()
            # Before asking: whoever comes from here on is asked for again.
            self._word.clear()
            ask()
            time.sleep(GRAIN_SECONDS)


def wake() -> None:
    """Asks for a dispatch soon and returns at once. With Redis away the beat does it a second later."""
    _waker().wake()


def ask(key: str = WAKE_KEY, *, keep_seconds: float = 1.0, countdown: float | None = None) -> None:
    """Sends the message, unless one is on its way already: many processes that ask at once make one message.

    The key remembers for so many seconds that it was sent; the message is due after the countdown.
    """
    try:
        if limiter.connection().set(key, 1, nx=True, px=int(keep_seconds * 1000)):
            current_app.send_task(WAKE_TASK, countdown=countdown)
    except (redis.RedisError, BrokerError, OSError) as error:
        logger.warning("dispatch not woken, the beat will: %s", error)
    except Exception:
        # The thread serves every later word, too.
        logger.exception("dispatch not woken, the beat will")


@cache
def _waker() -> Waker:
    return Waker()


# A fork has no thread of its parent: the child starts its own at its first word.
os.register_at_fork(after_in_child=_waker.cache_clear)
