import psycopg
import pytest

from config import health
from tests.api.conftest import client_of


@pytest.fixture(autouse=True)
def _anonymous(client):
    client.credentials()


def test_a_process_that_answers_is_alive_whatever_else_is_not(client, monkeypatch, django_assert_num_queries):
    monkeypatch.setattr(health, "CHECKS", None)
    with django_assert_num_queries(0):
        response = client.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "alive"})
    assert client.head("/healthz").status_code == 200
    assert client.post("/healthz").status_code == 405


def test_it_is_ready_when_everything_answers(client):
    response = client.get("/readyz")
    assert response.json() == {"status": "ready", "checks": {"postgresql": "ok", "redis": "ok"}}
    assert response.status_code == 200


def test_it_is_not_ready_without_redis(client, settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    response = client.get("/readyz")
    problem = response.json()
    assert (response.status_code, problem["code"]) == (503, "not_ready")
    assert problem["checks"] == {"postgresql": "ok", "redis": "does not answer"}
    assert "redis" in problem["detail"]
    assert "127.0.0.1" not in response.content.decode()


def test_it_is_not_ready_without_postgresql(client, monkeypatch):
    def refuse(*args, **kwargs):
        raise psycopg.OperationalError("connection to 10.0.0.1 failed")

    monkeypatch.setattr(psycopg, "connect", refuse)
    problem = client.get("/readyz").json()
    assert problem["checks"] == {"postgresql": "does not answer", "redis": "ok"}
    assert "10.0.0.1" not in str(problem)


def test_it_is_not_ready_before_the_migrations_have_run(client, monkeypatch):
    monkeypatch.setattr(health, "_latest_migrations", lambda: frozenset({("jobs", "9999_not_yet")}))
    problem = client.get("/readyz").json()
    assert problem["checks"]["postgresql"] == "migrations are missing"


def test_a_key_is_not_asked_for(alice):
    assert client_of(alice).get("/readyz").status_code == 200
