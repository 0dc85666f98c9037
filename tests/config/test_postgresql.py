"""The engine of the database: a connection from the pool is one whose server has not hung up."""

import psycopg
import pytest
from django.db import connection

from tests.flows.processes import eventually

PROCESS = "SELECT pg_backend_pid()"


def process() -> int:
    with connection.cursor() as cursor:
        cursor.execute(PROCESS)
        return int(cursor.fetchone()[0])


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_connection_whose_server_hung_up_while_it_lay_in_the_pool_is_not_given_out():
    assert connection.pool is not None
    before = set()
    for _ in range(connection.pool.max_size + 1):  # whichever lie in the pool
        before.add(process())
        connection.close()
    own = connection.get_connection_params()
    address = {name: own[name] for name in ("dbname", "user", "password", "host", "port")}
    with psycopg.connect(**address, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", [list(before)])
        there = "SELECT FROM pg_stat_activity WHERE pid = ANY(%s)"
        eventually(lambda: other.execute(there, [list(before)]).rowcount == 0)
    assert process() not in before
