"""How many requests a key, or an address without one, may send in a minute: counted for all processes in Redis.

It protects the web processes from a program that has run wild, and is no limit of money: those stand in PostgreSQL. So
it lets everything through while Redis is away, and its own limits fail open where the provider's fail closed
(docs/decisions/0033).
"""

import hashlib
import logging
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address, ip_network
from math import ceil
from pathlib import Path
from threading import Lock
from time import monotonic

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError
from redis.retry import Retry

from accounts.models import ApiKey

logger = logging.getLogger(__name__)

WINDOW_SECONDS = 60
MICROSECONDS = 1_000_000
# A request waits no longer than this for Redis; after a failure none asks for a while.
TIMEOUT_SECONDS = 0.25
AWAY_SECONDS = 2.0
# Whoever has an address of version 6 has all that share its first half.
HOME_OF_V6 = 64

_SOURCE = (Path(__file__).parent / "taking.lua").read_text()
_SHA = hashlib.sha1(_SOURCE.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Quota:
    """How a bucket stands after a request: `retry_after` is the seconds until the next one may come, 0 if it may."""

    per_minute: int
    remaining: int
    retry_after: int
    full_after: int

    @property
    def is_used_up(self) -> bool:
        return self.retry_after > 0

    def headers(self) -> dict[str, str]:
        """As the IETF's draft on RateLimit headers has them (draft-ietf-httpapi-ratelimit-headers)."""
        return {
            "RateLimit-Policy": f'"requests";q={self.per_minute};w={WINDOW_SECONDS}',
            "RateLimit": f'"requests";r={self.remaining};t={self.full_after}',
        }


class _Away:
    """Whether Redis is asked at all: after a failure it is left alone for a while, so that requests do not wait."""

    def __init__(self) -> None:
        self._until = 0.0
        self._lock = Lock()

    def __bool__(self) -> bool:
        return monotonic() < self._until

    def begin(self, error: Exception) -> None:
        with self._lock:
            if self:
                return
            self._until = monotonic() + AWAY_SECONDS
        logger.warning("requests are not counted for %s seconds: %s", AWAY_SECONDS, error)

    def end(self) -> None:
        self._until = 0.0


away = _Away()


def take_of_key(api_key: ApiKey) -> Quota | None:
    """Counts a request of a key. None where keys have no limit, or Redis is away."""
    limit = api_key.requests_per_minute or settings.KEY_REQUESTS_PER_MINUTE
    return _take(f"key:{api_key.pk.hex}", limit)


def take_of_address(address: str | None) -> Quota | None:
    """Counts a request that came without a good key. None where such have no limit, or Redis is away."""
    return _take(f"address:{_home_of(address)}", settings.ADDRESS_REQUESTS_PER_MINUTE)


def _take(name: str, per_minute: int) -> Quota | None:
    if per_minute == 0 or away:
        return None
    try:
        left, wait, full = _run(f"bursar:throttle:{name}", WINDOW_SECONDS * MICROSECONDS / per_minute, per_minute)
    except (redis.RedisError, OSError) as error:
        away.begin(error)
        return None
    return Quota(per_minute, max(0, left), ceil(wait / MICROSECONDS), ceil(full / MICROSECONDS))


def _run(key: str, interval: float, quota: int) -> tuple[int, int, int]:
    connection = _connection()
    try:
        answer = connection.evalsha(_SHA, 1, key, interval, quota)
    except NoScriptError:
        answer = connection.eval(_SOURCE, 1, key, interval, quota)
    left, wait, full = answer
    return left, wait, full


@cache
def _connection() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 1),  # a connection that Redis closed meanwhile is made anew
    )


def _home_of(address: str | None) -> str:
    if address is None:
        return "unknown"
    found = ip_address(address)
    return str(ip_network((found, HOME_OF_V6), strict=False)) if found.version == 6 else str(found)
