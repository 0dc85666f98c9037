"""What an autoscaler goes by: slots that would be used if they were there, and none that could start nothing."""

from datetime import timedelta

from django.test import Client
from django.utils import timezone

from jobs import dispatch, workers
from jobs.demand import demand
from jobs.models import Job, Queue

GAUGES = ("bursar_call_workers", "bursar_call_slots", "bursar_calls_in_flight", "bursar_call_slots_wanted")


def gauges() -> dict[str, int]:
    response = Client().get("/metrics")
    assert (response.status_code, response["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    lines = [line for line in response.content.decode().splitlines() if not line.startswith("#")]
    told = dict(line.rsplit(" ", 1) for line in lines)
    return {name: int(told[name]) for name in GAUGES}


def test_jobs_that_wait_for_a_slot_alone_want_one_each(path, slots):
    slots(2)
    for _ in range(5):
        path.submit()
    assert dispatch.dispatch() == 2
    assert gauges() == {
        "bursar_call_workers": 1,
        "bursar_call_slots": 2,
        "bursar_calls_in_flight": 2,
        "bursar_call_slots_wanted": 5,
    }


def test_jobs_that_something_else_keeps_waiting_want_none(path, project):
    for _ in range(3):
        path.submit()
    now = timezone.now()
    assert demand(now).wanted == 3
    Queue.objects.update(waiting_on={"reason": "rate_limit"})
    assert demand(now).wanted == 0
    Queue.objects.update(waiting_on={"reason": "capacity"})
    project.paused_at = now
    project.save()
    assert demand(now).wanted == 0
    project.paused_at = None
    project.save()
    Job.objects.update(run_after=now + timedelta(minutes=1))
    assert demand(now).wanted == 0


def test_with_no_worker_alive_the_wanted_slots_are_still_told(path):
    path.submit()
    workers.forget("tests")
    assert gauges() == {
        "bursar_call_workers": 0,
        "bursar_call_slots": 0,
        "bursar_calls_in_flight": 0,
        "bursar_call_slots_wanted": 1,
    }
