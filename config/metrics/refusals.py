"""Submissions that a limit had no room for."""

from collections.abc import Iterator

from config import refusals
from config.metrics.text import Family, Kind, Sample


def families() -> Iterator[Family]:
    """Raises redis.RedisError."""
    yield Family(
        "budget_refusals_total",
        Kind.COUNTER,
        "Submissions refused with 402, by the scope of the limit that has no room for them.",
        tuple(Sample(count, {"scope": scope}) for scope, count in refusals.counted().items()),
    )
