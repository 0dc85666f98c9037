"""The database's clock, asked now and then and counted on from there."""

from datetime import timedelta

import pytest

from accounts import remembered
from billing import clock
from billing.clock import database_now, nearly_now


def test_the_instant_goes_on_between_two_readings(db, monkeypatch, django_assert_num_queries):
    own = [100.0]
    clock._reading.forget()  # what another test has read
    monkeypatch.setattr(remembered, "is_on", True)
    for module in (remembered, clock):
        monkeypatch.setattr(module, "monotonic", lambda: own[0])
    with django_assert_num_queries(1):
        first = nearly_now()
        own[0] += 0.75
        assert nearly_now() == first + timedelta(seconds=0.75)
    own[0] += 0.25
    with django_assert_num_queries(1):
        assert nearly_now() > first


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_it_is_never_ahead_of_the_databases(monkeypatch):
    monkeypatch.setattr(remembered, "is_on", True)
    assert all(nearly_now() <= database_now() for _ in range(50))
