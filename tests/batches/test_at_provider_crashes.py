"""Processes that die, and answers that are lost, with lines at the provider: nothing is paid twice or forgotten."""

import subprocess
import sys
from datetime import timedelta
from uuid import uuid4

import openai
import pytest
from django.db.models import F

from jobs.batches import steps
from jobs.batches.at_provider import looking, sending, settling
from jobs.batches.at_provider.moving import move
from jobs.batches.at_provider.wire import Wire
from jobs.batches.states import PROVIDER_BATCH_TRANSITIONS, ProviderBatchStatus
from jobs.crash_points import PROVIDER_BATCH_STEPS
from jobs.models import Attempt, Batch, Job, ProviderBatch
from jobs.transitions import IllegalTransition
from tests.batches.at_provider import billed, cost_of, held, in_both_files, lines, names, spent
from tests.batches.conftest import AtProvider
from tests.flows.conftest import LONG_AGO
from tests.flows.processes import CHECKOUT, environment

OTHER_PROCESSES = pytest.mark.django_db(transaction=True, serialized_rollback=True)
pytestmark = pytest.mark.timeout(300)  # making the database takes long on a busy machine
SCRIPT = """
import time
import django

django.setup()
from datetime import UTC, datetime
from jobs.batches import steps
from jobs.batches.at_provider import looking
from jobs.models import ProviderBatch

give_up_at = time.monotonic() + 20
while time.monotonic() < give_up_at:
    steps.work(2)
    ProviderBatch.objects.exclude(status="closed").update(look_at=datetime(2024, 9, 12, tzinfo=UTC))
    looking.work(2)
    if not ProviderBatch.objects.exclude(status="closed").exists():
        break
    time.sleep(0.05)
"""


def long_enough_for_it_to_be_there() -> None:
    """What was asked for and not answered was asked for eleven minutes ago."""
    ProviderBatch.objects.filter(creating_at__isnull=False).update(creating_at=F("creating_at") - timedelta(minutes=11))


def must_be_whole(there: AtProvider, batch, simulator, count: int) -> None:
    done = there.batches.client.batches.retrieve(batch.id)
    assert (done.status, done.request_counts.completed) == ("completed", count)
    assert sorted(in_both_files(there.batches, done)) == sorted(names(count))
    assert len(billed(simulator)) == count
    assert spent() == cost_of(simulator) > 0
    assert held() == 0
    assert set(ProviderBatch.objects.values_list("status", flat=True)) == {"closed"}


@OTHER_PROCESSES
@pytest.mark.parametrize("point", PROVIDER_BATCH_STEPS)
def test_a_process_that_dies_at_any_point_neither_doubles_nor_loses_a_line(there, simulator, point):
    if point == "at_provider.returned":
        simulator.fault("batch_invalid")
    batch = there.batches.validate(lines(6))
    env = environment(simulator, DJANGO_SETTINGS_MODULE="config.settings", BURSAR_CRASH_AT=f"{point}=kill")
    died = subprocess.run([sys.executable, "-c", SCRIPT], cwd=CHECKOUT, env=env, timeout=90, check=False)
    assert died.returncode == -9
    long_enough_for_it_to_be_there()
    there.work()
    must_be_whole(there, batch, simulator, 6)


def test_a_batch_whose_answer_was_lost_is_found_and_not_made_again(there, simulator):
    simulator.fault("batch_create_lost")
    batch = there.batches.validate(lines(3))
    steps.work(20)
    there.look()
    row = ProviderBatch.objects.get()
    assert (row.status, row.provider_id, row.creating_at is not None) == ("sending", "", True)
    assert held() > 0  # in doubt until it is found
    there.work()
    must_be_whole(there, batch, simulator, 3)
    assert len(list(there_list(simulator))) == 1


def test_a_batch_that_was_never_made_is_asked_for_again_only_after_it_was_looked_for_long_enough(there, simulator):
    simulator.fault("batch_create_cut")
    batch = there.batches.validate(lines(3))
    steps.work(20)
    for _ in range(5):
        there.look()
    assert ProviderBatch.objects.get().status == "sending"
    assert there_list(simulator) == []
    assert held() > 0
    long_enough_for_it_to_be_there()
    there.work()
    must_be_whole(there, batch, simulator, 3)
    assert len(there_list(simulator)) == 1


def test_a_batch_that_may_be_in_another_account_is_never_asked_for_again(there, simulator, settings):
    simulator.fault("batch_create_lost")
    there.batches.validate(lines(3))
    steps.work(20)
    there.look()
    settings.OPENAI_ORG_ID = "org-another"
    long_enough_for_it_to_be_there()
    there.look()
    there.look()
    assert set(Attempt.objects.values_list("status", "error_code")) == {("in_doubt", "account_changed")}
    assert held() > 0


def there_list(simulator) -> list:
    """The batches of ours at the provider."""
    ours = {str(pk) for pk in ProviderBatch.objects.values_list("pk", flat=True)}
    with openai.OpenAI(api_key="sk-simulator", base_url=simulator.base_url, max_retries=0) as client:
        return [one for one in client.batches.list() if (one.metadata or {}).get("bursar_provider_batch") in ours]


