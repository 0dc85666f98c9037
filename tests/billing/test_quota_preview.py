"""What a quota would have refused last month, replayed from calls of known instants."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError

from billing.models import Quota, Reservation, UsageRecord
from billing.periods import month_of
from billing.quotas.preview import preview
from tests.billing.conftest import as_owner
from tests.conftest import make_claim

D = Decimal
MONTH = month_of(datetime(2024, 8, 1, tzinfo=UTC))


def call(project, day: int, hour: int, actual: str, *, bound: str = "2", seconds: int = 20, model: str = "o1-preview"):
    """A settled call of August 2024: dispatched at an hour, settled so many seconds later."""
    at = datetime(2024, 8, 1, hour, tzinfo=UTC) + timedelta(days=day - 1)
    price = make_claim(project, "1", model=model).price
    owner = {"organization": project.organization, "project": project, "model": model, "service_tier": "standard"}
    reservation = Reservation.objects.create(
        **owner,
        reference=uuid4(),
        status="settled",
        amount_usd=D(bound),
        input_tokens=100,
        output_tokens=1000,
        settled_usd=D(actual),
        price=price,
        window_start=MONTH.start,
        reserved_at=at,
        resolved_at=at + timedelta(seconds=seconds),
    )
    return UsageRecord.objects.create(
        **owner,
        reservation=reservation,
        snapshot=model,
        input_tokens=10,
        cached_input_tokens=0,
        output_tokens=100,
        reasoning_tokens=50,
        price=price,
        input_usd_per_million=15,
        cached_input_usd_per_million=7,
        output_usd_per_million=60,
        input_usd=D(actual),
        cached_input_usd=0,
        output_usd=0,
        reasoning_usd=0,
        total_usd=D(actual),
        window_start=MONTH.start,
        dispatched_at=at,
        booked_at=at,
        recorded_at=at + timedelta(seconds=seconds),
    )


def quota_of(project, **fields) -> Quota:
    return Quota(organization=project.organization, project=project, **{"limit": D(1), **fields})


def test_the_first_refusal_is_exact_and_the_window_begins_anew(project):
    """Three dollars a day: the second call of the day finds 1.5 spent, and 2 held for it come to more."""
    for day in (1, 2):
        for hour in (1, 2, 3):
            call(project, day, hour, "1.5")
    found = preview(quota_of(project, window="day"), D(3), MONTH)
    assert (found.calls, found.refused, found.next_window, found.windows) == (6, 4, 4, 2)
    first = found.first[0]
    assert (first.at, first.needed, first.over) == (datetime(2024, 8, 1, 2, tzinfo=UTC), D("3.5"), D("0.5"))
    assert found.projects == [("Alice research", 4)]
    assert preview(quota_of(project, window="day"), D("5"), MONTH).refused == 0
    assert preview(quota_of(project, window="day"), D("4.999999999999"), MONTH).refused == 2


def test_what_is_only_held_delays_and_does_not_refuse(project):
    """The second begins while the first is under way: 4 are held at once, though both together came to 0.2."""
    call(project, 1, 1, "0.1", seconds=7200)
    call(project, 1, 2, "0.1")
    found = preview(quota_of(project), D(3), MONTH)
    assert (found.soon, found.next_window, found.too_large) == (1, 0, 0)
    assert preview(quota_of(project), D(4), MONTH).refused == 0


def test_a_call_whose_bound_is_above_the_limit_never_runs_and_counts_for_nobody(project):
    call(project, 1, 1, "1.9", bound="9")
    call(project, 1, 2, "0.5", bound="1")
    found = preview(quota_of(project), D(1), MONTH)
    assert (found.too_large, found.next_window, found.soon) == (1, 0, 0)
    assert (found.first[0].outcome, found.first[0].over) == ("never", D(8))


@pytest.mark.parametrize(
    ("measure", "limit", "refused"),
    [("jobs", "2", 1), ("tokens", "1210", 1), ("output_tokens", "1100", 1), ("reasoning_tokens", "1099", 1)],
)
def test_each_measure(project, measure, limit, refused):
    for hour in (1, 2, 3):
        call(project, 1, hour, "0.1")
    assert preview(quota_of(project, measure=measure), D(limit), MONTH).refused == refused


def test_only_what_the_quota_counts_is_replayed(project, bob):
    call(project, 1, 1, "0.1", model="o1-mini")
    call(project, 1, 2, "0.1")
    call(bob.project, 1, 2, "0.1")
    assert preview(quota_of(project, model="o1-mini"), D(0), MONTH).calls == 1
    whole = Quota(organization=project.organization, scope="organization")
    assert preview(whole, D(0), MONTH).calls == 2
    later = month_of(MONTH.end)
    assert preview(whole, D(0), later).calls == 0


def test_a_week_that_began_in_the_month_before_is_partly_used(project):
    """August 2024 began on a Thursday."""
    record = call(project, 1, 1, "1.5")
    as_owner(
        "UPDATE billing_usagerecord SET booked_at = '2024-07-31', dispatched_at = '2024-07-31', "
        f"recorded_at = '2024-07-31' WHERE id = '{record.pk}'"
    )
    Reservation.objects.update(resolved_at="2024-07-31T00:00:20Z")
    call(project, 1, 2, "1.5")
    found = preview(quota_of(project, window="week"), D(3), MONTH)
    assert (found.calls, found.refused) == (1, 1)


def test_a_fixed_window_is_not_replayed(project):
    with pytest.raises(ValidationError, match="fixed window"):
        preview(quota_of(project, window="fixed"), D(3), MONTH)
