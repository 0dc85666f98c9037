"""The provider's rate limits, kept by all workers together: when may this call start?

One atomic Redis script decides over all limits that bind a call, by the provider's own token-bucket arithmetic and by
the clock of Redis. With Redis away nothing may start: the limiter fails closed.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from accounts.models import RateLimit
from jobs.credentials import Access

MINUTE_MS = 60_000
# How late a call may reach the provider after its turn; that much of the burst is not used, nothing of the steady rate
# is.
LATENESS_MS = 1_000
BORN_KEY = "bursar:limiter:counting-since"
_SCRIPT = resources.files("jobs").joinpath("admission.lua").read_text()


class LimiterAway(Exception):
    """Redis does not answer, so nobody knows whose turn it is."""


@dataclass(frozen=True, slots=True)
class Go:
    """The call may start in so many seconds: its turn is taken."""

    wait_seconds: float


@dataclass(frozen=True, slots=True)
class NotYet:
    """The call's turn would come in so many seconds, later than the horizon: nothing is taken.

    `limit` is what binds it.
    """

    wait_seconds: float
    limit: str


@dataclass(frozen=True, slots=True)
class Never:
    """One call is more than the limit admits at all."""

    limit: str


Admission = Go | NotYet | Never


def account_of(access: Access) -> str:
    """The name of the account whose limits a call counts against: two organizations with one key share them."""
    identity = f"{access.base_url}\n{access.provider_organization_id or access.api_key}"
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def admit(account: str, family: str, limits: RateLimit, *, tokens: int, horizon_seconds: float) -> Admission:
    """Takes a call's turn, if it comes within the horizon. Raises LimiterAway."""
    return _ask(account, family, limits, requests=1, tokens=tokens, horizon_seconds=horizon_seconds, take=True)


def look(
    account: str, family: str, limits: RateLimit, *, requests: int, tokens: int, horizon_seconds: float
) -> Admission:
    """Whether so many calls of so many tokens in all could start within the horizon; takes nothing.

    Raises LimiterAway.
    """
    return _ask(account, family, limits, requests=requests, tokens=tokens, horizon_seconds=horizon_seconds, take=False)


def hold_back(account: str, family: str, seconds: float) -> None:
    """Gives no turn of this family before so many seconds have passed: the provider asked for it.

    Raises LimiterAway.
    """
    try:
        script = _hold_back_script()
        script(keys=[_key(account, family)], args=[int(seconds * 1000), 2 * MINUTE_MS])
    except redis.RedisError as error:
        raise LimiterAway(str(error)) from error


def _ask(
    account: str, family: str, limits: RateLimit, *, requests: int, tokens: int, horizon_seconds: float, take: bool
) -> Admission:
    arguments: list[Any] = [int(horizon_seconds * 1000), LATENESS_MS, int(take)]
    for name, limit, amount in (
        ("requests_per_minute", limits.requests_per_minute, requests),
        ("tokens_per_minute", limits.tokens_per_minute, tokens),
    ):
        if limit is not None:
            arguments += [name, limit, MINUTE_MS, amount]
    if len(arguments) == 3:
        return Go(0.0)  # the provider states no limit for this family
    try:
        verdict, wait_ms, binding = _admission_script()(keys=[_key(account, family), BORN_KEY], args=arguments)
    except redis.RedisError as error:
        raise LimiterAway(str(error)) from error
    match verdict:
        case 1:
            return Go(wait_ms / 1000)
        case 0:
            return NotYet(wait_ms / 1000, binding.decode())
    return Never(binding.decode())


def _key(account: str, family: str) -> str:
    return f"bursar:limiter:{account}:{family}"


@cache
def connection() -> redis.Redis:
    """This process's connections to Redis.

    Short waits and no retries, since the caller has a better plan than waiting.
    """
    return redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2, retry=Retry(NoBackoff(), 1)
    )


@cache
def _admission_script() -> Any:
    return connection().register_script(_SCRIPT)


@cache
def _hold_back_script() -> Any:
    return connection().register_script(
        """
        local time = redis.call('TIME')
        local now = tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000
        local turn = math.max(tonumber(redis.call('HGET', KEYS[1], 'last') or '0'), now + tonumber(ARGV[1]))
        redis.call('HSET', KEYS[1], 'last', string.format('%.3f', turn))
        redis.call('PEXPIRE', KEYS[1], math.ceil(turn - now) + tonumber(ARGV[2]))
        """
    )
