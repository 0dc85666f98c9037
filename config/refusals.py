"""Jobs that were refused because a limit has no room for them: counted in Redis, because nothing is written of them."""

import logging

import redis

from jobs import limiter

logger = logging.getLogger(__name__)

_KEY = "bursar:metrics:budget-refusals"


def note(scope: str) -> None:
    """Counts a refusal at the door, by the scope of the limit. Without Redis it goes uncounted."""
    try:
        limiter.connection().hincrby(_KEY, scope, 1)
    except redis.RedisError as error:
        logger.warning("a refusal was not counted: %s", error)


def counted() -> dict[str, int]:
    """How many there were of each scope. Raises redis.RedisError."""
    counts: dict[bytes, bytes] = limiter.connection().hgetall(_KEY)  # type: ignore[assignment]
    return {scope.decode(): int(count) for scope, count in sorted(counts.items())}
