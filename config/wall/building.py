"""Builds the wall after every `migrate`, from what the models say now: again and again, and only what has changed.

Not by migrations of its own: the role may be made later by somebody else, and a new table is behind the wall without
being thought of (docs/decisions/0038).
"""

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor
from psycopg import sql

from accounts import wall
from config.wall.rules import FOREIGN_JOB, Rule, rules

logger = logging.getLogger(__name__)

POLICY = "tenant"
# What tells that the wall stands (`accounts.wall`) is granted when all else is.
LAST = "accounts_organization"
# Only one builds at a time: who waited finds that it is done.
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('bursar wall'))"
_MAY_MAKE_ROLES = "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
_ROLE = """
    SELECT pg_has_role(oid, CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END)
    FROM pg_roles WHERE rolname = %s
"""
_FUNCTION = """
    CREATE OR REPLACE FUNCTION {name}(job uuid, organization uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        RETURN EXISTS (SELECT FROM {schema}.jobs_job WHERE id = job AND organization_id IS DISTINCT FROM organization);
    END $$
"""
# The policy carries a hash of what it was made of: the server gives its conditions back in other words.
_THERE = """
    SELECT relation.relrowsecurity, obj_description(policy.oid, 'pg_policy')
    FROM pg_class relation LEFT JOIN pg_policy policy ON policy.polrelid = relation.oid AND policy.polname = %s
    WHERE relation.oid = to_regclass(%s)
"""
_GIVEN = """
    SELECT coalesce(array_agg(given.privilege_type::text), '{}')
    FROM pg_class, LATERAL aclexplode(relacl) AS given
    WHERE oid = to_regclass(%s) AND given.grantee = to_regrole(%s)
"""
_LOCKABLE = """
    SELECT attname::text FROM pg_attribute, LATERAL aclexplode(attacl) AS given
    WHERE attrelid = to_regclass(%s) AND given.grantee = to_regrole(%s)
"""
_OWN_RIGHTS = """
    SELECT array_agg(wanted) FROM unnest(%s::text[]) AS wanted WHERE has_table_privilege(%s, wanted)
"""
# What a DBA runs where Bursar's role may make no roles; `manage.py migrate` does the rest.
FOR_THE_DBA = f"CREATE ROLE {wall.ROLE} NOLOGIN; GRANT {wall.ROLE} TO {{user}};"


def build() -> bool:
    """Whether the wall stands afterwards. It does not where the role is missing and cannot be made."""
    if settings.ROW_SECURITY == "off" or _is_half_migrated():
        return False
    with connection.cursor() as cursor:
        if not _has_role(cursor):
            logger.warning("no second wall between organizations: have a DBA run `%s`", for_the_dba(cursor))
            return False
        with _alone(cursor):
            _build_function(cursor)
        # A table at a time: a lock that is held for long, or two in another order, would stop those who work.
        for rule in sorted(rules(), key=lambda rule: rule.table == LAST):
            with _alone(cursor):
                _build_policy(cursor, rule)
                _give_rights(cursor, rule)
    wall.known.forget()
    return True


@contextmanager
def _alone(cursor: Any) -> Iterator[None]:
    with transaction.atomic():
        cursor.execute(_LOCK)
        yield


def for_the_dba(cursor: Any) -> str:
    """The statements that a DBA has to run before `migrate`."""
    cursor.execute("SELECT quote_ident(current_user)")
    return FOR_THE_DBA.format(user=cursor.fetchone()[0])


def build_after_migrate(**_: Any) -> None:
    """Receives `post_migrate`."""
    build()


def _is_half_migrated() -> bool:
    """Tables that are still to come, or that later migrations change, are no place to build on."""
    executor = MigrationExecutor(connection)
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def _has_role(cursor: Any) -> bool:
    """Whether Bursar may take the role; it is made where that is allowed."""
    cursor.execute(_ROLE, [wall.ROLE])
    found = cursor.fetchone()
    if found and found[0]:
        return True
    cursor.execute(_MAY_MAKE_ROLES)
    if not cursor.fetchone()[0]:
        return False
    role = sql.Identifier(wall.ROLE)
    with _alone(cursor):
        if not found:
            cursor.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(role))
        cursor.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(role))
    return True


