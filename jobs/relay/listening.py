"""The web process's side: one connection to Valkey, by which it hears of every answer that somebody in it waits for."""

import logging
import os
from collections import defaultdict
from functools import cache
from threading import Lock, Thread
from time import sleep
from typing import Any, Protocol
from uuid import UUID

import redis
from django.conf import settings

from jobs.relay.messages import channel_of

logger = logging.getLogger(__name__)

# A connection that said nothing for so long is asked whether it lives, and given up after as long again.
SILENT_SECONDS = 10.0
AWAY_SECONDS = 1.0


class Ear(Protocol):
    """`hear` is called by the thread that listens, with a message as it was sealed; it only takes note."""

    def hear(self, told: bytes) -> None: ...


class Listener:
    """Hears for all who wait. What is told while its connection is broken is lost, and the next numbers show it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._ears: dict[bytes, set[Ear]] = defaultdict(set)
        self._connection: Any = None
        self._pool = redis.ConnectionPool.from_url(
            settings.REDIS_URL,
            protocol=2,
            socket_timeout=SILENT_SECONDS,
            socket_connect_timeout=2,
            socket_keepalive=True,
        )
        Thread(target=self._run, name="listener to answers", daemon=True).start()

    def add(self, job_id: UUID, ear: Ear) -> None:
        """From now on it hears what is told of the job; what was told before is lost to it."""
        channel = channel_of(job_id)
        with self._lock:
            self._ears[channel].add(ear)
            if len(self._ears[channel]) == 1:
                self._say("SUBSCRIBE", channel)

    def remove(self, job_id: UUID, ear: Ear) -> None:
        channel = channel_of(job_id)
        with self._lock:
            ears = self._ears.get(channel, set())
            ears.discard(ear)
            if not ears and self._ears.pop(channel, None) is not None:
                self._say("UNSUBSCRIBE", channel)

    def _say(self, *command: Any) -> None:
        """Sends a command, where there is a connection; the thread that makes one asks for all that is wanted then."""
        if self._connection is None:
            return
        try:
            self._connection.send_command(*command)
        except (redis.RedisError, OSError):
            self._connection = None  # whoever reads from it is told the same

    def _run(self) -> None:
        is_away = False
        while True:
            try:
                connection = self._connected()
                is_away = False
                self._hear_all(connection)
            except (redis.RedisError, OSError) as error:
                if not is_away:
                    logger.warning("answers are not heard while they are made: %s", error)
                is_away = True
            except Exception:
                logger.exception("answers are not heard while they are made")
            with self._lock:
                self._connection = None
            sleep(AWAY_SECONDS)

    def _connected(self) -> Any:
        """A new connection that hears of all that is waited for."""
        connection: Any = self._pool.connection_class(**self._pool.connection_kwargs)
        connection.connect()
        with self._lock:
            if self._ears:
                connection.send_command("SUBSCRIBE", *self._ears)
            self._connection = connection
        return connection

    def _hear_all(self, connection: Any) -> None:
        is_asked = False
        try:
            while True:
                try:
                    said = connection.read_response(disconnect_on_error=False)
                    is_asked = False
                except redis.TimeoutError:
                    if is_asked:
                        raise
                    is_asked = True
                    with self._lock:
                        connection.send_command("PING")
                    continue
                if isinstance(said, list) and said[0] == b"message":
                    self._pass_on(said[1], said[2])
        finally:
            connection.disconnect()

    def _pass_on(self, channel: bytes, told: bytes) -> None:
        with self._lock:
            ears = list(self._ears.get(channel, ()))
        for ear in ears:
            ear.hear(told)


@cache
def listener() -> Listener:
    """This process's own."""
    return Listener()


# A fork has no thread of its parent: the child starts its own when somebody first waits in it.
os.register_at_fork(after_in_child=listener.cache_clear)
