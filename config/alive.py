"""What runs, as it says itself in Redis: a key that lasts a few seconds and is set again and again."""

from enum import StrEnum

from jobs import limiter

# Each is due every second or every few; what was silent for this long does not run.
SILENCE_SECONDS = 15
_PREFIX = "bursar:alive:"


class Part(StrEnum):
    """What says that it runs."""

    DISPATCH = "dispatch"  # a dispatch ended well, so that queued jobs are started
    BEAT = "beat"  # a message of the beat was carried out
    BATCHES = "batches"  # batches were taken further, or there were none


def say(part: Part) -> None:
    """Says that a part runs. Raises redis.RedisError."""
    limiter.connection().set(_PREFIX + part, 1, ex=SILENCE_SECONDS)


def heard() -> dict[Part, bool]:
    """Which parts have said so lately. Raises redis.RedisError."""
    found = limiter.connection().mget([_PREFIX + part for part in Part])
    return {part: value is not None for part, value in zip(Part, found, strict=True)}
