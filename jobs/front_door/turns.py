"""Threads take turns at the database, so that a burst of requests waits here for as long as it takes.

There are many more threads than connections. A connection of the pool is waited for only so long, and then the request
fails: of two hundred requests at once the last would be refused, though nothing is wrong. A request has its turn from
beginning to end (`config.requests`), but for one that waits for a job: it has one whenever it reads or writes, and none
while it waits.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from django.conf import settings
from django.db import connection

# What watches the jobs, health checks and what streams a file find connections of the pool as well.
SHARE = 2 / 3
# The routes whose views wait, and so take their turns themselves (`jobs.front_door.views.WaitingView`).
WAITING_PATHS = frozenset({"/v1/chat/completions", "/v1/responses"})

_turns = BoundedSemaphore(max(1, int(settings.DATABASE_POOL * SHARE)))


@contextmanager
def turn() -> Iterator[None]:
    """Inside, the thread may use its connection to the database; afterwards it has none.

    Inside a transaction of the caller's the connection stays as it is. Turns are not nested.
    """
    with _turns:
        try:
            yield
        finally:
            if not connection.in_atomic_block:
                connection.close()
