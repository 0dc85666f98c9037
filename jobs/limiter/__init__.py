"""The provider's rate limits, kept by all workers together: when may this call start?

One atomic Redis script decides over all limits that bind a call, by the provider's own token-bucket arithmetic and by
the clock of Redis. With Redis away nothing may start: the limiter fails closed.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from math import ceil, isinf
from struct import Struct, pack
from typing import Any

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError
from redis.retry import Retry

from accounts.models import RateLimit
from jobs.credentials import Access
from jobs.limiter.buckets import (
    AHEAD_SECONDS,
    Admission,
    Asking,
    Bucket,
    Go,
    Never,
    NotYet,
    Turn,
    asking_for,
    buckets_of,
    buckets_of_organization,
    project_owner,
)
from jobs.limiter.room import HEADROOM_SHARE, LARGEST_SHARE_LEFT, LATENESS_MS, Room, room_of
from jobs.limiter.words import Word, words_of
from jobs.sent import sent_of, used_now
from jobs.stated_limits import statements

__all__ = [
    "AHEAD_SECONDS",
    "BORN_KEY",
    "LATENESS_MS",
    "RUN_KEY",
    "Admission",
    "Asking",
    "Bucket",
    "Go",
    "LimiterAway",
    "Never",
    "NotYet",
    "Room",
    "Turn",
    "account_of",
    "admit",
    "admit_all",
    "asking_for",
    "buckets_of",
    "connection",
    "give_back",
    "give_back_all",
    "hold_back",
    "learn",
    "learn_all",
    "look",
    "project_owner",
    "room",
    "slow_down",
    "statements",
]

logger = logging.getLogger(__name__)

BORN_KEY = "bursar:limiter:counting-since"
# Which run of Redis has counted: after a restart it may have forgotten the last seconds, and is not believed.
RUN_KEY = "bursar:limiter:run"
_LIMIT = Struct(">ddd")

Family = tuple[str, str]  # an account and a family of models: what one key of Redis holds


def _source(name: str) -> str:
    folder = resources.files("jobs.limiter")
    opening = ("opening.lua",) if name in {"admission.lua", "room.lua"} else ()
    return "".join(folder.joinpath(part).read_text() for part in ("buckets.lua", *opening, name))


_SCRIPT = _source("admission.lua")


class LimiterAway(Exception):
    """Redis does not answer, so nobody knows whose turn it is."""


def account_of(access: Access) -> str:
    """The name of the account whose limits a call counts against: two organizations with one key share them."""
    identity = f"{access.base_url}\n{access.provider_organization_id or access.api_key}"
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


# --- Turns ------------------------------------------------------------------------------------------------------------
def admit(
    account: str,
    family: str,
    limits: RateLimit,
    *,
    tokens: int,
    horizon_seconds: float,
    more: Sequence[Bucket] = (),
    use_headroom: bool = True,
) -> Admission:
    """Takes a call's turn, if it comes within the horizon. `more` binds it as well. Raises LimiterAway."""
    asking = Asking(account, family, limits, tokens, tuple(more), use_headroom, horizon_seconds)
    (admission,) = admit_all([asking])
    return admission


def admit_all(askings: Sequence[Asking]) -> list[Admission]:
    """Takes the turns of many calls in one round trip, in their order within each family; an answer for each.

    Raises LimiterAway: then some may have been taken, and are lost.
    """
    places: dict[Family, list[int]] = {}
    for place, asking in enumerate(askings):
        places.setdefault((asking.account, asking.family), []).append(place)
    groups = {family: [askings[place] for place in group] for family, group in places.items()}
    answers = _run_all(_admission_script(), [(family, _asked(group, {})) for family, group in groups.items()])
    admissions: dict[int, Admission] = {}
    for (family, group), (is_known, answer) in zip(groups.items(), answers, strict=True):
        if not is_known:
            buckets = [bucket for asking in group for bucket in asking.buckets]
            used = _used_of_days(family, buckets, {name.decode() for name in answer})
            answer = _run(_admission_script(), family, _asked(group, used))[1]
        for place, asking, told in zip(places[family], group, answer, strict=True):
            admissions[place] = _admission(asking, told)
    return [admissions[place] for place in range(len(askings))]


