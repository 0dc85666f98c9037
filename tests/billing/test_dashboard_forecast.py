"""The forecast and the periods of the dashboard: pure arithmetic, the present is a parameter."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.dashboard.forecast import forecast
from billing.dashboard.period import before, period_of

TODAY = date(2026, 11, 18)  # a Wednesday; twelve days of the month are left
LONG_AGO = date(2026, 1, 1)
ONE = Decimal(1)


def days_before(usd_of) -> dict[date, Decimal]:
    return {day: usd_of(day) for n in range(1, 29) for day in [TODAY - timedelta(days=n)]}


def made(by_day, *, spent="17", limit="100", since=LONG_AGO):
    return forecast(by_day, spent=Decimal(spent), limit=limit and Decimal(limit), today=TODAY, since=since)


def test_days_all_alike():
    found = made(days_before(lambda day: ONE))
    # Of today all is still expected, and of the twelve days after it.
    assert (found.expected, found.low, found.high, found.reaches_limit_on) == (30, 30, 30, None)
    assert made({**days_before(lambda day: ONE), TODAY: ONE}, spent="18").expected == 30
    assert made({**days_before(lambda day: ONE), TODAY: Decimal(5)}, spent="22").expected == 34


def test_weekends_are_known():
    found = made(days_before(lambda day: ONE if day.weekday() < 5 else Decimal(0)))
    assert found.expected == found.low == found.high == 17 + 9


def test_chance_makes_a_range():
    found = made(days_before(lambda day: Decimal(2) if (TODAY - day).days <= 14 else Decimal(0)), spent="30")
    assert found.low < found.expected == 43 < found.high
    # 1.2816 times the root of (28 days, each off by one, over 21) times (13 days, and 13 squared over 28).
    assert found.high == Decimal("49.46")
    assert made(days_before(lambda day: Decimal(2) if (TODAY - day).days <= 14 else Decimal(0)), spent="0").low >= 0


def test_the_day_on_which_the_limit_is_reached():
    found = made(days_before(lambda day: ONE), limit="20")
    assert found.reaches_limit_on == date(2026, 11, 20)
    assert made(days_before(lambda day: ONE), limit=None).reaches_limit_on is None


@pytest.mark.parametrize(("days", "is_made"), [(13, False), (14, True), (28, True)])
def test_too_little_history(days, is_made):
    found = made(days_before(lambda day: ONE), since=TODAY - timedelta(days=days))
    assert (found is not None) is is_made
    assert made({}, since=None) is None


@given(st.lists(st.decimals(0, 10**6, places=12), min_size=28, max_size=28), st.decimals(0, 10**6, places=12))
def test_the_range_holds_what_is_expected_and_nothing_already_spent_is_lost(amounts, spent):
    by_day = {TODAY - timedelta(days=n): usd for n, usd in enumerate(amounts, 1)}
    found = forecast(by_day, spent=spent, limit=None, today=TODAY, since=LONG_AGO)
    assert found is not None
    assert spent - Decimal("0.01") < found.low <= found.expected <= found.high


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
