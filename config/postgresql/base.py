"""The engine that `DATABASES` names: Django's own, but for how it makes sure of a connection from the pool."""

from select import POLLIN, poll
from typing import Any

import psycopg
from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> "psycopg.Connection[Any]":
        """A connection whose server has not hung up.

        Django's CONN_HEALTH_CHECKS asks each one that is borrowed, which costs as much as a short query does. A server
        that stopped, crashed or ended the session has closed its side, and that can be seen without asking.
        """
        while True:
            connection: psycopg.Connection[Any] = super().get_new_connection(conn_params)
            if self.pool is None or not _has_word(connection):
                return connection
            connection.close()
            self.pool.putconn(connection)  # which replaces what is closed


def _has_word(connection: "psycopg.Connection[Any]") -> bool:
    """Whether something came in, which on an idle connection is the server's last word or its end."""
    waiting = poll()
    waiting.register(connection.fileno(), POLLIN)
    return bool(waiting.poll(0))
