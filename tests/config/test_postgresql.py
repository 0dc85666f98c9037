"""The engine of the database: a connection from the pool is one whose server has not hung up."""

import psycopg
import pytest
from django.db import connection
from psycopg import sql

from tests.flows.processes import eventually

PROCESS = "SELECT pg_backend_pid()"


def process() -> int:
    with connection.cursor() as cursor:
        cursor.execute(PROCESS)
        return int(cursor.fetchone()[0])


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_connection_whose_server_hung_up_while_it_lay_in_the_pool_is_not_given_out():
    assert connection.pool is not None
    first = process()
    connection.close()  # back into the pool
    assert process() == first
    connection.close()
    own = connection.get_connection_params()
    address = {name: own[name] for name in ("dbname", "user", "password", "host", "port")}
    with psycopg.connect(**address, autocommit=True) as other:
        other.execute(sql.SQL("SELECT pg_terminate_backend({})").format(first))
        there = sql.SQL("SELECT FROM pg_stat_activity WHERE pid = {}").format(first)
        eventually(lambda: other.execute(there).rowcount == 0)
    assert process() != first
