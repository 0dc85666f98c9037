"""The second wall: what the database itself keeps from an organization, when a query of ours forgets to.

The tables come from the models, so that a new one which is not behind the wall fails here.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, models, transaction
from django.db.models.fields.related_lookups import RelatedExact, RelatedIn
from django.db.utils import ProgrammingError
from django.utils import timezone
from psycopg.errors import InsufficientPrivilege

from accounts import remembered, wall
from accounts.models import Organization, User
from billing.models import Crossing, HourRollup, Price, ReviewedLine, ReviewNote, WebhookDelivery, WebhookTry
from config.wall import building, rules
from jobs.api import views
from jobs.models import (
    Batch,
    Calibration,
    Distribution,
    File,
    FileChunk,
    Job,
    ProviderBatch,
    Share,
    WasteLine,
    WasteReport,
)
from tests.conftest import Tenant
from tests.isolation import world as worlds
from tests.isolation.test_api import _client, _send, operations
from tests.isolation.world import World, leaked
from tests.test_architecture import APPS, SHARED_TABLES, leads_to_organization, named, sources

pytestmark = pytest.mark.django_db

# Shared by the architecture's word, and behind the wall all the same, by a condition of their own.
PARTLY_SHARED = {
    "accounts.Organization",
    "accounts.User",
    "accounts.AuditEntry",
    "accounts.AuditTrail",
    "billing.ReconciliationRun",
    "billing.ReconciledDay",
    "billing.ReconciliationLine",
    "billing.ReconciliationDecision",
}
# Who looks over the wall, and why.
LOWERED = {
    "accounts/members.py": "whoever is invited may be known from another organization",
    "jobs/workers.py": "slots are everybody's, and so is the number of those in use",
}


@pytest.fixture(scope="module")
def world(django_db_setup, django_db_blocker) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remembered, "is_on", False)
        with django_db_blocker.unblock(), transaction.atomic():
            built = worlds.build()
            for tenant in (built.own, built.other):
                complete(tenant)
            yield built
            transaction.set_rollback(True)


def complete(tenant: Tenant) -> None:
    """A row of each table that the isolation of pages and routes needs none of."""
    now, organization = timezone.now(), tenant.organization
    projects = organization.projects.all()
    team, place = organization.teams.get(), organization.memberships.earliest("pk")
    team.members.add(place)
    team.leads.add(place)
    Crossing.objects.create(budget=organization.budgets.first(), kind="threshold", percent=50, crossed_at=now)
    line = ReviewedLine.objects.get(organization=organization)
    ReviewNote.objects.create(line=line, act="approved", amount_usd=1, author=tenant.owner, at=now)
    delivery = WebhookDelivery.objects.get(endpoint__organization=organization)
    WebhookTry.objects.create(delivery=delivery, tried_at=now, milliseconds=7)
    Share.objects.create(organization=organization, started_at=now)
    there = {"price": Price.objects.earliest("pk"), "standard_price": Price.objects.earliest("pk")}
    ProviderBatch.objects.create(batch=Batch.objects.get(project__in=projects), created_at=now, **there)
    Calibration.objects.create(organization=organization, project=tenant.project, model="o1", month=now.date())
    Distribution.objects.create(organization=organization, model="o1", learnt={}, learnt_at=now)
    sums = dict.fromkeys(HourRollup.TOTALS, 1)
    HourRollup.objects.create(organization=organization, project=tenant.project, hour=now, model="o1", **sums)
    report = WasteReport.objects.create(organization=organization, project=tenant.project, month=now.date())
    WasteLine.objects.create(
        report=report, job=Job.objects.filter(organization=organization)[0], category="empty", usd=1
    )
    FileChunk.objects.create(file=File.objects.filter(project=tenant.project).first(), position=0, data=b"sealed")


@pytest.fixture
def behind(world):
    """The thread works for one of two organizations that have the same of everything."""
    wall.stand_behind(world.own.organization.pk)
    assert wall.organization() == world.own.organization.pk, wall.known.trouble
    yield world
    wall.step_out()


def ours() -> list[type[models.Model]]:
    return rules.tables()


def path_to_organization(model: type[models.Model], seen: frozenset = frozenset()) -> str | None:
    """How a query finds the organization of a row: project__organization."""
    keys = [f for f in model._meta.concrete_fields if isinstance(f, models.ForeignKey)]
    for key in keys:
        if key.related_model is Organization:
            return key.name
    for key in keys:
        if not key.null and key.related_model not in seen | {model}:
            further = path_to_organization(key.related_model, seen | {model})
            if further:
                return f"{key.name}__{further}"
    return None


def rows_of(model: type[models.Model], organization: Organization) -> Any:
    """The organization's rows of a table, found by whoever sees all."""
    rows = model._default_manager.order_by()
    match model._meta.label:
        case "accounts.Organization" | "accounts.AuditTrail":
            return rows.filter(pk=organization.pk)
        case "accounts.User":
            return rows.filter(memberships__organization=organization)
        case _:
            return rows.filter(**{path_to_organization(model): organization})


