"""Connections to a PostgreSQL that may die and come back at any instant (docs/decisions/0022).

The pool's own check asks the server at every borrowing, and waits a second, then two, then four after each connection
that fails it: a dozen connections of a server that was killed would keep callers away long after it is back. Here a
dead connection is seen on its socket, for the price of one system call, and the next one is taken at once.
"""

import logging
from select import POLLIN, poll
from typing import Any
from uuid import UUID

import psycopg
from django.db.backends.postgresql import base
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg_pool import PoolTimeout

from accounts import wall

logger = logging.getLogger(__name__)

# Whoever comes after one who waited in vain for a server that is away is refused after this, so that threads are free
# to say so to many. Before, all wait as long as the settings say, which is about what a restart takes.
IMPATIENCE_SECONDS = 0.5


class DatabaseWrapper(base.DatabaseWrapper):
    """A thread's connection, borrowed from the pool of its process, and given back as it was."""

    # Behind whose wall the session stands (`accounts.wall`); None: before all of them.
    _behind: UUID | None = None
    # Whether it may stand behind one, now or after a rollback.
    _was_behind = False

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

    def init_connection_state(self) -> None:
        super().init_connection_state()
        self._behind, self._was_behind = None, False
        self.stand(wall.organization())

    def stand(self, organization_id: UUID | None) -> None:
        """Has the session, if there is one, stand behind an organization's wall, or before all walls for None.

        Raises OperationalError where it cannot stand behind one; where it cannot leave one, it will when it is given
        back.
        """
        raw = self.connection
        if raw is None or organization_id == self._behind:
            return
        if organization_id is None:
            is_for_good = raw.pgconn.transaction_status == TransactionStatus.IDLE
            if _said(raw, wall.BEFORE):
                # What is said in a transaction is taken back by its rollback.
                self._behind, self._was_behind = None, not is_for_good
            return
        # Noted first: whatever becomes of the statement, the session is not given back as it is.
        self._behind, self._was_behind = organization_id, True
        with self.wrap_database_errors:
            if not _said(raw, wall.behind(organization_id)):
                raise psycopg.OperationalError(f"the session cannot take the role {wall.ROLE}")

    def _close(self) -> None:
        if self.connection is not None and self._was_behind:
            _leave(self.connection)
        self._behind, self._was_behind = None, False
        super()._close()  # type: ignore[misc]  # django-stubs does not know it


def _leave(raw: "psycopg.Connection[Any]") -> None:
    """Whoever borrows the session next stands before all walls. One that cannot leave is closed, and replaced."""
    try:
        if not raw.closed and raw.pgconn.transaction_status != TransactionStatus.IDLE:
            raw.rollback()
    except psycopg.Error as error:
        logger.warning("a connection to the database is given up: %s", error)
    if not _said(raw, wall.BEFORE):
        raw.close()


def _said(raw: "psycopg.Connection[Any]", statement: str) -> bool:
    """Whether the server has done it. Past cursors and their adapters, which would take longer than the server."""
    if raw.closed or raw.pgconn.transaction_status == TransactionStatus.ACTIVE:
        return False
    try:
        return raw.pgconn.exec_(statement.encode()).status == ExecStatus.TUPLES_OK
    except psycopg.Error:
        return False


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