def _build_function(cursor: Any) -> None:
    cursor.execute("SELECT current_schema()")
    schema = sql.Identifier(cursor.fetchone()[0])
    name, role = sql.Identifier(FOREIGN_JOB), sql.Identifier(wall.ROLE)
    cursor.execute(sql.SQL(_FUNCTION).format(name=name, schema=schema))
    cursor.execute(sql.SQL("REVOKE ALL ON FUNCTION {}(uuid, uuid) FROM PUBLIC").format(name))
    cursor.execute(sql.SQL("GRANT EXECUTE ON FUNCTION {}(uuid, uuid) TO {}").format(name, role))
    cursor.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, role))


def unbuilt() -> list[str]:
    """The tables whose policy or rights are not as the rules have them."""
    with connection.cursor() as cursor:
        return [rule.table for rule in rules() if not (_has_policy(cursor, rule) and _has_rights(cursor, rule))]


def _has_policy(cursor: Any, rule: Rule) -> bool:
    cursor.execute(_THERE, [POLICY, rule.table])
    is_enabled, mark = cursor.fetchone() or (False, None)
    return rule.sees is None or (is_enabled and mark == _mark(rule))


def _mark(rule: Rule) -> str:
    return hashlib.sha256(f"{wall.ROLE} {rule.sees} {rule.writes}".encode()).hexdigest()


def _build_policy(cursor: Any, rule: Rule) -> None:
    if rule.sees is None or _has_policy(cursor, rule):
        return
    mark = _mark(rule)
    names = {"policy": sql.Identifier(POLICY), "table": sql.Identifier(rule.table), "role": sql.Identifier(wall.ROLE)}
    statements = (
        sql.SQL("DROP POLICY IF EXISTS {policy} ON {table}").format(**names),
        sql.SQL("CREATE POLICY {policy} ON {table} TO {role} USING ({sees}) WITH CHECK ({writes})").format(
            **names, sees=sql.SQL(rule.sees), writes=sql.SQL(rule.writes or rule.sees)
        ),
        sql.SQL("COMMENT ON POLICY {policy} ON {table} IS {mark}").format(**names, mark=sql.Literal(mark)),
        sql.SQL("ALTER TABLE {table} ENABLE ROW LEVEL SECURITY").format(**names),
    )
    for statement in statements:
        cursor.execute(statement)


def _has_rights(cursor: Any, rule: Rule) -> bool:
    cursor.execute(_GIVEN, [rule.table, wall.ROLE])
    given = set(cursor.fetchone()[0])
    cursor.execute(_LOCKABLE, [rule.table, wall.ROLE])
    lockable = [column for (column,) in cursor.fetchall()]
    return given == set(_rights(cursor, rule)) and lockable == ([rule.locks] if rule.locks else [])


def _rights(cursor: Any, rule: Rule) -> list[str]:
    """Never more than the owner has left itself: nobody rewrites the books."""
    cursor.execute(_OWN_RIGHTS, [list(rule.rights), rule.table])
    return cursor.fetchone()[0] or []


def _give_rights(cursor: Any, rule: Rule) -> None:
    if _has_rights(cursor, rule):
        return
    table, role = sql.Identifier(rule.table), sql.Identifier(wall.ROLE)
    cursor.execute(sql.SQL("REVOKE ALL ON {} FROM {}").format(table, role))
    rights = sql.SQL(", ").join(map(sql.SQL, _rights(cursor, rule)))
    cursor.execute(sql.SQL("GRANT {} ON {} TO {}").format(rights, table, role))
    if rule.locks:
        column = sql.Identifier(rule.locks)
        cursor.execute(sql.SQL("GRANT UPDATE ({}) ON {} TO {}").format(column, table, role))
