"""Whether the process lives, whether what it needs answers, and whether the processes beside it work.

`/readyz` is for whoever sends requests to this web process, and fails only for what every request needs: with Redis or
the workers away, submission and reading go on (docs/decisions/0022). `/readyz/all` is for whoever watches the whole.
"""

import logging
from collections.abc import Callable, Container
from functools import cache, partial

import psycopg
import redis
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections
from django.db.migrations.loader import MigrationLoader
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from billing.clock import database_now
from config import alive
from config.errors import Problem, answer
from jobs import claiming

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 2
OK = "ok"
# Not asked, because what it would be asked of does not answer.
UNKNOWN = "unknown"
NEEDED = frozenset({"postgresql"})


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """200 as long as the process answers at all; it asks nothing else, so that a lost database does not restart it."""
    return JsonResponse({"status": "alive"})


@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """200 when a request would find what it needs; else a 503 problem whose `checks` name the part that is missing.

    Of the other parts it says only how they are: `status` is then `degraded`.
    """
    return _told(request, checks(), NEEDED)


@require_safe
def readyz_all(request: HttpRequest) -> HttpResponse:
    """200 when every part works: queued jobs are dispatched, sent and claimed; else a 503 problem."""
    found = checks()
    return _told(request, found, found.keys())


def _told(request: HttpRequest, found: dict[str, str], needed: Container[str]) -> HttpResponse:
    failed = [name for name, outcome in found.items() if outcome != OK]
    if missing := [name for name in failed if name in needed]:
        detail = f"Not ready: {', '.join(missing)}. The log says more."
        problem = Problem(503, "not_ready", detail, details={"checks": found}, headers={"Retry-After": "1"})
        return answer(problem, request)
    return JsonResponse({"status": "degraded" if failed else "ready", "checks": found})


def checks() -> dict[str, str]:
    """How every part is: `ok`, or what is wrong with it in words that name no host."""
    found = {"postgresql": _outcome("postgresql", _postgresql), "redis": _outcome("redis", _redis)}
    for part in alive.Part:
        found[part] = _outcome(part, partial(_is_heard, part)) if found["redis"] == OK else UNKNOWN
    found["calls"] = _outcome("calls", _calls) if found["postgresql"] == OK else UNKNOWN
    return found


def _outcome(name: str, check: Callable[[], str]) -> str:
    try:
        outcome = check()
    except (psycopg.Error, DatabaseError, redis.RedisError, OSError) as error:
        # The words of the driver name hosts and users; they are for the log.
        logger.warning("not ready: %s: %s", name, error)
        return "does not answer"
    if outcome != OK:
        logger.warning("not ready: %s: %s", name, outcome)
    return outcome


def _postgresql() -> str:
    """Whether PostgreSQL answers and has every migration that this code comes with.

    By a connection of its own: the pool would make a probe wait, and a busy pool is no missing database.
    """
    parameters = connections[DEFAULT_DB_ALIAS].get_connection_params()
    with psycopg.connect(**{**parameters, "connect_timeout": PATIENCE_SECONDS}) as connection:
        if connection.execute("SELECT to_regclass('django_migrations')").fetchone() == (None,):
            return "migrations are missing"
        applied = set(connection.execute("SELECT app, name FROM django_migrations").fetchall())
    return OK if _latest_migrations() <= applied else "migrations are missing"


@cache
def _latest_migrations() -> frozenset[tuple[str, str]]:
    """The last migration of each app on disk; those before it come with it."""
    return frozenset(MigrationLoader(None).graph.leaf_nodes())


def _redis() -> str:
    with redis.Redis.from_url(
        settings.REDIS_URL, socket_connect_timeout=PATIENCE_SECONDS, socket_timeout=PATIENCE_SECONDS
    ) as client:
        return OK if client.ping() else "does not answer"


def _is_heard(part: alive.Part) -> str:
    return OK if alive.heard()[part] else f"has not run for {alive.SILENCE_SECONDS} s"


def _calls() -> str:
    return claiming.fault(database_now()) or OK