def ids_of(model: type[models.Model], organization: Organization) -> set[Any]:
    return set(rows_of(model, organization).values_list("pk", flat=True))


def told(statement: str, parameters: Any = None) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else [(cursor.rowcount,)]


def tenant_tables() -> list[type[models.Model]]:
    labels = rules.SHARED | rules.CLOSED
    return [model for model in ours() if model._meta.label not in labels]


# --- What is behind it ------------------------------------------------------------------------------------------------
def test_every_table_is_behind_the_wall_or_listed_as_everybodys():
    built = {rule.table: rule for rule in rules.rules()}
    for model in ours():
        label, rule = model._meta.label, built.get(model._meta.db_table)
        if label in rules.CLOSED:
            assert rule is None, label
        elif leads_to_organization(model) or label in PARTLY_SHARED:
            assert rule is not None, label
            assert rule.sees, label
        else:
            assert label in SHARED_TABLES, label
            assert (rule.rights, rule.sees) == (rules.READ, None), label
    labels = {model._meta.label for model in ours()}
    assert labels >= rules.SHARED | rules.CLOSED | rules.READ_ONLY | PARTLY_SHARED


def test_the_database_has_every_rule_and_gives_the_role_nothing_else():
    assert wall.trouble() is None
    assert building.unbuilt() == []
    given = told(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'S')"
        " AND has_table_privilege(%s, oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')",
        [wall.ROLE],
    )
    assert {name for (name,) in given} == {rule.table for rule in rules.rules()}
    rights = "SELECT rolcanlogin, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = %s"
    assert told(rights, [wall.ROLE]) == [(False, False, False, False, False)]


def test_nobody_rewrites_the_books_from_behind_the_wall():
    books = ["billing_ledgerentry", "billing_usagerecord", "billing_closedmonth", "billing_reservation"]
    may = "SELECT name FROM unnest(%s::text[]) AS name WHERE has_table_privilege(%s, name, 'INSERT, UPDATE, DELETE')"
    assert told(may, [books, wall.ROLE]) == []
    append_only = ["accounts_auditentry", "billing_book"]
    assert told(may.replace("INSERT, ", ""), [append_only, wall.ROLE]) == []


@pytest.mark.parametrize("model", tenant_tables(), ids=lambda model: model._meta.label)
def test_nothing_of_others_is_read_written_or_made_by_whatever_statement(world, model):
    table, key = model._meta.db_table, model._meta.pk.column
    mine, theirs = (
        set(rows_of(model, of.organization).values_list("pk", flat=True)) for of in (world.own, world.other)
    )
    assert theirs, f"tests/isolation/world.py makes no row of {table}"
    (document,) = told(f"SELECT to_jsonb(t)::text FROM {table} t WHERE {key} = ANY(%s)", [list(theirs)])[0]
    wall.stand_behind(world.own.organization.pk)
    try:
        seen = {pk for (pk,) in told(f"SELECT {key} FROM {table}")}
        assert seen & theirs == set()
        assert mine <= seen
        for what in (f"UPDATE {table} SET {key} = {key}", f"DELETE FROM {table}"):
            statement = f"{what} WHERE {key} = ANY(%s)"
            assert _touched(statement, list(theirs)) in (0, None), statement
        columns = ", ".join(f'"{field.column}"' for field in model._meta.concrete_fields if not field.generated)
        copied = f"INSERT INTO {table} ({columns}) SELECT {columns} FROM jsonb_populate_record(NULL::{table}, %s)"
        assert _touched(copied, document) is None
    finally:
        wall.step_out()
    assert theirs == ids_of(model, world.other.organization)


