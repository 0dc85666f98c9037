"""A session of the database is behind a wall for the time of a request, and never longer, whatever becomes of it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import DatabaseError, connection, transaction
from rest_framework.test import APIClient

from accounts import wall
from accounts.models import Organization
from jobs.api import views
from jobs.front_door import exchange
from jobs.models import File, Job
from jobs.states import JobStatus
from tests.api.conftest import PROMPT, client_of
from tests.config.waiting import until

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)

STANDS = (
    "SELECT current_user::text, nullif(current_setting('bursar.organization_id', true), ''), pg_backend_pid(),"
    " (SELECT count(*) FROM accounts_organization)"
)
CHAT = {"model": "o1-mini", "messages": [{"role": "user", "content": PROMPT}]}


def stands() -> tuple[str, str | None]:
    """As whom the thread's session works, and for which organization."""
    with connection.cursor() as cursor:
        cursor.execute(STANDS)
        return cursor.fetchone()[:2]


@pytest.fixture(autouse=True)
def _pool(alice, bob) -> Iterator[None]:
    """A pool that no other test has used: the requests of a thread have the same session one after the other."""
    connection.close()
    connection.close_pool()
    yield
    wall.step_out()
    wall.known.forget()


def pooled() -> set[tuple[str, str | None]]:
    """How the sessions that lie in the pool stand."""
    connection.close()
    found, borrowed = set(), []
    for _ in range(connection.pool.get_stats()["pool_available"]):
        raw = connection.pool.getconn()
        borrowed.append(raw)
        found.add(raw.execute(STANDS).fetchone()[:2])
    for raw in borrowed:
        connection.pool.putconn(raw)
    return found


def own() -> tuple[str, None]:
    return connection.settings_dict["USER"], None


def of(tenant: Any) -> tuple[str, str]:
    return wall.ROLE, str(tenant.organization.pk)


@pytest.fixture
def seen(monkeypatch) -> list[tuple[str, str | None]]:
    """How the session stood whenever a view looked for jobs."""
    found: list[tuple[str, str | None]] = []
    known = views.jobs_of

    def jobs_of(view: Any) -> Any:
        found.append(stands())
        return known(view)

    monkeypatch.setattr(views, "jobs_of", jobs_of)
    return found


def doing(monkeypatch, what: Callable[[], Any]) -> None:
    """Has the view of a job do something else first."""
    known = views.jobs_of
    monkeypatch.setattr(views, "jobs_of", lambda view: (what(), known(view))[1])


# --- One after the other ----------------------------------------------------------------------------------------------
def test_requests_of_two_organizations_on_one_session_are_each_behind_their_own_wall(alice, bob, seen):
    pids = set()
    for _ in range(3):
        for tenant in (alice, bob):
            assert client_of(tenant).get("/api/v1/jobs").status_code == 200
            assert seen.pop() == of(tenant)
            with connection.cursor() as cursor:
                cursor.execute(STANDS)
                user, organization, pid, count = cursor.fetchone()
            assert ((user, organization), count) == (own(), 2)
            pids.add(pid)
            connection.close()
    assert len(pids) == 1
    assert pooled() == {own()}


def test_what_comes_without_a_good_key_stands_behind_no_wall(alice, seen, monkeypatch):
    client_of(alice).get("/api/v1/jobs")
    stranger = APIClient()
    assert stranger.get("/api/v1/jobs").status_code == 401
    stranger.credentials(HTTP_AUTHORIZATION="Bearer bk_live_wrong")
    assert stranger.get("/api/v1/jobs").status_code == 401
    assert len(seen) == 1
    assert stands() == own()


def test_a_thread_that_was_left_behind_a_wall_begins_the_next_request_before_it(alice, bob, seen):
    """As when a web server drops an answer without closing it."""
    wall.stand_behind(alice.organization.pk)
    assert stands() == of(alice)
    assert client_of(bob).get("/api/v1/jobs").status_code == 200
    assert seen == [of(bob)]
    assert stands() == own()


# --- What goes wrong --------------------------------------------------------------------------------------------------
def divide_by_zero() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 / 0")


def break_the_transaction() -> None:
    """Leaves a transaction that has failed open."""
    transaction.set_autocommit(False)
    with suppress(DatabaseError):
        divide_by_zero()


def leave_a_transaction_open() -> None:
    transaction.set_autocommit(False)
    Job.objects.count()


def fail() -> None:
    raise RuntimeError("a bug")


def hang_up() -> None:
    """The server ends the session in the middle of the request."""
    own = connection.get_connection_params()
    address = {name: own[name] for name in ("dbname", "user", "password", "host", "port")}
    with psycopg.connect(**address, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid])


@pytest.mark.parametrize("what", [fail, break_the_transaction, leave_a_transaction_open, hang_up])
def test_a_request_that_goes_wrong_leaves_no_session_behind_a_wall(alice, bob, monkeypatch, what):
    with monkeypatch.context() as patch:
        doing(patch, what)
        client_of(alice).get("/api/v1/jobs")
    assert wall.organization() is None
    assert pooled() <= {own()}
    assert Organization.objects.count() == 2
    assert client_of(bob).get("/api/v1/jobs").status_code == 200


