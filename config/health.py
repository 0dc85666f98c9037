"""Whether the process lives, and whether what it needs answers."""

import logging
from collections.abc import Callable
from functools import cache

import psycopg
import redis
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.migrations.loader import MigrationLoader
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from config.errors import Problem, answer

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 2


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """200 as long as the process answers at all; it asks nothing else, so that a lost database does not restart it."""
    return JsonResponse({"status": "alive"})


@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """200 when a request would find what it needs; else a 503 problem whose `checks` name the part that is missing."""
    checks = {name: _outcome(name, check) for name, check in CHECKS.items()}
    failed = [name for name, outcome in checks.items() if outcome != "ok"]
    if not failed:
        return JsonResponse({"status": "ready", "checks": checks})
    detail = f"Not ready: {', '.join(failed)}. The log says more."
    problem = Problem(503, "not_ready", detail, details={"checks": checks}, headers={"Retry-After": "1"})
    return answer(problem, request)


def _outcome(name: str, check: Callable[[], str]) -> str:
    try:
        return check()
    except (psycopg.Error, redis.RedisError, OSError) as error:
        # The words of the driver name hosts and users; they are for the log.
        logger.warning("not ready: %s: %s", name, error)
        return "does not answer"


def _postgresql() -> str:
    """Whether PostgreSQL answers and has every migration that this code comes with.

    By a connection of its own: the pool would make a probe wait ten seconds, and a busy pool is no missing database.
    """
    parameters = connections[DEFAULT_DB_ALIAS].get_connection_params()
    with psycopg.connect(**{**parameters, "connect_timeout": PATIENCE_SECONDS}) as connection:
        if connection.execute("SELECT to_regclass('django_migrations')").fetchone() == (None,):
            return "migrations are missing"
        applied = set(connection.execute("SELECT app, name FROM django_migrations").fetchall())
    return "ok" if _latest_migrations() <= applied else "migrations are missing"


@cache
def _latest_migrations() -> frozenset[tuple[str, str]]:
    """The last migration of each app on disk; those before it come with it."""
    return frozenset(MigrationLoader(None).graph.leaf_nodes())


def _redis() -> str:
    with redis.Redis.from_url(
        settings.REDIS_URL, socket_connect_timeout=PATIENCE_SECONDS, socket_timeout=PATIENCE_SECONDS
    ) as client:
        return "ok" if client.ping() else "does not answer"


CHECKS: dict[str, Callable[[], str]] = {"postgresql": _postgresql, "redis": _redis}
