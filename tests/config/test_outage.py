"""PostgreSQL is killed under a web process, stays away, and comes back: 503 and never 500, and then as before."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from config.embedded import services
from tests.config.outage import Answer, Server, Web, prepare, web
from tests.config.waiting import until

pytestmark = pytest.mark.timeout(300)  # every migration and a web process, before the first request

ID = "01930000-0000-7000-8000-000000000000"
THREADS = 8


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with services.ephemeral_directory() as directory:
        server = Server(directory)
        server.start()
        try:
            yield server
        finally:
            server.kill()


@pytest.fixture(scope="module")
def site(server: Server) -> Iterator[Web]:
    with web(server, prepare(server), threads=THREADS) as site:
        yield site


def paths(patterns: list[URLPattern | URLResolver], prefix: str = "/") -> Iterator[str]:
    for pattern in patterns:
        path = prefix + re.sub(r"<[^>]+>", ID, re.sub(r"<int:[^>]+>", "1", str(pattern.pattern)))
        if isinstance(pattern, URLResolver):
            yield from paths(pattern.url_patterns, path)
        else:
            yield path


def all_at_once(site: Web, asked: list[tuple[str, str]]) -> list[Answer]:
    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(lambda request: site.ask(*request), asked))


def test_a_killed_postgresql_is_a_503_on_every_route_and_its_return_is_noticed_by_itself(server, site):
    jobs = [("GET", "/api/v1/jobs")] * THREADS
    assert {answer.status for answer in all_at_once(site, jobs)} == {200}  # the pool is full of connections

    server.kill()
    api = sorted({path for path in paths(get_resolver().url_patterns) if path.startswith("/api/v1/")})
    asked = [("GET", path) for path in api]
    asked += [("POST", "/api/v1/jobs")] * 2
    for request, answer in zip(asked, all_at_once(site, asked), strict=True):
        assert answer.status == 503, (request, answer.body)
        assert answer.problem["code"] == "database_unavailable", request
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.problem["request_id"] == answer.headers["X-Request-Id"]
    for path in ("/admin/", "/admin/jobs/job/"):
        page = site.ask("GET", path, cookie="sessionid=of-somebody")
        assert (page.status, page.headers["Content-Type"]) == (503, "text/html; charset=utf-8")
        assert int(page.headers["Retry-After"]) > 0
        assert page.headers["X-Request-Id"] in page.body
    assert site.ask("GET", "/healthz").status == 200
    assert site.ask("GET", "/readyz").status == 503

    server.start()
    until(lambda: site.ask("GET", "/api/v1/jobs").status == 200, seconds=60)
    assert {answer.status for answer in all_at_once(site, jobs)} == {200}
    assert site.ask("GET", "/readyz").status == 200


def test_connections_of_a_server_that_was_killed_and_is_back_cost_nobody_an_error(server, site):
    jobs = [("GET", "/api/v1/jobs")] * THREADS
    assert {answer.status for answer in all_at_once(site, jobs)} == {200}
    server.kill()
    server.start()
    assert [site.ask("GET", "/api/v1/jobs").status for _ in range(3)] == [200, 200, 200]
