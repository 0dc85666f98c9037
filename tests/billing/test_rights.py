"""The books are append-only by rights and by triggers; each guard is tested with the other one out of the way."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import DatabaseError, connection, transaction

from accounts.models import Organization, Project, User
from billing.models import LedgerEntry, Price, Reservation, UsageRecord
from tests.billing.conftest import BOOKS

INSUFFICIENT_PRIVILEGE = "42501"
INTEGRITY_VIOLATION = "23000"
CHANGES = [
    "UPDATE billing_ledgerentry SET spent_change_usd = 0",
    "UPDATE billing_ledgerentry SET reason = reason WHERE sequence = 1",
    "DELETE FROM billing_ledgerentry",
    "TRUNCATE billing_ledgerentry CASCADE",
    "UPDATE billing_usagerecord SET total_usd = total_usd",
    "DELETE FROM billing_usagerecord",
    "TRUNCATE billing_usagerecord",
    "TRUNCATE billing_reservation CASCADE",
]


def run(statement: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


@contextmanager
def refused_with(sqlstate: str) -> Iterator[None]:
    with pytest.raises(DatabaseError) as refusal:
        yield
    assert refusal.value.__cause__.sqlstate == sqlstate


@pytest.fixture
def written(book):
    """One settled call: two lines and a usage record, which are the same afterwards."""
    book.settle(book.hold("2.5"), output=1000)
    run("SET CONSTRAINTS ALL IMMEDIATE")  # a table with checks outstanding is not truncated or altered at all
    before = [list(model.objects.order_by("pk").values()) for model in (LedgerEntry, UsageRecord)]
    assert [len(rows) for rows in before] == [2, 1]
    yield book
    assert [list(model.objects.order_by("pk").values()) for model in (LedgerEntry, UsageRecord)] == before


@pytest.fixture
def without_rights_in_the_way(written):
    run(f"GRANT UPDATE, DELETE, TRUNCATE ON {BOOKS} TO CURRENT_USER")


@pytest.fixture
def without_triggers_in_the_way(written):
    run("SET session_replication_role = replica")
    yield
    run("SET session_replication_role = DEFAULT")


def test_the_application_is_no_superuser_and_owns_the_books(db):
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper, rolcreaterole, rolbypassrls FROM pg_roles WHERE rolname = CURRENT_USER")
        assert cursor.fetchone() == (False, False, False)
        cursor.execute("SELECT tableowner = CURRENT_USER FROM pg_tables WHERE tablename = 'billing_ledgerentry'")
        assert cursor.fetchone() == (True,)


@pytest.mark.parametrize("statement", CHANGES)
def test_rights_alone_refuse_a_change(without_triggers_in_the_way, statement):
    with refused_with(INSUFFICIENT_PRIVILEGE):
        run(statement)


@pytest.mark.parametrize("statement", CHANGES)
def test_triggers_alone_refuse_a_change(without_rights_in_the_way, statement):
    with refused_with(INTEGRITY_VIOLATION):
        run(statement)


@pytest.mark.parametrize("statement", CHANGES)
def test_with_neither_a_change_goes_through(without_rights_in_the_way, without_triggers_in_the_way, statement):
    """So that the tests above fail for the reason that they name, and for no other."""
    place = transaction.savepoint()
    run(statement)
    transaction.savepoint_rollback(place)


@pytest.mark.parametrize("table", ["billing_ledgerentry", "billing_usagerecord"])
def test_the_surrogate_key_is_guarded_by_the_trigger(written, table):
    """The one column that keeps the right, see the migration."""
    with refused_with(INTEGRITY_VIOLATION):
        run(f"UPDATE {table} SET id = id")


@pytest.mark.parametrize("table", ["billing_ledgerentry", "billing_usagerecord"])
def test_nobody_else_has_the_rights_either(db, table):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT privilege_type FROM pg_class, aclexplode(relacl) WHERE oid = %s::regclass "
            "AND privilege_type IN ('UPDATE', 'DELETE', 'TRUNCATE')",
            [table],
        )
        assert cursor.fetchall() == []


def test_what_the_books_do_not_name_is_deleted_as_ever(written):
    """PostgreSQL looks into the books for what names the row, by the rights of their owner."""
    unspent = Project.objects.create(organization=written.project.organization, name="Unspent", slug="unspent")
    assert unspent.delete()[0] == 1
    assert User.objects.create_user("nobody@example.com").delete()[0] == 1
    assert Price.objects.latest("effective_from").delete()[0] == 1
    assert Organization.objects.create(name="Empty", slug="empty").delete()[0] == 1
    run("SET CONSTRAINTS ALL IMMEDIATE")


def test_what_the_books_name_is_not_deleted_behind_the_door(written):
    with refused_with("23503"):
        run("DELETE FROM billing_hold; DELETE FROM billing_reservation; SET CONSTRAINTS ALL IMMEDIATE")
    assert Reservation.objects.count() == 1


@pytest.mark.parametrize("table", ["billing_ledgerentry", "billing_usagerecord"])
def test_a_later_migration_can_alter_the_books(written, table):
    place = transaction.savepoint()
    run(f"ALTER TABLE {table} ADD COLUMN later integer NOT NULL DEFAULT 7")
    run(f"ALTER TABLE {table} ALTER COLUMN later TYPE bigint")
    run(f"CREATE INDEX later_index ON {table} (later)")
    run(f"ALTER TABLE {table} ADD CONSTRAINT later_check CHECK (later > 0)")
    run(f"ALTER TABLE {table} ADD COLUMN project_again uuid REFERENCES accounts_project")
    transaction.savepoint_rollback(place)
