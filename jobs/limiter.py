"""The provider's rate limits, kept by all workers together: when may this call start?

One atomic Redis script decides over all limits that bind a call, by the provider's own token-bucket arithmetic and by
the clock of Redis. With Redis away nothing may start: the limiter fails closed.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from struct import Struct, calcsize, unpack_from
from time import monotonic
from typing import Any

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError
from redis.retry import Retry

from accounts.models import RateLimit
from jobs.credentials import Access
from jobs.sent import sent_of, used_now
from jobs.stated_limits import DAY_MS, MINUTE_MS, statements

logger = logging.getLogger(__name__)

# How late a call may reach the provider after its turn; that much of the burst is not used, nothing of the steady rate
# is.
LATENESS_MS = 1_000
BORN_KEY = "bursar:limiter:counting-since"
# Which run of Redis has counted: after a restart it may have forgotten the last seconds, and is not believed.
RUN_KEY = "bursar:limiter:run"
_FOUR_NUMBERS = Struct(">dddd")


def _source(name: str) -> str:
    folder = resources.files("jobs")
    return folder.joinpath("buckets.lua").read_text() + folder.joinpath(name).read_text()


_SCRIPT = _source("admission.lua")


class LimiterAway(Exception):
    """Redis does not answer, so nobody knows whose turn it is."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """One limit that binds a call, and how much of it the call uses. A limit of 0: only what the provider states.

    The name is its own among the limits of one account and model family.
    """

    name: str
    limit: int
    window_ms: int
    amount: int


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn that was taken: what is needed to give it back, and to compare with what the provider says of it."""

    account: str
    family: str
    buckets: tuple[Bucket, ...]
    numbers: bytes  # as the script packed them
    received_at: float = field(default_factory=monotonic)

    @property
    def instants_us(self) -> tuple[int, int]:
        """When it was given, and when the call may start, by Redis's clock."""
        given, starts = unpack_from(">dd", self.numbers)
        return int(given), int(starts)

    @property
    def counts(self) -> list[tuple[int, int]]:
        """Of each bucket: what we had taken in all, and whether this was its latest turn."""
        numbers = unpack_from(f">{2 * len(self.buckets)}d", self.numbers, calcsize(">dd"))
        return [(int(taken), int(latest)) for taken, latest in zip(numbers[::2], numbers[1::2], strict=True)]

    def now_us(self) -> int:
        """The instant of Redis's clock, by the time that has passed here."""
        return self.instants_us[0] + round((monotonic() - self.received_at) * 1e6)


@dataclass(frozen=True, slots=True)
class Go:
    """The call may start in so many seconds: its turn is taken."""

    wait_seconds: float
    turn: Turn | None = field(default=None, compare=False)


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


def admit(
    account: str,
    family: str,
    limits: RateLimit,
    *,
    tokens: int,
    horizon_seconds: float,
    more: Sequence[Bucket] = (),
) -> Admission:
    """Takes a call's turn, if it comes within the horizon. `more` binds it as well. Raises LimiterAway."""
    buckets = (*_buckets(limits, requests=1, tokens=tokens), *more)
    return _ask(account, family, buckets, horizon_seconds=horizon_seconds, take=True)


def look(
    account: str, family: str, limits: RateLimit, *, requests: int, tokens: int, horizon_seconds: float
) -> Admission:
    """Whether so many calls of so many tokens in all could start within the horizon; takes nothing.

    Raises LimiterAway.
    """
    buckets = _buckets(limits, requests=requests, tokens=tokens)
    return _ask(account, family, buckets, horizon_seconds=horizon_seconds, take=False)


def give_back(turn: Turn) -> None:
    """Gives back a turn whose call was not sent and will not be; once. Raises LimiterAway: then the turn is lost."""
    arguments: list[Any] = [*turn.instants_us]
    for bucket, counts in zip(turn.buckets, turn.counts, strict=True):
        arguments += [bucket.name, bucket.limit, bucket.window_ms, bucket.amount, *counts]
    _run(_return_script(), turn.account, turn.family, arguments)


def learn(turn: Turn, headers: Mapping[str, str], *, sent_us: int) -> None:
    """Corrects the account's buckets by what the provider said when it answered the call of this turn.

    `sent_us`: when the call was sent, by Redis's clock. Raises LimiterAway.
    """
    known = {bucket.name: (bucket, counts) for bucket, counts in zip(turn.buckets, turn.counts, strict=True)}
    arguments: list[Any] = [turn.instants_us[0], sent_us]
    for said in statements(headers):
        if said.name in known:
            bucket, (taken, is_latest) = known[said.name]
            taken_then = taken if is_latest else -1
            arguments += [said.name, bucket.limit, bucket.window_ms, said.limit, repr(said.used), taken_then]
    if len(arguments) == 2:
        return
    news = _run(_correction_script(), turn.account, turn.family, arguments)
    for name, limit in zip(news[::2], news[1::2], strict=True):
        configured = known[name.decode()][0].limit
        logger.warning(
            "the provider states %s of %d for %s, configured is %s; the lower one binds",
            name.decode(),
            limit,
            turn.family,
            configured or "none",
        )


