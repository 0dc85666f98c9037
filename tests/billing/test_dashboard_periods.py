"""The periods of the dashboard: pure arithmetic, the present is a parameter."""

from datetime import date

import pytest

from billing.dashboard.period import before, period_of

TODAY = date(2026, 11, 18)


@pytest.mark.parametrize(
    ("key", "first", "last", "label"),
    [
        ("this_month", "2026-11-01", "2026-11-30", "November 2026"),
        ("last_month", "2026-10-01", "2026-10-31", "October 2026"),
        ("7d", "2026-11-12", "2026-11-18", "12 November 2026 to 18 November 2026"),
        ("2024-02", "2024-02-01", "2024-02-29", "February 2024"),
    ],
)
def test_periods(key, first, last, label):
    found = period_of(key, "", "", TODAY)
    assert found is not None
    assert (str(found.first_day), str(found.last_day), found.label) == (first, last, label)


def test_own_dates():
    found = period_of("own", "2026-01-31", "2026-02-01", TODAY)
    assert found is not None
    assert [str(day) for day in found.days] == ["2026-01-31", "2026-02-01"]
    for first, last in (
        ("2026-02-01", "2026-01-31"),
        ("2026-12-01", "2026-12-02"),
        ("2025-01-01", "2026-01-03"),
        ("", ""),
        ("9999-12-31", "9999-12-31"),
    ):
        assert period_of("own", first, last, TODAY) is None


@pytest.mark.parametrize(
    ("key", "first", "last"),
    [
        ("this_month", "2026-10-01", "2026-10-18"),  # as many days as this month has had
        ("last_month", "2026-09-01", "2026-09-30"),
        ("30d", "2026-09-20", "2026-10-19"),
    ],
)
def test_what_a_period_is_compared_with(key, first, last):
    period = period_of(key, "", "", TODAY)
    assert period is not None
    found = before(period, TODAY)
    assert (str(found.first_day), str(found.last_day)) == (first, last)


def test_a_longer_month_is_compared_with_all_of_a_shorter_one():
    today = date(2026, 3, 30)
    march = period_of("this_month", "", "", today)
    assert march is not None
    assert before(march, today).last_day == date(2026, 2, 28)
