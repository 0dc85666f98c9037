import psycopg
import pytest

from billing.clock import database_now
from config import alive, consuming, health
from config.tasks import hear_beat
from jobs import limiter, workers
from jobs.tasks import dispatch, rescue, work_on_batches
from tests.api.conftest import client_of


@pytest.fixture(autouse=True)
def _anonymous(client):
    client.credentials()


@pytest.fixture(autouse=True)
def _all_runs(alice):
    """Beat, dispatch and a worker of calls, as they say themselves."""
    for part in alive.Part:
        alive.say(part)
    workers.report("calls@test", slots=1, now=database_now())


def fall_silent(part):
    limiter.connection().delete(f"bursar:alive:{part}")


ALL_WELL = {"postgresql": "ok", "redis": "ok", "dispatch": "ok", "beat": "ok", "batches": "ok", "calls": "ok"}


def test_a_process_that_answers_is_alive_whatever_else_is_not(client, monkeypatch, django_assert_num_queries):
    monkeypatch.setattr(health, "checks", None)
    with django_assert_num_queries(0):
        response = client.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "alive"})
    assert client.head("/healthz").status_code == 200
    assert client.post("/healthz").status_code == 405


@pytest.mark.parametrize("path", ["/readyz", "/readyz/all"])
def test_it_is_ready_when_everything_answers(client, path):
    response = client.get(path)
    assert response.json() == {"status": "ready", "checks": ALL_WELL}
    assert response.status_code == 200


def test_without_redis_the_web_is_ready_and_the_whole_is_not(client, settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    told = {**ALL_WELL, "redis": "does not answer", **dict.fromkeys(alive.Part, "unknown")}
    assert client.get("/readyz").json() == {"status": "degraded", "checks": told}
    response = client.get("/readyz/all")
    problem = response.json()
    assert (response.status_code, problem["code"], problem["checks"]) == (503, "not_ready", told)
    assert "redis" in problem["detail"]
    assert "127.0.0.1" not in response.content.decode()


@pytest.mark.parametrize("part", list(alive.Part))
def test_a_part_that_has_fallen_silent_is_told_of_and_keeps_no_web_process_from_its_requests(client, part):
    fall_silent(part)
    told = {**ALL_WELL, part.value: "has not run for 15 s"}
    assert client.get("/readyz").json() == {"status": "degraded", "checks": told}
    assert client.get("/readyz/all").json()["checks"] == told


def test_work_that_ended_well_says_that_its_part_runs_and_no_other_work_does(client):
    for part in alive.Part:
        fall_silent(part)
    consuming.note_success(sender=rescue)
    assert not any(alive.heard().values())
    consuming.note_success(sender=dispatch)
    assert alive.heard() == {"dispatch": True, "beat": False, "batches": False}
    consuming.note_success(sender=work_on_batches)
    assert alive.heard() == {"dispatch": True, "beat": False, "batches": True}
    hear_beat()
    assert alive.heard() == {"dispatch": True, "beat": True, "batches": True}


def test_workers_that_are_gone_are_told_of(client):
    workers.forget("calls@test")
    assert client.get("/readyz").json()["checks"]["calls"] == "no worker of calls is alive"
    assert client.get("/readyz/all").status_code == 503


def test_it_is_not_ready_without_postgresql(client, monkeypatch):
    def refuse(*args, **kwargs):
        raise psycopg.OperationalError("connection to 10.0.0.1 failed")

    monkeypatch.setattr(psycopg, "connect", refuse)
    problem = client.get("/readyz").json()
    assert problem["checks"] == {**ALL_WELL, "postgresql": "does not answer", "calls": "unknown"}
    assert "10.0.0.1" not in str(problem)


def test_it_is_not_ready_before_the_migrations_have_run(client, monkeypatch):
    monkeypatch.setattr(health, "_latest_migrations", lambda: frozenset({("jobs", "9999_not_yet")}))
    problem = client.get("/readyz").json()
    assert problem["checks"]["postgresql"] == "migrations are missing"


def test_a_key_is_not_asked_for(alice):
    assert client_of(alice).get("/readyz").status_code == 200
