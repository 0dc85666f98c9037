"""What the rate limit headers say: recorded ones, and every one that the provider's arithmetic can produce."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config.simulator.limiter import go_duration
from jobs.stated_limits import DAY_MS, MINUTE_MS, Statement, milliseconds, statements


def headers(unit: str, limit: object, remaining: object, reset: str) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{unit}": str(limit),
        f"x-ratelimit-remaining-{unit}": str(remaining),
        f"x-ratelimit-reset-{unit}": reset,
    }


@pytest.mark.parametrize(
    ("unit", "limit", "remaining", "reset", "name"),
    [
        # Recorded 2025-07-09 (tier 5) and 2023-12 (a limit of a day); the last two follow from the arithmetic.
        ("requests", 30_000, 29_999, "2ms", "requests_per_minute"),
        ("tokens", 150_000_000, 149_999_633, "0s", "tokens_per_minute"),
        ("tokens", 1_500_000, 43_244, "23h18m29.144s", "tokens_per_day"),
        ("requests", 500, 499, "120ms", "requests_per_minute"),
        ("requests", 10_000, 9_999, "8.64s", "requests_per_day"),
    ],
)
def test_headers_are_read_and_the_day_told_from_the_minute(unit, limit, remaining, reset, name):
    (said,) = statements(headers(unit, limit, remaining, reset))
    assert (said.name, said.limit) == (name, limit)
    assert limit - remaining - 1 <= said.used <= limit - remaining


@pytest.mark.parametrize(
    "broken",
    [
        {},
        headers("requests", 500, 499, ""),
        headers("requests", 500, 499, "soon"),
        headers("requests", 500, 501, "0s"),
        headers("requests", 500, -1, "1m0s"),
        headers("requests", 0, 0, "0s"),
        headers("requests", "many", 499, "120ms"),
        headers("requests", 150_000, 149_984, "6m0s"),  # the documentation's own example fits no window
        headers("requests", 500, 500, "0s"),  # nothing used: nothing to tell a minute from a day by
    ],
)
def test_what_cannot_be_read_or_contradicts_itself_is_left_out(broken):
    assert statements(broken) == []


@given(
    limit=st.integers(1, 10**9),
    share=st.floats(0.0, 1.0, exclude_min=True),
    window=st.sampled_from([MINUTE_MS, DAY_MS]),
)
@example(limit=3, share=1.0, window=MINUTE_MS)
@example(limit=10_000, share=0.0001, window=DAY_MS)
def test_what_the_providers_arithmetic_prints_is_understood_and_never_as_less_than_is_used(limit, share, window):
    used = limit * share
    remaining = int(limit - used)
    reset_ms = int(used * window / limit)
    said = statements(headers("tokens", limit, remaining, go_duration(reset_ms)))
    if remaining == limit:
        assert said == []
        return
    (statement,) = said
    assert statement.used >= min(used, limit) * (1 - 1e-9)
    if window == DAY_MS and used >= 2:
        assert statement.name == "tokens_per_day"
    if window == MINUTE_MS:
        assert statement == Statement("tokens_per_minute", limit, statement.used)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0s", 0), ("2ms", 2), ("8.64s", 8640), ("1m26.4s", 86_400), ("6m0s", 360_000), ("23h18m29.144s", 83_909_144)],
)
def test_durations_are_read_as_go_writes_them(text, expected):
    assert milliseconds(text) == expected


@pytest.mark.parametrize("text", ["", "s", "5", "-1s", "1s 2s", "1.5"])
def test_what_is_no_duration_is_none(text):
    assert milliseconds(text) is None
