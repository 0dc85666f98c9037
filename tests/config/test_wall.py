"""The wall between organizations is built by `migrate`, again and again, and the doctor says what it lacks."""

import logging

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from accounts import wall
from config.doctor import Level, postgresql
from config.wall import building, rules

pytestmark = pytest.mark.django_db
POLICIES = "SELECT oid, polrelid::regclass::text FROM pg_policy ORDER BY 2"


def told(statement: str) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def troubles() -> list[tuple[Level, str, str]]:
    found = postgresql.tenants()
    return [(each.level, each.found, each.remedy) for each in found if each.level is not Level.OK]


@pytest.fixture(autouse=True)
def _looked_for_anew():
    wall.known.forget()
    yield
    wall.known.forget()


def test_building_again_changes_nothing():
    before = told(POLICIES)
    assert len(before) == len([rule for rule in rules.rules() if rule.sees])
    assert building.build()
    assert told(POLICIES) == before
    assert troubles() == []


@pytest.mark.parametrize(
    "statement",
    [
        "DROP POLICY tenant ON jobs_job",
        "ALTER TABLE jobs_job DISABLE ROW LEVEL SECURITY",
        "COMMENT ON POLICY tenant ON jobs_job IS 'of a version before'",
        "REVOKE INSERT ON jobs_job FROM bursar_tenant",
        "GRANT TRUNCATE ON jobs_job TO bursar_tenant",
    ],
)
def test_a_gap_is_found_and_closed_by_the_next_migrate(statement):
    told(statement)
    assert troubles() == [
        (Level.FAIL, "the wall between organizations has gaps at jobs_job", "run `manage.py migrate`")
    ]
    call_command("migrate", verbosity=0)
    assert troubles() == []


def test_until_the_last_table_is_given_nobody_stands_behind_it(alice):
    told("REVOKE ALL ON accounts_organization FROM bursar_tenant")
    assert wall.trouble() == "the role bursar_tenant has been given nothing yet"
    building.build()
    assert wall.trouble() is None


def test_nothing_is_built_on_tables_that_are_still_to_come():
    MigrationRecorder.Migration.objects.filter(app="jobs").order_by("-name").first().delete()
    told("DROP POLICY tenant ON jobs_job")
    assert not building.build()
    assert "jobs_job" not in {table for _, table in told(POLICIES)}


def test_without_the_role_everything_works_and_a_dba_is_told_what_to_run(monkeypatch, caplog):
    """Bursar's own role may make no roles."""
    monkeypatch.setattr(wall, "ROLE", "nobody_has_this_role")
    monkeypatch.setattr(building, "FOR_THE_DBA", "CREATE ROLE ...; GRANT ... TO {user};")
    with caplog.at_level(logging.WARNING):
        assert not building.build()
    assert "CREATE ROLE ...; GRANT ... TO bursar;" in caplog.text
    ((level, found, remedy),) = troubles()
    assert level is Level.WARN
    assert found.startswith("organizations are separated by Bursar's queries alone: there is no role")
    assert "CREATE ROLE ...; GRANT ... TO bursar;" in remedy


def test_a_wall_that_is_required_and_missing_is_a_failure(monkeypatch, settings):
    settings.ROW_SECURITY = "require"
    monkeypatch.setattr(wall, "ROLE", "nobody_has_this_role")
    ((level, found, _),) = troubles()
    assert (level, found.partition(":")[0]) == (Level.FAIL, "the API answers nothing")


def test_a_pooler_that_gives_sessions_to_others_is_found(monkeypatch):
    monkeypatch.setattr(wall, "_STATE", wall._STATE.replace("pg_backend_pid()", "pg_backend_pid() + 1"))
    ((level, found, remedy),) = troubles()
    assert level is Level.WARN
    assert "pooler" in found
    assert "BURSAR_ROW_SECURITY=off" in remedy


def test_a_wall_that_is_switched_off_is_told_and_not_built(settings):
    settings.ROW_SECURITY = "off"
    told("DROP POLICY tenant ON jobs_job")
    assert not building.build()
    ((level, found, _),) = troubles()
    assert (level, found) == (Level.WARN, "organizations are separated by Bursar's queries alone")