def hold_back(account: str, family: str, seconds: float) -> None:
    """Gives no turn of this family before so many seconds have passed: the provider asked for it.

    Raises LimiterAway.
    """
    _run(_hold_back_script(), account, family, [int(seconds * 1000)])


def _buckets(limits: RateLimit, *, requests: int, tokens: int) -> tuple[Bucket, ...]:
    return (
        Bucket("requests_per_minute", limits.requests_per_minute or 0, MINUTE_MS, requests),
        Bucket("tokens_per_minute", limits.tokens_per_minute or 0, MINUTE_MS, tokens),
        Bucket("requests_per_day", limits.requests_per_day or 0, DAY_MS, requests),
        Bucket("tokens_per_day", limits.tokens_per_day or 0, DAY_MS, tokens),
    )


def _ask(account: str, family: str, buckets: tuple[Bucket, ...], *, horizon_seconds: float, take: bool) -> Admission:
    answer = _run(_admission_script(), account, family, _asking(buckets, {}, horizon_seconds, take))
    if answer[0] == 2:
        used = _used_of_days(account, family, buckets, {name.decode() for name in answer[1]})
        answer = _run(_admission_script(), account, family, _asking(buckets, used, horizon_seconds, take))
    match answer:
        case [1, wait_ms, _, numbers]:
            return Go(wait_ms / 1000, Turn(account, family, buckets, numbers))
        case [1, wait_ms, _]:
            return Go(wait_ms / 1000)
        case [0, wait_ms, binding]:
            return NotYet(wait_ms / 1000, binding.decode())
    return Never(answer[2].decode())


def _asking(buckets: Sequence[Bucket], used: Mapping[str, float], horizon_seconds: float, take: bool) -> list[Any]:
    arguments: list[Any] = [int(horizon_seconds * 1000), LATENESS_MS, int(take)]
    for bucket in buckets:
        known = used.get(bucket.name, -1.0)
        arguments += [bucket.name, _FOUR_NUMBERS.pack(bucket.limit, bucket.window_ms, bucket.amount, known)]
    return arguments


def _used_of_days(account: str, family: str, buckets: Sequence[Bucket], names: set[str]) -> dict[str, float]:
    """What is used of the limits that Redis has forgotten, by the attempts in PostgreSQL.

    A day's bucket that began used up would leave a day of its burst unused, and one that began full could be refused.
    """
    sent = sent_of(family, lambda access: account_of(access) == account)
    logger.info("counting %s of %s again from the attempts of two days", ", ".join(sorted(names)), family)
    return {
        bucket.name: used_now(
            [(slot.seconds_ago, slot.requests if bucket.name.startswith("requests") else slot.tokens) for slot in sent],
            # A limit that only the provider states is not known here, and the script keeps to its own.
            limit=bucket.limit,
            window_seconds=bucket.window_ms / 1000,
        )
        for bucket in buckets
        if bucket.name in names
    }


def _run(script: Any, account: str, family: str, arguments: list[Any]) -> Any:
    try:
        return script(keys=[_key(account, family), BORN_KEY], args=arguments)
    except redis.RedisError as error:
        raise LimiterAway(str(error)) from error


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


class _Script:
    """A script by its hash. Redis forgets scripts when it restarts, and so tells that it did."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, keys: Sequence[str], args: Sequence[Any]) -> Any:
        redis_ = connection()
        try:
            return redis_.evalsha(self._sha, len(keys), *keys, *args)
        except NoScriptError:
            _distrust_another_run(redis_)
            redis_.script_load(self._source)
            return redis_.evalsha(self._sha, len(keys), *keys, *args)


def _distrust_another_run(redis_: redis.Redis) -> None:
    """After a restart (or in a replica that took over) counting begins anew: the last turns may not be remembered.

    Buckets from before it count for nothing, so they begin used up; what the provider stated is kept.
    """
    run = redis_.info("server")["run_id"]
    before = redis_.get(RUN_KEY)
    if isinstance(before, bytes) and before.decode() != run:
        seconds, microseconds = redis_.time()
        redis_.set(BORN_KEY, f"{seconds * 1000 + microseconds / 1000:.3f}")
        logger.warning("Redis has started anew: the rate limits count as used up at this instant")
    redis_.set(RUN_KEY, run)


@cache
def _admission_script() -> _Script:
    return _Script(_SCRIPT)


@cache
def _return_script() -> _Script:
    return _Script(_source("return.lua"))


@cache
def _correction_script() -> _Script:
    return _Script(_source("correction.lua"))


@cache
def _hold_back_script() -> _Script:
    return _Script(_source("holding_back.lua"))