def test_a_session_that_cannot_be_led_back_is_given_up(alice, monkeypatch):
    wall.stand_behind(alice.organization.pk)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        before = cursor.fetchone()[0]
    with monkeypatch.context() as patch:
        patch.setattr(wall, "BEFORE", "SELECT 1 / 0")
        wall.step_out()
        connection.close()
    with connection.cursor() as cursor:
        cursor.execute(STANDS)
        found = cursor.fetchone()
    assert found[:2] == own()
    assert found[2] != before


def test_a_wall_that_was_lowered_in_a_transaction_that_fails_is_up_again(alice):
    wall.stand_behind(alice.organization.pk)
    with pytest.raises(DatabaseError), transaction.atomic(), wall.lowered():
        divide_by_zero()
    assert stands() == of(alice)
    with pytest.raises(RuntimeError), wall.lowered():
        fail()
    assert stands() == of(alice)
    for place in (wall.lowered(), transaction.atomic()):
        with place, wall.lowered():
            assert stands()[0] == own()[0]
        assert stands() == of(alice)
    connection.close()
    assert pooled() == {own()}


# --- Answers that take long -------------------------------------------------------------------------------------------
def test_a_streamed_answer_is_read_behind_the_wall_of_its_request(alice, bob, monkeypatch):
    found = []

    def pieces(*_: Any) -> Iterator[bytes]:
        for _ in range(3):
            found.append(stands())
            yield b"piece"

    monkeypatch.setattr("jobs.batches.files.content", pieces)
    monkeypatch.setattr("jobs.front_door.files.file_of", lambda *_: File(bytes=15, filename="a.jsonl"))
    answer = client_of(alice).get("/v1/files/file-1/content")
    assert b"".join(answer.streaming_content) == b"piece" * 3
    assert found == [of(alice)] * 3
    assert wall.organization() is None
    assert pooled() == {own()}
    # One that is not read to its end.
    answer = client_of(bob).get("/v1/files/file-1/content")
    next(iter(answer.streaming_content))
    answer.close()
    assert found.pop() == of(bob)
    assert wall.organization() is None
    assert pooled() == {own()}


def test_a_request_that_waits_has_no_session_and_each_of_its_turns_is_behind_the_wall(alice, monkeypatch):
    turns, answers = [], []
    known = exchange.Exchange._read

    def read(self: Any) -> Job:
        turns.append(stands())
        return known(self)

    def ask() -> None:
        try:
            answer = client_of(alice).post("/v1/chat/completions", CHAT, format="json")
            answers.append((answer.status_code, wall.organization()))
            b"".join(answer.streaming_content)
            answers.append(wall.organization())
        finally:
            connection.close()

    monkeypatch.setattr(exchange.Exchange, "_read", read)
    asking = threading.Thread(target=ask)
    asking.start()
    until(Job.objects.exists)
    assert pooled() == {own()}
    now = "2026-11-23T12:00:00Z"
    Job.objects.update(status=JobStatus.CANCELLED, finished_at=now, waiting_on=None)
    asking.join(30)
    assert not asking.is_alive()
    assert turns
    assert set(turns) == {of(alice)}
    assert answers[0][1] == UUID(str(alice.organization.pk))
    assert answers[1] is None
    assert pooled() == {own()}


# --- Where there is no wall -------------------------------------------------------------------------------------------
@pytest.fixture
def no_wall(monkeypatch) -> Iterator[None]:
    """The server gives the role back, as far as this process can tell."""
    monkeypatch.setattr(wall, "_STATE", wall._STATE.replace("pg_backend_pid()", "pg_backend_pid() + 1"))
    wall.known.forget()
    yield
    wall.known.forget()


@pytest.mark.usefixtures("no_wall")
def test_without_a_wall_the_api_works_and_the_log_says_so_once(alice, seen, caplog):
    for _ in range(3):
        assert client_of(alice).get("/api/v1/jobs").status_code == 200
    assert seen == [own()] * 3
    assert [record.message for record in caplog.records if "queries alone" in record.message] == [
        "organizations are separated by Bursar's queries alone: a pooler stands before PostgreSQL, and may give the "
        "session to somebody else in between"
    ]


@pytest.mark.usefixtures("no_wall")
def test_nothing_is_answered_without_a_wall_that_is_required(alice, settings, seen):
    settings.ROW_SECURITY = "require"
    answer = client_of(alice).get("/api/v1/jobs")
    assert (answer.status_code, answer.json()["code"], seen) == (503, "wall_missing", [])
    wall.known.forget()


def test_a_wall_that_is_not_wanted_is_not_used(alice, settings, seen):
    settings.ROW_SECURITY = "off"
    assert client_of(alice).get("/api/v1/jobs").status_code == 200
    assert seen == [own()]


def test_a_wall_that_is_built_later_is_found_without_a_restart(alice, seen, clock_of_wall, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(wall, "ROLE", "nobody_has_this_role")
        client_of(alice).get("/api/v1/jobs")
    client_of(alice).get("/api/v1/jobs")
    clock_of_wall.now += wall.LOOK_AGAIN_SECONDS
    client_of(alice).get("/api/v1/jobs")
    assert seen == [own(), own(), of(alice)]


@pytest.fixture
def clock_of_wall(monkeypatch):
    class Clock:
        now = 1000.0

        def __call__(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(wall, "monotonic", clock)
    wall.known.forget()
    return clock
