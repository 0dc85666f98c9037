"""When a delivery that failed is tried again: the schedule that Standard Webhooks recommends. Pure."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

_MINUTE, _HOUR = 60, 3600
# Before the first try, and after each that failed: three days in all.
DELAYS = (
    0,
    5,
    5 * _MINUTE,
    30 * _MINUTE,
    2 * _HOUR,
    5 * _HOUR,
    10 * _HOUR,
    14 * _HOUR,
    20 * _HOUR,
    24 * _HOUR,
)
# Up to so much later, in parts of a thousand, so that what failed together does not come again together.
JITTER_PERMILLE = 100
# Whoever asks for more patience gets so much.
MOST_PATIENCE = timedelta(days=1)


def next_try(tries: int, now: datetime, *, retry_after: str = "", permille: int = 0) -> datetime | None:
    """When to try again after so many tries; None after the last one.

    Not before the endpoint's `Retry-After`. `permille`: how much later than the schedule, 0 to `JITTER_PERMILLE`.
    """
    if tries >= len(DELAYS):
        return None
    delay = timedelta(seconds=DELAYS[tries])
    return max(now + delay + delay * permille / 1000, asked_for(retry_after, now))


def asked_for(retry_after: str, now: datetime) -> datetime:
    """The instant of a `Retry-After` header, in seconds or as a date, at most a day ahead; now, where it says none."""
    text = retry_after.strip()
    try:
        until = now + timedelta(seconds=int(text)) if text.isdecimal() else parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return now
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return min(max(until, now), now + MOST_PATIENCE)
