"""Whatever process dies, at whatever step of the path: everything ends, once, and every sum is the same."""

import ast
from datetime import timedelta
from decimal import Decimal
from pathlib import Path as File
from uuid import UUID

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db.models import F, Sum

from accounts.models import Project
from billing.clock import database_now
from billing.models import LedgerEntry, Reservation
from jobs import crash_points, dispatch, execution, limiter, recovery, workers
from jobs.crash_points import (
    BACKGROUND_STEPS,
    BATCH_STEPS,
    COMPARISON_STEPS,
    LEARNING_STEPS,
    PROVIDER_BATCH_STEPS,
    STEPS,
)
from jobs.models import Attempt, Doubt, Job, Worker
from jobs.recovery import looks
from tests.flows.crashes import Doomed, doomed
from tests.flows.test_rescue import watch_for

CHECKOUT = File(__file__).resolve().parents[2]
# What must have died before, so that a process comes to the step at all.
BEFORE = {
    "rescue.given_back": "admitted",
    "rescue.doubted": "calling",
    "look.taken": "answered",
    "look.found": "answered",
    "look.settled": "answered",
    "decision.written": "connected",
}


def everybody_is_dead() -> None:
    """All that were heard of are silent, and every lease and every wait is over."""
    past = database_now() - timedelta(hours=2)
    Worker.objects.update(heard_at=past)
    Attempt.objects.filter(status="created").update(lease_expires_at=past)
    Doubt.objects.filter(status="open").update(opened_at=F("opened_at") - timedelta(hours=2))
    Doubt.objects.filter(next_look_at__isnull=False).update(next_look_at=past)
    Job.objects.filter(run_after__isnull=False).update(run_after=None)
    watch_for(3600)


def converge() -> None:
    """What the processes that are left do, until there is nothing left to do."""
    for _ in range(6):
        everybody_is_dead()
        recovery.rescue()
        looks.look_up()
        workers.report("left", slots=100, now=database_now() + timedelta(days=1))
        dispatch.dispatch()
        for attempt in Attempt.objects.filter(status="created", fencing_token__isnull=True):
            execution.execute(attempt.pk, worker="left")
        if not Job.objects.filter(status__in=["queued", "running"]).exists():
            break
    everybody_is_dead()
    looks.look_up()


def die_at(step: str, processes: Doomed, api_key: UUID) -> int:
    """A process dies at a step, and another before where it would not come there otherwise; returns how many died."""
    before = BEFORE.get(step)
    if before is not None:
        assert processes.run(f"{before}=kill", api_key=api_key) == -9, before
        everybody_is_dead()
        if not step.startswith("rescue"):
            recovery.rescue()
    if step == "decision.written":
        Project.objects.update(doubt_policy="presume_spent", doubt_patience_hours=1)
        everybody_is_dead()
    assert processes.run(f"{step}=kill", api_key=api_key) == -9, step
    Project.objects.update(doubt_policy="hold")
    return 1 if before is None else 2


def prove(simulator) -> None:
    """Nothing is lost, nothing was sent twice, and the bill is what the books say, or is held."""
    lines = simulator.bill(lines=True)["lines"]
    ours = {str(pk) for pk in Attempt.objects.values_list("pk", flat=True)}
    bill = {line["client_request_id"]: Decimal(line["cost_usd"]) for line in lines if line["client_request_id"] in ours}
    assert len(bill) == sum(line["client_request_id"] in ours for line in lines), "an attempt was sent twice"
    spent = LedgerEntry.objects.aggregate(sum=Sum("spent_change_usd"))["sum"] or Decimal(0)
    in_doubt = set(Attempt.objects.filter(status="in_doubt").values_list("pk", flat=True))
    assert spent == sum((usd for pk, usd in bill.items() if pk not in set(map(str, in_doubt))), Decimal(0))
    assert spent == (Job.objects.aggregate(sum=Sum("total_usd"))["sum"] or Decimal(0))
    assert set(Reservation.objects.filter(status="open").values_list("reference", flat=True)) == in_doubt
    # What was called and never sent is not at the provider: it stays held, and says so.
    assert not {str(pk) for pk in in_doubt} & bill.keys()
    assert set(Job.objects.values_list("status", flat=True)) <= {"succeeded", "in_doubt"}


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_every_sum_is_the_same_wherever_a_process_died(alice, simulator, monkeypatch):
    monkeypatch.setattr(dispatch, "send", lambda attempt_ids: None)
    limiter.connection().flushdb()
    limiter.connection().set(limiter.BORN_KEY, "0.000")
    key = alice.api_key.api_key.pk
    with doomed(simulator) as processes:
        for step in STEPS:
            die_at(step, processes, key)
            converge()
            prove(simulator)
        assert processes.run("", api_key=key) == 0
    assert Job.objects.filter(status="in_doubt").count() == Doubt.objects.filter(status="open").count() > 0


# --- The points themselves --------------------------------------------------------------------------------------------
def test_every_step_is_reached_in_the_code_and_no_other():
    reached = set()
    for path in (CHECKOUT / "jobs").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "reach":
                reached.add(ast.literal_eval(node.args[0]))
    of_one_thing = {*BATCH_STEPS, *COMPARISON_STEPS, *PROVIDER_BATCH_STEPS, *LEARNING_STEPS}
    assert reached == {*STEPS, *BACKGROUND_STEPS} | of_one_thing


@pytest.fixture
def happened(monkeypatch) -> list[str]:
    told: list[str] = []
    monkeypatch.setattr(crash_points.time, "sleep", lambda seconds: told.append("pause"))
    monkeypatch.setattr(crash_points.os, "kill", lambda pid, number: told.append("kill"))
    crash_points.points.cache_clear()
    return told


def test_a_process_stops_or_dies_at_the_named_steps_alone(settings, happened):
    settings.CRASH_AT = "calling=pause, settled=kill@3"
    for step in ("claimed", "calling", "calling", "settled", "settled"):
        crash_points.reach(step)
    assert happened == ["pause"]
    crash_points.reach("settled")
    assert happened == ["pause", "kill"]
    settings.CRASH_AT = ""
    crash_points.reach("calling")
    assert len(happened) == 2


def test_a_process_may_die_by_chance(settings, happened):
    settings.CRASH_AT = "answered=kill%0.5,settled=kill%0"
    for _ in range(200):
        crash_points.reach("answered")
        crash_points.reach("settled")
    assert 50 < len(happened) < 150


@pytest.mark.parametrize("text", ["calling", "nowhere=kill", "calling=explode", "calling=kill@x", "calling=kill%2.5"])
def test_a_point_that_is_not_one_is_said_to_be_none(settings, text):
    settings.CRASH_AT = text
    with pytest.raises(ImproperlyConfigured, match="BURSAR_CRASH_AT"):
        crash_points.reach("calling")
