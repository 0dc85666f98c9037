"""Workers that live and claim nothing are told from those that have nothing to claim."""

from datetime import timedelta

import pytest
from django.utils import timezone

from jobs import claiming, dispatch, workers
from jobs.models import Attempt

NOW = timezone.now()


@pytest.fixture
def attempt(path, slots) -> Attempt:
    slots(1)
    path.submit()
    dispatch.dispatch()
    return Attempt.objects.get()


def fault_in(seconds: float) -> str | None:
    now = timezone.now() + timedelta(seconds=seconds)
    workers.report("calls@test", slots=1, now=now)
    return claiming.fault(now)


def test_without_a_worker_that_is_a_fault_and_with_an_idle_one_it_is_none(path):
    workers.forget("tests")
    assert claiming.fault(timezone.now()) == "no worker of calls is alive"
    assert fault_in(0) is None


def test_a_call_that_nobody_claims_for_seconds_is_a_fault(attempt):
    assert fault_in(0) is None
    assert fault_in(3) == "calls wait that no worker claims"


def test_it_stays_one_after_the_rescue_has_given_the_call_back(attempt):
    now = timezone.now()
    Attempt.objects.update(status="abandoned", finished_at=now)
    assert fault_in(5) == "calls wait that no worker claims"
    assert fault_in(60) is None


def test_while_calls_begin_others_may_wait(path, attempt):
    began = Attempt.objects.get()
    Attempt.objects.update(status="calling", calling_at=timezone.now(), fencing_token=began.pk)
    other = Attempt(job=began.job, number=2, status="abandoned", created_at=NOW, lease_expires_at=NOW, finished_at=NOW)
    other.save()
    assert fault_in(3) is None
