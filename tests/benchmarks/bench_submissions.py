"""Submissions through the whole WSGI application, and the counting of tokens.

Submissions against a view that answers nothing and against the INSERTs that they end in; and the CPU of each process.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO, StringIO
from pathlib import Path
from wsgiref.util import setup_testing_defaults

import psycopg
import pytest
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from accounts import remembered
from config.urls import urlpatterns as real_urls
from jobs import insertion
from jobs.estimates import count_tokens
from jobs.models import Job, JobContent
from tests.flows.conftest import PROMPT

REQUESTS = 100
BODY = json.dumps({"model": "o1-mini", "prompt": PROMPT}).encode()


@csrf_exempt
def empty(request):
    return HttpResponse(status=204)


urlpatterns = [path("empty", empty), *real_urls]
application = cache(get_wsgi_application)


@pytest.fixture
def as_in_production(monkeypatch, settings, tmp_path) -> None:
    settings.WHITENOISE_AUTOREFRESH, settings.STATIC_ROOT = False, tmp_path
    monkeypatch.setattr(remembered, "is_on", True)


@pytest.mark.benchmark
@pytest.mark.usefixtures("as_in_production")
@pytest.mark.urls(__name__)
@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@pytest.mark.parametrize("keyed", [False, True], ids=["bare", "with an Idempotency-Key"])
def test_submissions_per_second(alice, per_second, report, keyed):
    secret = alice.api_key.secret
    number = 0

    def submit() -> None:
        nonlocal number
        for _ in range(REQUESTS):
            number += 1
            post("/api/v1/jobs", secret, f"key-{number}" if keyed else None)

    bare = per_second(lambda: [post("/empty", secret) for _ in range(REQUESTS)], REQUESTS)
    ours = per_second(submit, REQUESTS)
    with inserting(Job.objects.latest("id")) as insert:
        inserts = per_second(insert, REQUESTS)
    name = "submissions over WSGI" + (", keyed" if keyed else "")
    report(name, ours, bare, "an empty view")
    report(name, ours, inserts, "the same INSERTs")
    nothing = cpu_of(lambda: [post("/empty", secret) for _ in range(REQUESTS)])
    for process, microseconds in cpu_of(submit).items():
        report(f"{name}: CPU of {process}", microseconds, nothing[process] or 1.0, "an empty view", unit="us each")


def post(url: str, secret: str, key: str | None = None) -> None:
    """One POST as gunicorn hands it over; checks that it was taken."""
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": url,
        "HTTP_HOST": "localhost",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(BODY)),
        "HTTP_AUTHORIZATION": f"Bearer {secret}",
        "wsgi.input": BytesIO(BODY),
        "wsgi.errors": StringIO(),
        **({"HTTP_IDEMPOTENCY_KEY": key} if key else {}),
    }
    setup_testing_defaults(environ)
    answered = []
    response = application()(environ, lambda status, headers, *_: answered.append(status))
    body = b"".join(response)
    response.close()  # ends the request: gives the database connection back
    assert answered[0][:3] in ("202", "204"), body


@contextmanager
def inserting(like: Job) -> Iterator[Callable[[], None]]:
    """Writes that many rows like a job and its content by psycopg alone, each in a transaction of its own."""
    content = JobContent.objects.get(job=like)
    params = connection.get_connection_params()
    wanted = {"dbname", "user", "password", "host", "port"} & params.keys()

    def insert() -> None:
        rows = []
        for _ in range(REQUESTS):
            job = Job(**{field.attname: getattr(like, field.attname) for field in Job._meta.concrete_fields[1:]})
            rows.append([*insertion._values(job), *insertion._values(JobContent(job=job, request=content.request))])
        with connected.cursor() as cursor:
            for row in rows:
                cursor.execute(insertion._statement(), row)

    address = {name: params[name] for name in wanted}
    with psycopg.connect(**address, autocommit=True, context=params["context"]) as connected:
        yield insert


def cpu_of(work: Callable[[], None]) -> dict[str, float]:
    """Microseconds of CPU for each of the requests: of this process, and of PostgreSQL, all its processes together."""
    python, postgresql = time.process_time(), _postgresql_seconds()
    work()
    python, postgresql = time.process_time() - python, _postgresql_seconds() - postgresql
    return {"Python": 1e6 * python / REQUESTS, "PostgreSQL": 1e6 * postgresql / REQUESTS}


def _postgresql_seconds() -> float:
    """CPU that the server has used, from /proc: it runs on this machine. 0 where it does not."""
    connection.ensure_connection()
    server = _parent_of(Path("/proc") / str(connection.connection.info.backend_pid))
    used = 0.0
    for process in Path("/proc").glob("[0-9]*"):
        if server and _parent_of(process) == server:
            used += int((process / "schedstat").read_text().split()[0]) / 1e9
    return used


def _parent_of(process: Path) -> str:
    try:
        return (process / "stat").read_text().rsplit(")", 1)[1].split()[1]
    except OSError:  # it has ended
        return ""


@pytest.mark.benchmark
@pytest.mark.parametrize(("name", "text"), [("short prompts", PROMPT), ("prompts of 250,000 words", "word " * 250_000)])
def test_tokens_counted_per_second(per_second, report, name, text):
    times = max(1, 200_000 // len(text))
    tokens = count_tokens(text)
    ours = per_second(lambda: [count_tokens(text) for _ in range(times)], tokens * times)
    bare = per_second(lambda: [text.encode("utf-8").decode() for _ in range(times)], tokens * times)
    report(f"tokens counted, {name}", ours, bare, "encode and decode UTF-8", unit="tokens/s")
