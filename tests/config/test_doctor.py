"""The doctor finds what is wrong, says how to mend it, and finds nothing where all is well."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from accounts.models import ProviderCredential, User
from billing.clock import database_now
from billing.models import Price
from config import alive, doctor
from config.celery import REQUIRED
from config.doctor import Level, deployment, postgresql, provider, valkey, work
from config.simulator.running import RunningSimulator
from jobs import limiter, workers
from jobs.models import Job, LanguageModel, Unlearnt
from tests.admin.conftest import finish_job

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def simulator():
    with RunningSimulator() as simulator:
        yield simulator


@pytest.fixture
def well(alice, settings, simulator):
    """A deployment in which all is as it should be."""
    settings.SECRET_KEY = "0123456789abcdef" * 4
    settings.ALLOWED_HOSTS = ["bursar.example.org"]
    settings.CSRF_TRUSTED_ORIGINS = ["https://bursar.example.org"]
    settings.HTTPS_ONLY = True
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.OPENAI_BASE_URL, settings.OPENAI_API_KEY = simulator.base_url, "sk-simulator"
    User.objects.filter(pk=alice.owner.pk).update(is_staff=True)
    for part in alive.Part:
        alive.say(part)
    workers.report("calls@test", slots=7, now=database_now())
    return settings


def troubles(check):
    return [finding.found for finding in check() if finding.level is not Level.OK]


@pytest.mark.parametrize("name", [name for name in doctor.CHECKS if name not in {"postgresql", "machine"}])
def test_where_all_is_well_nothing_is_found(well, name):
    found = [finding for finding in doctor.CHECKS[name]() if finding.level is not Level.OK]
    if name == "redis":  # that of the tests keeps nothing
        found = [finding for finding in found if "append-only" not in finding.found]
    assert found == []


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("DEBUG", True, "debug mode"),
        ("SECRET_KEY", "short", "secret key"),
        ("SECRET_KEY", "a" * 60, "secret key"),
        ("ALLOWED_HOSTS", ["*"], "any host name"),
        ("ALLOWED_HOSTS", ["localhost"], "this machine alone"),
        ("HTTPS_ONLY", False, "in the clear"),
        ("CSRF_TRUSTED_ORIGINS", [], "refused behind a proxy"),
        ("CRASH_AT", "calling", "stop for good"),
    ],
)
def test_a_setting_that_a_deployment_must_not_have_is_found(well, name, value, told):
    setattr(well, name, value)
    (found,) = troubles(deployment.settings_found)
    assert told in found


def test_a_machine_without_room_is_found(well, monkeypatch):
    well.CALL_SLOTS = 10**9
    full = deployment.shutil.disk_usage("/")
    monkeypatch.setattr(deployment.shutil, "disk_usage", lambda place: full._replace(free=1))
    disk, files = troubles(deployment.machine)
    assert "are free" in disk
    assert "files" in files


def test_a_server_that_may_lose_what_it_confirmed_is_found(well):
    """The one of the tests is such a server."""
    found = " ".join(troubles(postgresql.server))
    for name in ("fsync is off", "full_page_writes is off", "synchronous_commit is off"):
        assert name in found


def test_a_missing_migration_is_found(well):
    newest = MigrationRecorder.Migration.objects.filter(app="jobs").order_by("-name").first()
    newest.delete()
    told = f"1 migrations are missing, the first is jobs.{newest.name}"
    assert told in troubles(postgresql.server)


def test_books_that_can_be_rewritten_are_found(well):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE billing_ledgerentry DISABLE TRIGGER ledger_entries_are_append_only")
        cursor.execute("GRANT UPDATE ON billing_usagerecord TO CURRENT_USER")
    guards, rights = troubles(postgresql.guards)
    assert "ledger_entries_are_append_only" in guards
    assert "billing_usagerecord" in rights


def test_clocks_that_disagree_are_found():
    assert postgresql.skew("it", 100.0, 100.0, 103.0).level is Level.OK
    assert postgresql.skew("it", 90.0, 100.0, 100.1).level is Level.WARN
    assert postgresql.skew("it", 110.0, 100.0, 100.1).level is Level.WARN


def test_a_redis_that_forgets_under_pressure_is_found(well):
    limiter.connection().config_set("maxmemory-policy", "allkeys-lru")
    try:
        found = " ".join(troubles(valkey.server))
    finally:
        limiter.connection().config_set("maxmemory-policy", "noeviction")
    assert "maxmemory-policy is allkeys-lru" in found


def test_processes_that_are_missing_are_found(well):
    limiter.connection().delete(*(f"bursar:alive:{part}" for part in alive.Part))
    workers.forget("calls@test")
    assert [found.partition(":")[0] for found in troubles(work.processes)] == ["dispatch", "beat", "batches", "calls"]


def test_answered_jobs_that_nobody_learns_of_are_found(well, alice, monkeypatch):
    jobs = [finish_job(alice.project, alice.owner).job for _ in range(2)]
    Unlearnt.objects.bulk_create(Unlearnt(job=job) for job in jobs)
    assert troubles(work.learning) == []
    soon = database_now() - work.LEARNT_WITHIN + timedelta(minutes=1)
    Job.objects.filter(pk=jobs[0].pk).update(finished_at=soon)
    assert troubles(work.learning) == []
    Job.objects.filter(pk=jobs[0].pk).update(finished_at=soon - timedelta(minutes=1))
    (found,) = work.learning()
    assert found.level is Level.WARN
    assert "waiting are 2, the first for 5 minutes" in found.found
    assert "worker -Q batches" in found.remedy
    monkeypatch.setattr(work, "MOST_COUNTED", 2)
    assert "2 or more" in troubles(work.learning)[0]


def test_an_unsettled_celery_is_found(well, monkeypatch):
    monkeypatch.setattr(work.celery, "__version__", "5.7.0")
    monkeypatch.setitem(REQUIRED, "task_acks_late", (True, "for the test"))
    first, second = troubles(work.messages)
    assert "5.7.0" in first
    assert "task_acks_late" in second


def test_a_provider_that_refuses_a_key_or_does_not_answer_is_found(well, alice):
    own = ProviderCredential(organization=alice.organization, base_url="http://127.0.0.1:1/v1")
    own.api_key = "sk-other"
    own.save()
    (found,) = troubles(provider.access)
    assert "http://127.0.0.1:1/v1 does not answer" in found
    own.delete()
    well.OPENAI_API_KEY = ""
    (found,) = troubles(provider.access)
    assert found == "there is no key of the provider"
    well.PROVIDER_IS_SIMULATOR, well.OPENAI_API_KEY = True, "sk-simulator"
    assert "simulator" in troubles(provider.access)[0]


def test_a_model_without_a_price_is_found(well):
    served = LanguageModel.objects.filter(shutdown_on=None).first()
    Price.objects.filter(model=served.name).delete()
    (found,) = troubles(provider.catalogue)
    assert served.name in found


def test_people_who_cannot_come_in_or_be_written_to_are_found(well):
    well.EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
    User.objects.update(is_staff=False)
    assert len(troubles(work.people)) == 2


@pytest.fixture
def few(monkeypatch):
    """The command, over one check that the test chooses the outcome of."""

    def outcome(level):
        finding = replace(doctor.findings.fail("the floor creaks", "oil it"), level=level)
        monkeypatch.setattr("config.doctor.examine", lambda: [("floor", finding)])

    return outcome


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_only_a_failure_makes_the_command_fail(few, capsys, options):
    few(Level.WARN)
    call_command("doctor", *options)
    few(Level.FAIL)
    with pytest.raises(SystemExit) as ended:
        call_command("doctor", *options)
    assert ended.value.code == 1
    assert "oil it" in capsys.readouterr().out


def test_the_findings_can_be_read_by_programs(few, capsys):
    few(Level.WARN)
    call_command("doctor", "--json")
    expected = {"check": "floor", "level": "warn", "found": "the floor creaks", "remedy": "oil it"}
    assert json.loads(capsys.readouterr().out) == [expected]


def test_what_does_not_answer_is_a_finding_and_ends_nothing(settings, monkeypatch):
    def away():
        raise OSError("no route")
        yield

    ((name, finding),) = doctor.examine({"redis": away})
    assert (name, finding.level) == ("redis", Level.FAIL)
    assert "no route" not in finding.found
