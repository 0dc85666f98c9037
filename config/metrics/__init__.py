"""Figures for Prometheus and for autoscalers: `/metrics`, in the text format that both read.

They are computed from PostgreSQL when they are asked for, so that none is lost with a process and any web process can
be asked. Sums over all organizations: no names, and models and scopes for labels.

`spending` reads the rollups, `queues`, `processes`, `provider` and `learning` what is so now, `calls` counts what
ended; a family of figures is one function in `SOURCES` that yields `Family`.
"""

import hmac
import logging
from collections.abc import Callable, Iterator

import redis
from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from accounts.remembered import remembered
from config.errors import Problem, answer
from config.metrics import calls, learning, processes, provider, queues, refusals, spending
from config.metrics.text import Family, written

logger = logging.getLogger(__name__)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Several scrapers, or an impatient one, cost no more than one.
REMEMBERED_SECONDS = 1.0

Source = Callable[[], Iterator[Family]]
SOURCES: tuple[Source, ...] = (
    processes.families,
    queues.families,
    spending.families,
    processes.parts,
    calls.families,
    provider.families,
    learning.families,
    refusals.families,
)


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Every figure there is now; 401 where BURSAR_METRICS_TOKEN is set and the request does not bear it.

    With Redis away, what is counted there is left out.
    """
    if settings.METRICS_TOKEN and not _bears_token(request):
        problem = Problem(401, "not_authenticated", "Send the token of BURSAR_METRICS_TOKEN as a bearer.")
        refused = answer(problem, request)
        refused["WWW-Authenticate"] = 'Bearer realm="bursar"'
        return refused
    return HttpResponse(_text(), content_type=CONTENT_TYPE)


def _bears_token(request: HttpRequest) -> bool:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(token.encode(), settings.METRICS_TOKEN.encode())


@remembered(REMEMBERED_SECONDS)
def _text() -> str:
    return written(family for source in SOURCES for family in _of(source))


def _of(source: Source) -> list[Family]:
    try:
        return list(source())
    except (redis.RedisError, OSError) as error:
        logger.warning("figures of %s are left out: %s", source.__module__, error)
    except DatabaseError:
        raise  # a 503: a scrape without these would look like a deployment without work
    return []