def give_back(turn: Turn) -> None:
    """Gives back a turn whose call was not sent and will not be; once. Raises LimiterAway: then the turn is lost."""
    give_back_all([turn])


def give_back_all(turns: Sequence[Turn]) -> None:
    """Gives many back in one round trip. Raises LimiterAway: then those that were not given back are lost."""
    commands = []
    for turn in turns:
        arguments: list[Any] = [*turn.instants_us]
        for bucket, counts in zip(turn.buckets, turn.counts, strict=True):
            arguments += [bucket.name, bucket.limit, bucket.window_ms, bucket.amount, *counts]
        commands.append(((turn.account, turn.family), arguments))
    _run_all(_return_script(), commands)


def _asked(askings: Sequence[Asking], used: Mapping[str, float]) -> list[Any]:
    """The arguments of the script for the calls of one family."""
    limits: dict[str, tuple[int, Bucket]] = {}
    calls = []
    for asking in askings:
        headroom = (0.0, 0.0) if asking.use_headroom else (HEADROOM_SHARE, LARGEST_SHARE_LEFT)
        numbers: list[float] = [asking.horizon_ms, *headroom]
        for bucket in asking.buckets:
            place, _ = limits.setdefault(bucket.name, (len(limits) + 1, bucket))
            numbers += [place, bucket.amount]
        calls.append(pack(f">{len(numbers)}d", *numbers))
    return [*_limits([bucket for _, bucket in limits.values()], used), LATENESS_MS, *calls]


def _limits(buckets: Sequence[Bucket], used: Mapping[str, float]) -> list[Any]:
    arguments: list[Any] = [len(buckets)]
    for bucket in buckets:
        arguments += [bucket.name, _LIMIT.pack(bucket.limit, bucket.window_ms, used.get(bucket.name, -1.0))]
    return arguments


def _admission(asking: Asking, told: Sequence[Any]) -> Admission:
    match told:
        case [1, wait_ms, _, numbers]:
            return Go(wait_ms / 1000, Turn(asking.account, asking.family, asking.buckets, numbers))
        case [0, wait_ms, binding]:
            return NotYet(wait_ms / 1000, binding.decode())
    return Never(told[2].decode())


# --- Room -------------------------------------------------------------------------------------------------------------
def room(account: str, family: str, limits: RateLimit, *, more: Sequence[Bucket] = ()) -> Room:
    """What the limits of a family admit now, in one round trip; takes nothing. Raises LimiterAway."""
    buckets = (*buckets_of_organization(limits, requests=1, tokens=1), *more)
    key = (account, family)
    answer = _run(_room_script(), key, _limits(buckets, {}))
    if not answer[0]:
        used = _used_of_days(key, buckets, {name.decode() for name in answer[1]})
        answer = _run(_room_script(), key, _limits(buckets, used))
    return room_of(buckets, *answer[1:])


def look(
    account: str, family: str, limits: RateLimit, *, requests: int, tokens: int, horizon_seconds: float
) -> Admission:
    """Whether so many calls of so many tokens in all could start within the horizon; takes nothing.

    Raises LimiterAway.
    """
    seconds, binding = room(account, family, limits).earliest(requests=requests, tokens=tokens)
    if isinf(seconds):
        return Never(binding)
    wait = ceil(seconds * 1000) / 1000
    return Go(wait) if seconds <= horizon_seconds else NotYet(wait, binding)


# --- What the provider says -------------------------------------------------------------------------------------------
def learn(turn: Turn, headers: Mapping[str, str], *, sent_us: int) -> None:
    """Corrects the account's buckets by what the provider said when it answered the call of this turn.

    `sent_us`: when the call was sent, by Redis's clock. Raises LimiterAway.
    """
    learn_all([(turn, headers, sent_us)])


