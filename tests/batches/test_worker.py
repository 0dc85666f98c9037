"""Batches are worked on by a worker process of their own, and by none that dispatches."""

import pytest
from celery import current_app

from config import alive
from config.tasks import hear_beat
from jobs import limiter
from jobs.models import Batch, Job
from jobs.tasks import work_on_batches
from tests.batches.conftest import file_of, request
from tests.flows.processes import eventually, worker

pytestmark = [pytest.mark.django_db(transaction=True, serialized_rollback=True), pytest.mark.timeout(300)]


def test_a_message_of_the_beat_takes_batches_further_in_the_worker_of_batches_alone(batches):
    batches.create(file_of(request("a"), request("b")))
    limiter.connection().delete(f"bursar:alive:{alive.Part.BATCHES}")
    with worker("control", batches.path.simulator):
        current_app.send_task(work_on_batches.name)
        current_app.send_task(hear_beat.name)
        eventually(lambda: alive.heard()[alive.Part.BEAT])
        assert Batch.objects.get().status == "validating"
    with worker("batches", batches.path.simulator):
        eventually(lambda: Job.objects.count() == 2)
        eventually(lambda: alive.heard()[alive.Part.BATCHES])
