"""What the provider says of its rate limits in the headers of an answer. Pure: headers go in, statements come out.

Three headers speak of each limit: the limit, the whole units that remain, and the time until nothing is used. They do
not say whether a minute or a day is meant; the time does, because a limit drains by limit / window.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

MINUTE_MS = 60_000
DAY_MS = 86_400_000
# What the limit on the tokens of one of the provider's projects is called; it is stated where there is one.
PROJECT_TOKENS = "project_tokens_per_minute"
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")


@dataclass(frozen=True, slots=True)
class Statement:
    """One limit by the provider's word: what it is, and how much of it is used at most.

    Its name is as in `RateLimit`, after `project_` where it is a project's.
    """

    name: str
    limit: int
    used: float


def statements(headers: Mapping[str, str]) -> list[Statement]:
    """What the headers state in full; what is missing, unreadable or contradicts itself is left out."""
    stated = (_statement(headers, unit) for unit in ("requests", "tokens", "project-tokens"))
    return [statement for statement in stated if statement is not None]


def _statement(headers: Mapping[str, str], unit: str) -> Statement | None:
    try:
        limit = int(headers[f"x-ratelimit-limit-{unit}"])
        remaining = int(headers[f"x-ratelimit-remaining-{unit}"])
    except (KeyError, ValueError):
        return None
    reset_ms = milliseconds(headers.get(f"x-ratelimit-reset-{unit}", ""))
    if limit <= 0 or not 0 <= remaining <= limit or reset_ms is None:
        return None
    gone = limit - remaining
    if gone == 0:
        return None  # and no time until then: a minute and a day look the same
    for window_ms, span in ((MINUTE_MS, "minute"), (DAY_MS, "day")):
        # `remaining` is rounded down, the time is printed in whole ms: what is used lies in both intervals at once.
        least, most = (reset_ms - 1) * limit / window_ms, (reset_ms + 1) * limit / window_ms
        if gone - 1 < most and least <= gone:
            return Statement(f"{unit.replace('-', '_')}_per_{span}", limit, min(float(gone), most))
    return None


def milliseconds(duration: str) -> int | None:
    """A duration as Go prints it, in whole milliseconds, rounded up: 0s, 120ms, 8.64s, 6m0s, 23h18m29.144s.

    None when it is none.
    """
    match = _DURATION.fullmatch(duration.strip())
    if match is None or not any(match.groups()):
        return None
    days, hours, minutes, seconds, millis = (float(part or 0) for part in match.groups())
    return ceil(round((((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000 + millis, 3))
