from datetime import UTC, datetime, timedelta, timezone

import pytest

from billing.periods import month_of


@pytest.mark.parametrize(
    ("instant", "start", "end"),
    [
        (datetime(2024, 9, 15, 12, tzinfo=UTC), (2024, 9), (2024, 10)),
        (datetime(2024, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), (2024, 12), (2025, 1)),
        (datetime(2025, 1, 1, tzinfo=UTC), (2025, 1), (2025, 2)),
        (datetime(2024, 2, 29, 23, tzinfo=UTC), (2024, 2), (2024, 3)),
        # already the first in Auckland, still the last in UTC
        (datetime(2024, 10, 1, 8, tzinfo=timezone(timedelta(hours=13))), (2024, 9), (2024, 10)),
    ],
)
def test_a_month_is_the_calendar_month_of_utc(instant, start, end):
    window = month_of(instant)
    assert window.start == datetime(*start, 1, tzinfo=UTC)
    assert window.end == datetime(*end, 1, tzinfo=UTC)
    assert window.start <= instant < window.end


def test_every_instant_of_a_decade_lies_in_exactly_one_month():
    edge = datetime(2020, 1, 1, tzinfo=UTC)
    for _ in range(120):
        window = month_of(edge)
        assert window.start == edge
        assert month_of(edge - timedelta(microseconds=1)).end == edge
        edge = window.end
