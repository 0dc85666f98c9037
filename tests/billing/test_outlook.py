"""Forecasts: by hand where they can be, and by synthetic use of fixed seeds where a range has to be believed."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.outlook.pace import Pace, learn
from billing.outlook.reach import Basis, Outlook, Prospect, comes_to, outlook
from billing.periods import Window, day_of, month_of, week_of
from tests.billing import traffic

TODAY = date(2026, 11, 18)  # a Wednesday; twelve days of the month are left after it
MIDNIGHT = datetime(2026, 11, 18, tzinfo=UTC)
NOON = MIDNIGHT + timedelta(hours=12)
LONG_AGO = date(2026, 1, 1)
ONE, TWO, ZERO = Decimal(1), Decimal(2), Decimal(0)


def pace_of(usd_of, *, since: date = LONG_AGO, hours=None) -> Pace | None:
    days = [TODAY - timedelta(days=n) for n in range(1, 29)]
    return learn({day: usd_of(day) for day in days if day >= since}, since, TODAY, hours)


def ahead(pace: Pace | None, limit="100", *, spent="17", now=MIDNIGHT, window: Window | None = None) -> Outlook:
    amount = None if limit is None else Decimal(limit)
    return outlook(pace, window or month_of(now), limit=amount, spent=Decimal(spent), now=now)


def even(_day: date) -> Decimal:
    return ONE


def test_days_all_alike_are_gone_on_with():
    found = ahead(pace_of(even))
    # All of today is still expected, and the twelve days after it.
    assert (found.at_end, found.low, found.high) == (30, 30, 30)
    assert (found.prospect, found.expected, found.basis) == (Prospect.NOT_IN_WINDOW, None, Basis.WEEKDAYS)
    assert ahead(pace_of(even), now=NOON).at_end == Decimal("29.5")


def test_the_instant_is_where_the_line_meets_the_limit():
    found = ahead(pace_of(even), "18.25")
    # One day and a quarter of another from midnight.
    assert found.expected == found.earliest == found.latest == MIDNIGHT + timedelta(hours=30)
    assert found.prospect == Prospect.EXPECTED
    assert ahead(pace_of(even), "17").prospect == Prospect.REACHED
    assert ahead(pace_of(even), None).prospect == Prospect.NOT_IN_WINDOW


def test_weekends_are_known():
    found = ahead(pace_of(lambda day: ONE if day.weekday() < 5 else ZERO))
    assert found.low == found.at_end == found.high == 17 + 9
    # Friday's end is where the third dollar is used; the fourth comes on Monday.
    assert ahead(pace_of(lambda day: ONE if day.weekday() < 5 else ZERO), "20.5").expected == datetime(
        2026, 11, 23, 12, tzinfo=UTC
    )


def test_chance_makes_a_range():
    """Two weeks of days of two, and between them two of nothing: no trend, and each day is off by one."""
    found = ahead(pace_of(lambda day: ZERO if 7 < (TODAY - day).days <= 21 else TWO), spent="30")
    assert found.at_end == 43
    # 13 days, of which six weekdays come twice and one once: their means are off by (6 x 2 x 2 + 1) / 4. They lie seven
    # times 17.5 days ahead of the middle of the known ones, and six times 24.5; those lie 3.5 or 10.5 days from it.
    variance = Decimal(28) / 21 * (13 + Decimal(25) / 4 + Decimal("269.5") ** 2 / 1715)
    width = (Decimal("1.2816") + Decimal("0.847") / 21) * variance.sqrt()
    assert found.high is not None
    assert round(found.high - 43, 9) == round(width, 9)
    assert round(43 - found.low, 9) == round(width, 9)


def test_nothing_that_is_spent_is_taken_back():
    assert ahead(pace_of(lambda day: Decimal(70) if day == TODAY - timedelta(days=9) else ZERO)).low == 17


def test_a_trend_is_gone_on_with():
    """Each day a dollar more than the one before: tomorrow has a dollar more than today."""
    pace = pace_of(lambda day: Decimal(100 - (TODAY - day).days))
    assert pace is not None
    assert [round(pace.usual(TODAY + timedelta(days=n)), 6) for n in range(3)] == [100, 101, 102]


def test_what_falls_never_falls_below_nothing():
    pace = pace_of(lambda day: Decimal((TODAY - day).days))
    assert pace is not None
    assert pace.usual(TODAY + timedelta(days=30)) == 0


@pytest.mark.parametrize(
    ("days", "basis"), [(4, None), (5, Basis.DAYS_ALIKE), (13, Basis.DAYS_ALIKE), (14, Basis.WEEKDAYS)]
)
def test_how_much_history_it_needs(days: int, basis: Basis | None):
    found = ahead(pace_of(even, since=TODAY - timedelta(days=days)))
    assert found.basis == basis
    assert (found.prospect == Prospect.TOO_LITTLE_HISTORY) is (basis is None)
    assert found.history_days == (days if basis else 0)


def test_nothing_known_but_a_used_up_limit():
    assert ahead(None, "17").prospect == Prospect.REACHED
    assert ahead(None, "18").prospect == Prospect.TOO_LITTLE_HISTORY


def test_a_day_goes_by_its_hours():
    """All of a day's use is between nine and ten."""
    morning = [ZERO] * 9 + [Decimal(24)] + [ZERO] * 14
    hours = {TODAY - timedelta(days=n): morning for n in range(1, 29)}
    pace = pace_of(lambda day: Decimal(24), hours=hours)
    day = day_of(MIDNIGHT)
    found = ahead(pace, "12", spent="0", window=day)
    assert (found.basis, found.expected) == (Basis.HOURS, MIDNIGHT + timedelta(hours=9, minutes=30))
    assert ahead(pace, "25", spent="24", window=day, now=NOON).prospect == Prospect.NOT_IN_WINDOW