def learn_all(answers: Sequence[tuple[Turn, Mapping[str, str], int]]) -> None:
    """Learns from many answers in one round trip: of each limit, the newest word that tells the most.

    Each with its turn, its headers, and when it was sent (us of Redis's clock). Raises LimiterAway.
    """
    families = words_of(answers)
    commands = [(family, _heard(words)) for family, words in families.items()]
    for (family, words), news in zip(families.items(), _run_all(_correction_script(), commands), strict=True):
        for name, limit in zip(news[::2], news[1::2], strict=True):
            logger.warning(
                "the provider states %s of %d for %s, configured is %s; the lower one binds",
                name.decode(),
                limit,
                family[1],
                words[name.decode()].bucket.limit or "none",
            )


def _heard(words: Mapping[str, Word]) -> list[Any]:
    return [part for name, word in words.items() for part in (name, word.packed())]


def hold_back(account: str, family: str, seconds: float) -> None:
    """Gives no turn of this family before so many seconds have passed: the provider asked for it.

    Raises LimiterAway.
    """
    _run(_hold_back_script(), (account, family), [int(seconds * 1000)])


def slow_down(account: str, family: str) -> None:
    """Halves what is sent of this family, for the provider said `slow_down`: for fifteen minutes, and then more again
    from minute to minute, the whole after fifteen more. Said again within a minute it changes nothing.

    Raises LimiterAway.
    """
    if _run(_slowing_script(), (account, family), []):
        logger.warning("the provider wants fewer calls of %s: half as many for fifteen minutes", family)


# --- Redis ------------------------------------------------------------------------------------------------------------
def _used_of_days(family: Family, buckets: Sequence[Bucket], names: set[str]) -> dict[str, float]:
    """What is used of the limits that Redis has forgotten, by the attempts in PostgreSQL.

    A day's bucket that began used up would leave a day of its burst unused, and one that began full could be refused.
    """
    sent = sent_of(family[1], lambda access: account_of(access) == family[0])
    logger.info("counting %s of %s again from the attempts of two days", ", ".join(sorted(names)), family[1])
    return {
        bucket.name: used_now(
            [
                (slot.seconds_ago, slot.requests if bucket.counts_requests else slot.tokens)
                for slot in sent
                if bucket.owner in {"", project_owner(slot.project_id)}
            ],
            # A limit that only the provider states is not known here, and the script keeps to its own.
            limit=bucket.limit,
            window_seconds=bucket.window_ms / 1000,
        )
        for bucket in buckets
        if bucket.name in names
    }


def _run(script: Any, family: Family, arguments: list[Any]) -> Any:
    try:
        return script(keys=[_key(*family), BORN_KEY], args=arguments)
    except redis.RedisError as error:
        raise LimiterAway(str(error)) from error


def _run_all(script: Any, commands: Sequence[tuple[Family, list[Any]]]) -> list[Any]:
    """The answers of a script to all commands, in one round trip."""
    if len(commands) <= 1:
        return [_run(script, family, arguments) for family, arguments in commands]
    try:
        return list(script.many([([_key(*family), BORN_KEY], arguments) for family, arguments in commands]))
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
            self._load(redis_)
            return redis_.evalsha(self._sha, len(keys), *keys, *args)

    def many(self, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
        """Each with keys and arguments. A Redis that does not know the script has run none of them."""
        pipeline = connection().pipeline(transaction=False)
        for keys, args in calls:
            pipeline.evalsha(self._sha, len(keys), *keys, *args)
        answers = pipeline.execute(raise_on_error=False)
        for place, answer in enumerate(answers):
            if isinstance(answer, NoScriptError):
                answers[place] = self(*calls[place])
            elif isinstance(answer, Exception):
                raise answer
        return answers

    def _load(self, redis_: redis.Redis) -> None:
        _distrust_another_run(redis_)
        redis_.script_load(self._source)


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


@cache
def _room_script() -> _Script:
    return _Script(_source("room.lua"))


@cache
def _slowing_script() -> _Script:
    return _Script(_source("slowing.lua"))