def test_a_batch_that_was_cancelled_while_it_may_be_there_is_found_and_stopped(there, simulator):
    simulator.set_batches(runs=1)
    simulator.fault("batch_create_lost")
    batch = there.batches.validate(lines(4))
    steps.work(20)
    there.look()
    there.batches.client.batches.cancel(batch.id)
    there.work()
    done = there.batches.client.batches.retrieve(batch.id)
    counts = done.to_dict()["request_counts"]
    assert (done.status, counts["completed"] + counts["cancelled"]) == ("cancelled", 4)
    assert len(billed(simulator)) == counts["completed"]
    assert spent() == cost_of(simulator)
    assert held() == 0


def test_two_that_would_send_the_same_batch_make_one(there, simulator):
    there.batches.validate(lines(2))
    steps.work(20)
    row = ProviderBatch.objects.get()

    class Counted:
        made, account = 0, "tests"

        def create(self, sent):
            Counted.made += 1
            return f"batch_{Counted.made}"

    first, second = ProviderBatch.objects.get(), ProviderBatch.objects.get()
    first.input_file = second.input_file = "file-1"
    sending.send(first, Counted())
    sending.send(second, Counted())
    assert Counted.made == 1
    row.refresh_from_db()
    assert (row.status, row.provider_id) == ("running", "batch_1")


def test_a_line_that_is_named_twice_is_booked_once(there, simulator, monkeypatch):
    batch = there.held_and_sent(lines(4))
    once = Wire.content
    monkeypatch.setattr(Wire, "content", lambda wire, file_id: [b"".join(once(wire, file_id)) * 2])
    there.work()
    must_be_whole(there, batch, simulator, 4)
    assert ProviderBatch.objects.get().answered == 4


def test_what_names_no_line_of_the_batch_is_left_alone(there, simulator, monkeypatch):
    beside = there.batches.path.submit()
    (attempt,) = there.batches.path.dispatch()
    batch = there.held_and_sent(lines(2))
    once = Wire.content
    strange = b'{"custom_id": "%s", "response": {"status_code": 200, "body": {}}}\n[]\nno json\n{"custom_id": 1}\n'
    beside_it = strange % str(attempt.pk).encode()
    monkeypatch.setattr(Wire, "content", lambda wire, file_id: [beside_it, *once(wire, file_id)])
    for _ in range(50):
        there.look()
        steps.work(20)
        if Batch.objects.get().status == "completed":
            break
    assert Batch.objects.get().completed == 2
    attempt.refresh_from_db()
    assert attempt.status == "created"
    assert Job.objects.get(pk=beside.pk).status == "running"
    assert batch.id


def test_a_batch_that_the_provider_does_not_know_any_more_leaves_its_lines_in_doubt(there, simulator):
    there.held_and_sent(lines(3))
    ProviderBatch.objects.update(provider_id="batch_gone", accepted_at=LONG_AGO)
    there.look()
    assert set(Job.objects.values_list("status", flat=True)) == {"in_doubt"}
    assert set(Attempt.objects.values_list("error_code", flat=True)) == {"batch_unknown"}
    assert held() > 0
    assert ProviderBatch.objects.get().status == "closed"


def test_answers_that_the_provider_has_deleted_leave_their_lines_in_doubt(there, simulator):
    there.held_and_sent(lines(3))
    ProviderBatch.objects.update(status="ended", output_file="file-gone", provider_status="completed", told_completed=3)
    there.look()
    assert set(Job.objects.values_list("status", flat=True)) == {"in_doubt"}
    assert set(Attempt.objects.values_list("error_code", flat=True)) == {"files_gone"}


def test_lines_are_settled_a_few_at_a_time(there, simulator, monkeypatch):
    monkeypatch.setattr(settling, "LINES_AT_ONCE", 3)
    booked = []
    once = settling.settle_all
    monkeypatch.setattr(settling, "settle_all", lambda answers: booked.append(len(answers)) or once(answers))
    batch = there.batches.create(lines(10))
    there.work()
    assert booked == [3, 3, 3, 1]
    must_be_whole(there, batch, simulator, 10)


PAIRS = [(source, to) for source in ProviderBatchStatus for to in ProviderBatchStatus]


@pytest.mark.django_db
@pytest.mark.parametrize(("source", "to"), PAIRS)
def test_a_batch_there_takes_the_legal_steps_and_no_other(source, to):
    if to in PROVIDER_BATCH_TRANSITIONS[source]:
        assert move(uuid4(), to=to, come_from=source) is False
    else:
        with pytest.raises(IllegalTransition):
            move(uuid4(), to=to, come_from=source)


def test_a_provider_that_is_away_is_asked_again(there, simulator, settings):
    batch = there.batches.validate(lines(2))
    steps.work(20)
    there_is, settings.OPENAI_BASE_URL = settings.OPENAI_BASE_URL, "http://127.0.0.1:9/v1"
    there.look()
    row = ProviderBatch.objects.get()
    assert (row.status, row.creating_at) == ("sending", None)
    settings.OPENAI_BASE_URL = there_is
    there.work()
    must_be_whole(there, batch, simulator, 2)
    assert looking.work(0.1) == 0
