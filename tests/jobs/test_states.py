from uuid import uuid4

import pytest

from jobs.states import ATTEMPT_FINAL, ATTEMPT_TRANSITIONS, JOB_FINAL, JOB_TRANSITIONS, AttemptStatus, JobStatus
from jobs.transitions import IllegalTransition, move_attempt, move_job

JOB_PAIRS = [(a, b) for a in JobStatus for b in JobStatus]
ATTEMPT_PAIRS = [(a, b) for a in AttemptStatus for b in AttemptStatus]


def test_every_status_stands_in_the_table():
    assert set(JOB_TRANSITIONS) == set(JobStatus)
    assert set(ATTEMPT_TRANSITIONS) == set(AttemptStatus)
    assert {"succeeded", "incomplete", "failed", "cancelled"} == JOB_FINAL
    assert {"answered", "rejected", "abandoned", "resolved"} == ATTEMPT_FINAL


@pytest.mark.django_db
@pytest.mark.parametrize(("source", "target"), JOB_PAIRS)
def test_a_job_takes_the_legal_steps_and_no_other(source, target):
    if target in JOB_TRANSITIONS[source]:
        assert move_job(uuid4(), to=target, come_from=[source]) is False  # legal; there is just no such job
    else:
        with pytest.raises(IllegalTransition):
            move_job(uuid4(), to=target, come_from=[source])


@pytest.mark.django_db
@pytest.mark.parametrize(("source", "target"), ATTEMPT_PAIRS)
def test_an_attempt_takes_the_legal_steps_and_no_other(source, target):
    if target in ATTEMPT_TRANSITIONS[source]:
        assert move_attempt(uuid4(), to=target, come_from=source) is False
    else:
        with pytest.raises(IllegalTransition):
            move_attempt(uuid4(), to=target, come_from=source)
