"""A worker that is killed in the middle of any step loses no line and doubles none."""

import json
import os
import subprocess
import sys
from decimal import Decimal

import pytest
from django.db import transaction
from django.db.models import Sum

from accounts.encryption import unseal
from billing.models import LedgerEntry
from jobs.batches import ending, feeding, harvesting, steps, validating
from jobs.models import Batch, BatchLine, File, FileChunk, Job
from tests.batches.conftest import file_of, pk_of, request
from tests.flows.processes import CHECKOUT, environment

OTHER_PROCESSES = pytest.mark.django_db(transaction=True, serialized_rollback=True)
pytestmark = pytest.mark.timeout(300)  # starting processes takes long on a busy machine


class Killed(BaseException):
    """Stands for the end of the process: nobody catches it, and the transaction goes with it."""


def small_steps(monkeypatch) -> None:
    """So that a few lines make many steps of every kind."""
    monkeypatch.setattr(validating, "LINES_AT_ONCE", 3)
    monkeypatch.setattr(feeding, "LINES_AT_ONCE", 4)
    monkeypatch.setattr(feeding, "QUEUED_AHEAD", 6)
    monkeypatch.setattr(harvesting, "LINES_AT_ONCE", 3)
    monkeypatch.setattr(ending, "LINES_AT_ONCE", 2)
    monkeypatch.setattr(ending, "STEP_LINES", 4)


def rows() -> tuple:
    """All that a step writes."""
    return (
        list(Batch.objects.values()),
        list(BatchLine.objects.order_by("pk").values()),
        list(File.objects.order_by("pk").values()),
        [
            (chunk.file_id, chunk.position, unseal("jobs_filechunk.data", chunk.data))
            for chunk in FileChunk.objects.order_by("pk")
        ],
        list(Job.objects.order_by("pk").values("pk", "status")),
    )


def test_a_step_that_is_killed_before_its_commit_leaves_everything_as_it_was(batches, monkeypatch, simulator):
    small_steps(monkeypatch)
    names = [f"line {number}" for number in range(17)]
    data = file_of(*(request(name) for name in names))
    batch = batches.create(data)
    kills = 0

    def killed(step: str) -> None:
        raise Killed

    while Batch.objects.get().status not in {"completed", "failed"}:
        before = rows()
        with monkeypatch.context() as patch:
            patch.setattr(steps, "reach", killed)
            with pytest.raises(Killed):
                steps.step(pk_of(batch))
        assert rows() == before
        kills += 1
        assert kills < 300
        if not steps.step(pk_of(batch)):
            batches.path.run()
    done = batches.client.batches.retrieve(batch.id)
    assert done.request_counts.completed == 17
    assert [line["custom_id"] for line in batches.lines(done.output_file_id)] == names
    assert simulator.counters()["billed"] == 17
    spent = LedgerEntry.objects.aggregate(spent=Sum("spent_change_usd"))["spent"]
    assert Decimal(done.to_dict()["cost"]["total_usd"]) == spent
    assert kills > 15


@OTHER_PROCESSES
def test_two_workers_never_step_one_batch_at_once(batches):
    batch = batches.create(file_of(request("a")))
    script = "import sys, django; django.setup(); from jobs.batches import steps; print(steps.step(sys.argv[1]))"
    with transaction.atomic():
        Batch.objects.select_for_update().get(pk=pk_of(batch))
        done = subprocess.run(
            [sys.executable, "-c", script, str(pk_of(batch))],
            cwd=CHECKOUT,
            env=environment(batches.path.simulator, DJANGO_SETTINGS_MODULE="config.settings"),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    assert done.stdout.strip() == "False"
    assert Batch.objects.get().read_lines == 0


@OTHER_PROCESSES
def test_a_process_that_is_killed_again_and_again_finishes_the_batch_all_the_same(batches, simulator):
    """SIGKILL before each commit by turns; what the processes did not get to, the next one does."""
    names = [f"line {number}" for number in range(40)]
    batch = batches.create(file_of(*(request(name) for name in names)))
    script = "import django; django.setup(); from jobs.batches import steps; steps.work(5)"
    deaths = 0
    for turn in range(4):
        crash = f"batch.stepped=kill@{turn % 3 + 1}"
        env = environment(simulator, DJANGO_SETTINGS_MODULE="config.settings", BURSAR_CRASH_AT=crash)
        process = subprocess.run([sys.executable, "-c", script], cwd=CHECKOUT, env=env, timeout=60, check=False)
        deaths += process.returncode == -9
        batches.path.run()
    assert deaths >= 2, os.environ.get("BURSAR_CRASH_AT")
    batches.work()
    done = batches.client.batches.retrieve(batch.id)
    lines = batches.lines(done.output_file_id)
    assert (done.status, [line["custom_id"] for line in lines]) == ("completed", names)
    assert simulator.counters()["billed"] == 40
    assert json.dumps(done.to_dict()["cost"])
