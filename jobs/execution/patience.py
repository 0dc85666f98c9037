"""What a call has to have written waits for a database that is away, instead of being given up."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection

logger = logging.getLogger(__name__)

Written = TypeVar("Written")

# This is worth waiting for the database; then the attempt is left to be put in doubt.
PATIENCE_SECONDS = 120.0


def patiently(write: Callable[[], Written]) -> Written:
    """What `write` returns, tried again while the database is away; raises its last error after PATIENCE_SECONDS.

    What was cut off may have been committed, so `write` must bear being repeated.
    """
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    pause = 0.1
    while True:
        try:
            return write()
        except (OperationalError, InterfaceError) as error:
            if time.monotonic() > give_up_at:
                raise
            logger.warning("a call waits for the database: %s", error)
            _free_connection()
            time.sleep(pause)
            pause = min(pause * 2, 5.0)


def _free_connection() -> None:
    """Drops this thread's database connection, which may be dead; the next statement gets another one."""
    if not connection.in_atomic_block:
        connection.close()