def _touched(statement: str, parameter: Any) -> int | None:
    """How many rows a statement has touched; None where it is not allowed at all."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement, [parameter])
            return cursor.rowcount
    except ProgrammingError as error:
        if isinstance(error.__cause__, InsufficientPrivilege):
            return None
        raise


def test_a_row_cannot_be_given_to_others(behind):
    with pytest.raises(ProgrammingError, match="row-level security"), transaction.atomic():
        Job.objects.all().update(organization=behind.other.organization)


def test_without_an_organization_the_role_sees_nothing(behind):
    told("SELECT set_config('bursar.organization_id', '', false)")
    for model in tenant_tables():
        if model is not User:  # the service's own staff
            left = model._default_manager.all()
            if model._meta.label in {"billing.ReconciliationRun", "billing.ReconciledDay"}:
                left = left.exclude(organization=None)
            assert left.count() == 0, model._meta.label


def test_people_of_others_are_nobody(behind):
    emails = set(User.objects.values_list("email", flat=True))
    assert behind.other.owner.email not in emails
    assert behind.own.owner.email in emails
    assert "root@bursar.example" in emails  # decides for organizations, and is named there
    with pytest.raises(ProgrammingError, match="permission denied"), transaction.atomic():
        told("SELECT * FROM django_session")


def test_nobody_else_looks_over_the_wall():
    found = {named(path) for path in sources(*APPS) if re.search(r"wall\.lowered\(", path.read_text())}
    assert found == set(LOWERED)


# --- Through the API, with the first wall torn down -------------------------------------------------------------------
@pytest.fixture
def forgetful(monkeypatch):
    """Every comparison with an organization, project, team or person that the ORM writes is left out."""
    ours = ("accounts_organization", "accounts_project", "accounts_team", "accounts_user")
    for lookup in (RelatedExact, RelatedIn):

        def as_sql(self, compiler, connection, _known=lookup.as_sql):
            target = getattr(getattr(self.lhs, "target", None), "related_model", None)
            if target is not None and target._meta.db_table in ours:
                return "(1 = 1)", []
            return _known(self, compiler, connection)

        monkeypatch.setattr(lookup, "as_sql", as_sql)


def _leaks(world: World) -> set[str]:
    """The lists of the API that show something of the other organization to the owner's management key."""
    client = _client(world.own.api_key)
    found = set()
    for route, method, converters in operations():
        if converters or method != "get":
            continue
        with transaction.atomic():
            answer = _send(client, route, method, {})
            text = worlds.said(answer)
            transaction.set_rollback(True)
        if leaked(world, text):
            found.add(route)
    return found


@pytest.fixture
def managing(world):
    with transaction.atomic():
        type(world.own.api_key.api_key).objects.filter(pk=world.own.api_key.api_key.pk).update(may_manage=True)
        yield world
        transaction.set_rollback(True)


@pytest.mark.usefixtures("forgetful")
def test_routes_that_forget_whose_rows_they_list_show_nothing_of_others(managing):
    assert _leaks(managing) == set()


@pytest.mark.usefixtures("forgetful")
def test_and_would_without_the_wall(managing, settings):
    """That the test above tears down anything at all."""
    settings.ROW_SECURITY = "off"
    assert len(_leaks(managing)) >= 10


def test_a_job_of_others_is_not_found_by_a_view_that_looks_at_all(world, monkeypatch):
    monkeypatch.setattr(views, "jobs_of", lambda view: Job.objects.select_related("content", "project", "queue"))
    theirs = Job.objects.filter(organization=world.other.organization).earliest("pk")
    mine = Job.objects.filter(organization=world.own.organization).earliest("pk")
    client = _client(world.own.api_key)
    for method, path in (("get", ""), ("post", "/erase"), ("get", "/attempts")):
        answers = []
        for job in (theirs, mine):
            with transaction.atomic():
                answers.append(getattr(client, method)(f"/api/v1/jobs/{job.pk}{path}").status_code)
                transaction.set_rollback(True)
        assert answers == [404, 200], path
    listed = client.get("/api/v1/jobs").json()["data"]
    assert {row["id"] for row in listed} == {
        str(pk) for pk in Job.objects.filter(organization=world.own.organization).values_list("pk", flat=True)
    }
