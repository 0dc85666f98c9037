"""Who may do what in the embedded PostgreSQL: Bursar's role owns its database, and is no superuser.

A superuser is bound by no rights, and the books are guarded by rights too.
"""

import psycopg
from psycopg import conninfo, sql

from config.embedded.postgres import ADMINISTRATOR, DATABASE, USER, Server

_TIMEOUT_SECONDS = 10
# Takes the old name away from the administrator, who cannot rename himself.
_HELPER = "bursar_upgrade"
# What requests of a tenant are answered by: no login, and bound by row-level security (docs/decisions/0038).
TENANT = "bursar_tenant"

# What a cluster of before holds that the administrator made as Bursar; partitions and indexes follow their tables.
_TABLES = """
SELECT format('ALTER %s %s OWNER TO {user}',
              CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END, oid::regclass)
FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm') AND {theirs}
"""
# After the tables, which take the sequences of their columns along.
_SEQUENCES = (
    "SELECT format('ALTER SEQUENCE %s OWNER TO {user}', oid::regclass) FROM pg_class WHERE relkind = 'S' AND {theirs}"
)
_ROUTINES = "SELECT format('ALTER ROUTINE %s OWNER TO {user}', oid::regprocedure) FROM pg_proc WHERE {theirs}"
_THEIRS = """
{owner} = to_regrole({administrator}) AND {schema} NOT IN (
    SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_' OR nspname = 'information_schema'
) AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = {table}.oid AND classid = {table}.tableoid AND deptype = 'e')
"""


def make_ready(server: Server, *, for_tests: bool = False) -> None:
    """Make Bursar's role and database unless they are there; a cluster of before is brought to that. Repeatable.

    `for_tests` gives the role what nobody has in production: databases of its own, and sleeping triggers.
    """
    _give_the_name_back(server)
    with _connected(server.administrator_url) as connection:
        _make_role(connection, server, for_tests=for_tests)
        _make_database(connection)
    with _connected(_in(server.administrator_url, DATABASE)) as connection:
        _hand_over(connection)


def _connected(url: str) -> psycopg.Connection:
    return psycopg.connect(url, autocommit=True, connect_timeout=_TIMEOUT_SECONDS)


def _in(url: str, database: str) -> str:
    return f"{url.rpartition('/')[0]}/{database}"


def _give_the_name_back(server: Server) -> None:
    """In a cluster of before, `bursar` is the superuser that made it, and cannot be made an ordinary role."""
    try:
        _connected(server.administrator_url).close()
    except psycopg.OperationalError:
        old = server.administrator_url.replace(f"//{ADMINISTRATOR}:", f"//{USER}:", 1)
    else:
        return
    helper = server.administrator_url.replace(f"//{ADMINISTRATOR}:", f"//{_HELPER}:", 1)
    password = conninfo.conninfo_to_dict(helper)["password"]
    with _connected(old) as connection:
        connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(_HELPER)))
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {}").format(sql.Identifier(_HELPER), sql.Literal(password))
        )
    with _connected(helper) as connection:
        connection.execute(
            sql.SQL("ALTER ROLE {} RENAME TO {}").format(sql.Identifier(USER), sql.Identifier(ADMINISTRATOR))
        )


def _make_role(connection: psycopg.Connection, server: Server, *, for_tests: bool) -> None:
    user, password = sql.Identifier(USER), conninfo.conninfo_to_dict(server.url)["password"]
    if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [USER]).rowcount == 0:
        connection.execute(sql.SQL("CREATE ROLE {}").format(user))
    # Databases of its own are for the tests alone; so is the switch by which they put triggers to sleep.
    rights = "NOSUPERUSER NOCREATEROLE NOREPLICATION NOBYPASSRLS " + ("CREATEDB" if for_tests else "NOCREATEDB")
    connection.execute(
        sql.SQL("ALTER ROLE {} LOGIN {} PASSWORD {}").format(user, sql.SQL(rights), sql.Literal(password))
    )
    if for_tests:
        connection.execute(sql.SQL("GRANT SET ON PARAMETER session_replication_role TO {}").format(user))
    connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(_HELPER)))
    tenant = sql.Identifier(TENANT)
    if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [TENANT]).rowcount == 0:
        connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(tenant))
    connection.execute(sql.SQL("GRANT {} TO {}").format(tenant, user))


def _make_database(connection: psycopg.Connection) -> None:
    there = connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).rowcount
    statement = "ALTER DATABASE {} OWNER TO {}" if there else "CREATE DATABASE {} OWNER {}"
    connection.execute(sql.SQL(statement).format(sql.Identifier(DATABASE), sql.Identifier(USER)))


def _hand_over(connection: psycopg.Connection) -> None:
    """Whatever the administrator owns in Bursar's database, but for what belongs to PostgreSQL or to an extension."""
    columns = (
        (_TABLES, "pg_class", "relowner", "relnamespace"),
        (_SEQUENCES, "pg_class", "relowner", "relnamespace"),
        (_ROUTINES, "pg_proc", "proowner", "pronamespace"),
    )
    with connection.transaction():
        for query, table, owner, schema in columns:
            theirs = sql.SQL(_THEIRS).format(
                owner=sql.Identifier(owner),
                schema=sql.Identifier(schema),
                table=sql.Identifier(table),
                administrator=sql.Literal(ADMINISTRATOR),
            )
            found = connection.execute(sql.SQL(query).format(user=sql.Identifier(USER), theirs=theirs)).fetchall()
            for (statement,) in found:
                connection.execute(statement.encode())
