"""Which answers were refused: the model declined, or a filter cut them off, and they were paid for."""

from typing import Any

import pytest
from django.utils import timezone

from billing.pricing import Tokens
from jobs.execution import booking
from jobs.models import Attempt, Job
from jobs.provider import Answer
from jobs.states import AttemptStatus, JobStatus
from tests.waste.conftest import Month


def answer(message: dict[str, Any], finish_reason: str = "stop", output: int = 100) -> Answer:
    return Answer("", "", "o1-preview-2024-09-12", message, finish_reason, {}, Tokens(10, 0, output, 0))


@pytest.mark.parametrize(
    ("given", "is_refused"),
    [
        (answer({"content": "Here it is"}), False),
        (answer({"content": None, "refusal": "I cannot help with that."}), True),
        (answer({"content": "Here"}, "content_filter"), True),
        (answer({"content": "Here"}, "length"), False),
        (answer({"refusal": "No."}, output=0), False),
    ],
)
def test_what_was_refused(given: Answer, is_refused: bool):
    assert given.is_refused is is_refused


@pytest.mark.django_db
@pytest.mark.parametrize("refusal", ["I cannot help with that.", None])
def test_it_is_booked_with_the_answer(month: Month, refusal: str | None):
    job = month.job(status=JobStatus.RUNNING, finished_at=None, read_at=None)
    month.pay(job)
    Attempt.objects.update(status=AttemptStatus.CALLING, finished_at=None)
    attempt = Attempt.objects.get()

    class Call:
        attempt_id, token, job_id = attempt.pk, attempt.pk, job.pk

    records = [type("Record", (), dict.fromkeys(COSTS, 0))()]
    booking._finish_jobs([(Call(), answer({"content": None if refusal else "Here", "refusal": refusal}))], records)
    job = Job.objects.get()
    assert (job.status, job.is_refused, job.read_at) == (JobStatus.SUCCEEDED, refusal is not None, None)
    assert job.finished_at <= timezone.now()


COSTS = ("input_usd", "cached_input_usd", "output_usd", "reasoning_usd", "total_usd")
