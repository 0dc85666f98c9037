"""Connections to a PostgreSQL that may die and come back at any instant (docs/decisions/0022).

The pool's own check asks the server at every borrowing, and waits a second, then two, then four after each connection
that fails it: a dozen connections of a server that was killed would keep callers away long after it is back. Here a
dead connection is seen on its socket, for the price of one system call, and the next one is taken at once.
"""

from select import POLLIN, poll
from typing import Any

import psycopg
from django.db.backends.postgresql import base
from psycopg_pool import PoolTimeout

# Whoever comes after one who waited in vain for a server that is away is refused after this, so that threads are free
# to say so to many. Before, all wait as long as the settings say, which is about what a restart takes.
IMPATIENCE_SECONDS = 0.5


class DatabaseWrapper(base.DatabaseWrapper):
    """A thread's connection, borrowed from the pool of its process."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """A connection that its server has not closed.

        Raises OperationalError when there is none in time.
        """
        pool = self.pool
        connection = self._borrow(conn_params)
        # The pool makes a new one in the place of each; it has no more of these than it held when the server died.
        for _ in range(pool.max_size if pool else 0):
            if not is_lost(connection):
                break
            connection.close()
            pool.putconn(connection)
            connection = self._borrow(conn_params)
        return connection

    def _borrow(self, conn_params: dict[str, Any]) -> Any:
        pool = self.pool
        try:
            connection = super().get_new_connection(conn_params)
        except PoolTimeout:
            # A pool that is full is busy, and comes round. One that could have grown and did not, found no server.
            if pool.get_stats()["pool_size"] < pool.max_size:
                pool.timeout = IMPATIENCE_SECONDS
            raise
        if pool:
            pool.timeout = self.settings_dict["OPTIONS"]["pool"]["timeout"]
        return connection


def is_lost(connection: "psycopg.Connection[Any]") -> bool:
    """Whether the server has closed an idle connection.

    An idle server says nothing. A socket with something to read has its end to read, or news of changed settings,
    which a new connection has as well.
    """
    if connection.closed:
        return True
    waiting = poll()  # not select, which knows no descriptor above 1023
    waiting.register(connection.fileno(), POLLIN)
    return bool(waiting.poll(0))
