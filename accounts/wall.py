"""The second wall between tenants: while a thread works for an organization, PostgreSQL shows it no other's rows.

Every query of the API names its organization, and that is the first wall. A query that forgets to is stopped here: for
the time of the request the session has a role of the database that row-level security binds (`config.wall` builds it).
Whoever works for all organizations (workers, beat, the admin, commands) stays before the wall, as the owner of the
tables (docs/decisions/0038).
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction

from accounts.errors import DomainError

logger = logging.getLogger(__name__)

# Without a login; it can be taken by Bursar's own role alone, and only read and write what the API does.
ROLE = "bursar_tenant"
# The session's organization, which every policy compares with.
SETTING = "bursar.organization_id"
# A wall that is not there is looked for again after this.
LOOK_AGAIN_SECONDS = 60.0

# The last table that is granted to the role tells that the whole wall stands. A role that may be taken: SET is a right
# of its own since PostgreSQL 16.
_STATE = """
    SELECT pg_backend_pid(),
        coalesce((SELECT pg_has_role(oid, CASE WHEN current_setting('server_version_num')::int >= 160000
            THEN 'SET' ELSE 'MEMBER' END) FROM pg_roles WHERE rolname = %(role)s), false),
        coalesce((SELECT relrowsecurity AND EXISTS (SELECT FROM aclexplode(relacl) AS given
                WHERE given.grantee = to_regrole(%(role)s) AND given.privilege_type = 'SELECT')
            FROM pg_class WHERE oid = to_regclass('accounts_organization')), false)
"""

_organization: ContextVar[UUID | None] = ContextVar("organization that the thread works for", default=None)


class WallMissing(DomainError):
    """Bursar's database does not separate organizations as its settings require, so nothing is shown."""

    code = "wall_missing"


class _Known:
    """What this process knows of the wall: that it stands stays true, that it does not is looked at again."""

    def __init__(self) -> None:
        self.trouble: str | None = "not looked for yet"
        self._look_at = 0.0

    def find(self) -> str | None:
        """What is wrong with the wall; None where it stands."""
        if self.trouble is not None and monotonic() >= self._look_at:
            self._look_at = monotonic() + LOOK_AGAIN_SECONDS
            before, self.trouble = self.trouble, trouble()
            if self.trouble is not None and self.trouble != before:
                logger.warning("organizations are separated by Bursar's queries alone: %s", self.trouble)
        return self.trouble

    def forget(self) -> None:
        self.__init__()  # type: ignore[misc]


known = _Known()


def trouble() -> str | None:
    """Why nobody can stand behind the wall, in a few words; None where it stands. Asks the database."""
    database: Any = connections[DEFAULT_DB_ALIAS]
    database.ensure_connection()
    raw = database.connection
    pid, may_take_role, is_built = raw.execute(_STATE, {"role": ROLE}).fetchone()
    if raw.info.backend_pid != pid:
        return "a pooler stands before PostgreSQL, and may give the session to somebody else in between"
    if not may_take_role:
        return f"there is no role {ROLE}, or Bursar's own role is no member of it"
    return None if is_built else f"the role {ROLE} has been given nothing yet"


def stand_behind(organization_id: UUID) -> None:
    """From here to `step_out` the thread sees and writes rows of this organization alone, on whichever connection.

    Where there is no wall nothing changes, unless the settings require one. Raises WallMissing.
    """
    if settings.ROW_SECURITY == "off":
        return
    if known.find() is not None:
        if settings.ROW_SECURITY == "require":
            raise WallMissing
        return
    _organization.set(organization_id)
    _follow()


def step_out() -> None:
    """The thread works for nobody in particular again. Never fails: a connection that cannot follow is given up."""
    _organization.set(None)
    _follow()


def organization() -> UUID | None:
    """Behind whose wall the thread stands; None: before all of them."""
    return _organization.get()


@contextmanager
def lowered() -> Iterator[None]:
    """Inside, which is a transaction, the thread sees all organizations: for what the API cannot do without.

    A test lists who does that, and why.
    """
    found = organization()
    if found is None:
        yield
        return
    # For the transaction alone, so that the wall is up again however it ends.
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_statement("none", "", is_local=True))
        yield
        cursor.execute(_statement(ROLE, str(found), is_local=True))


def behind(organization_id: UUID) -> str:
    """The statement that puts a session behind the wall of an organization."""
    return _statement(ROLE, str(organization_id))


def _statement(role: str, organization_id: str, *, is_local: bool = False) -> str:
    """Both at once; for the session, because a request has many transactions, and most are a single statement."""
    local = str(is_local).lower()
    return f"SELECT set_config('role', '{role}', {local}), set_config('{SETTING}', '{organization_id}', {local})"


# The statement that takes a session out again.
BEFORE = _statement("none", "")


def _follow() -> None:
    """Has the thread's connection, if it has one, stand where the thread does; a later one does from its beginning."""
    database: Any = connections[DEFAULT_DB_ALIAS]
    database.stand(_organization.get())