def test_a_day_that_is_busy_by_noon_stays_busy():
    """Days of one or three an hour: who has used 36 by noon is expected to come to 72, and not to 48."""
    level = {TODAY - timedelta(days=n): Decimal(3 if n % 2 else 1) for n in range(1, 29)}
    hours = {day: [amount] * 24 for day, amount in level.items()}
    pace = learn({day: amount * 24 for day, amount in level.items()}, LONG_AGO, TODAY, hours)
    found = ahead(pace, "60", spent="36", window=day_of(NOON), now=NOON)
    assert found.at_end is not None
    assert round(found.at_end) == 72
    assert found.expected is not None
    assert abs(found.expected - (NOON + timedelta(hours=8))) < timedelta(minutes=5)


def test_a_week_goes_by_days():
    found = ahead(pace_of(even), "2", spent="1", window=week_of(NOON), now=NOON)
    assert (found.basis, found.expected) == (Basis.WEEKDAYS, NOON + timedelta(days=1))


def test_what_it_comes_to_is_the_end_of_the_curve():
    pace = pace_of(lambda day: Decimal(day.day))
    assert pace is not None
    comes = comes_to(pace, month_of(NOON), Decimal(17), NOON)
    assert abs(comes - ahead(pace, now=NOON).at_end) < Decimal("1e-20")


TRILLIONTHS = st.integers(0, 10**18).map(lambda number: Decimal(number).scaleb(-12))


@given(st.lists(TRILLIONTHS, min_size=28, max_size=28), TRILLIONTHS, st.integers(0, 10**8).map(Decimal))
def test_the_range_holds_what_is_expected_and_nothing_spent_is_lost(amounts, spent, limit):
    by_day = {TODAY - timedelta(days=n): usd for n, usd in enumerate(amounts, 1)}
    found = outlook(learn(by_day, LONG_AGO, TODAY), month_of(NOON), limit=limit, spent=spent, now=NOON)
    assert spent <= found.low <= found.at_end <= found.high
    instants = [at for at in (found.earliest, found.expected, found.latest) if at]
    assert instants == sorted(instants)
    assert all(NOON <= at <= month_of(NOON).end for at in instants)
    # Whoever has a later instant has the earlier ones.
    assert [bool(at) for at in (found.earliest, found.expected, found.latest)] == sorted(
        [bool(at) for at in (found.earliest, found.expected, found.latest)], reverse=True
    )


# --- How far off it is ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", traffic.KINDS)
@pytest.mark.parametrize("window", traffic.WINDOWS)
def test_four_of_five_instants_lie_within_the_range(window: str, kind: str):
    """Of limits that were reached in their window: the others are easy to be right about."""
    found = traffic.reached(traffic.trials(kind, window, 150))
    print(f"{window} {kind}: {traffic.coverage(found):.2f} of {len(found)}, {traffic.median_error(found):.1f} h")
    assert len(found) > 60
    assert 0.7 <= traffic.coverage(found) <= 0.9
    # Half of the instants are off by less than a sixth of the window, whatever the traffic.
    assert traffic.median_error(found) < traffic.WINDOWS[window] * 24 / 6
