"""The states of a job and of an attempt, and every legal step between them.

The constraints of the tables repeat the values.
"""

from django.db import models


class JobStatus(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    CANCELLED = "cancelled"
    IN_DOUBT = "in_doubt"


class AttemptStatus(models.TextChoices):
    CREATED = "created"
    CALLING = "calling"
    ACCEPTED = "accepted"
    BATCHED = "batched"
    ANSWERED = "answered"
    REJECTED = "rejected"
    ABANDONED = "abandoned"
    IN_DOUBT = "in_doubt"
    RESOLVED = "resolved"


class DoubtStatus(models.TextChoices):
    OPEN = "open"  # nobody knows yet; the hold stays
    FOUND = "found"  # the provider had the answer
    ANSWERED = "answered"  # its worker, given up before, came with the answer
    REFUSED = "refused"  # its worker, given up before, came with the provider's refusal
    PRESUMED_SPENT = "presumed_spent"  # settled at its bound, the job has failed
    RERUN = "rerun"  # settled at its bound, the job is queued again
    RELEASED = "released"  # a person knows that the provider did not bill it


JOB_TRANSITIONS: dict[JobStatus, set[JobStatus]] = {
    JobStatus.QUEUED: {
        JobStatus.RUNNING,  # the dispatcher claimed it and its hold was granted
        JobStatus.CANCELLED,  # its owner withdrew it before a call
        JobStatus.FAILED,  # its deadline passed in the queue, or its last attempt was used up
    },
    JobStatus.RUNNING: {
        JobStatus.SUCCEEDED,  # the provider finished the answer
        JobStatus.INCOMPLETE,  # the provider stopped at the cap or filtered; an empty paid answer is this
        JobStatus.FAILED,  # the provider refused for good
        JobStatus.CANCELLED,  # the provider stopped it for its owner, and said what it had used
        JobStatus.QUEUED,  # retry, or rescue of an attempt that had not begun its call
        JobStatus.IN_DOUBT,  # the call began and its outcome is not known
    },
    JobStatus.IN_DOUBT: {
        JobStatus.SUCCEEDED,  # the answer was found at the provider
        JobStatus.INCOMPLETE,  # the same, stopped at the cap
        JobStatus.FAILED,  # it was found to have failed, or was presumed spent
        JobStatus.CANCELLED,  # it was found to have been stopped for its owner
        JobStatus.QUEUED,  # it was found never to have run, or its owner accepts paying twice
    },
    JobStatus.SUCCEEDED: set(),
    JobStatus.INCOMPLETE: set(),
    JobStatus.FAILED: set(),
    JobStatus.CANCELLED: set(),
}

ATTEMPT_TRANSITIONS: dict[AttemptStatus, set[AttemptStatus]] = {
    AttemptStatus.CREATED: {
        AttemptStatus.CALLING,  # the call may start now; committed before the first byte is sent
        AttemptStatus.ABANDONED,  # its worker or message was lost, or its turn is too far away; nothing was sent
    },
    AttemptStatus.CALLING: {
        AttemptStatus.ACCEPTED,  # the provider works on it in the background, and its id there is known
        AttemptStatus.ANSWERED,  # an answer with usage came
        AttemptStatus.REJECTED,  # the provider refused, unbilled
        AttemptStatus.IN_DOUBT,  # connection or worker died, or the answer could not be read
    },
    AttemptStatus.ACCEPTED: {
        AttemptStatus.ANSWERED,  # it was found to have ended, with usage
        AttemptStatus.REJECTED,  # it was found to have failed, unbilled
        AttemptStatus.IN_DOUBT,  # the provider does not know it any more, or does not say what it used
    },
    # A line of a batch for the provider, held from the beginning; whether it is there is told by that batch alone.
    AttemptStatus.BATCHED: {
        AttemptStatus.ANSWERED,  # it stands in the provider's answers, with usage
        AttemptStatus.REJECTED,  # refused, or not run, unbilled
        AttemptStatus.ABANDONED,  # its batch was never sent
        AttemptStatus.IN_DOUBT,  # the provider does not say what became of it, or what it used
    },
    AttemptStatus.IN_DOUBT: {
        AttemptStatus.RESOLVED,  # looked up, presumed, or decided by a person
    },
    AttemptStatus.ANSWERED: set(),
    AttemptStatus.REJECTED: set(),
    AttemptStatus.ABANDONED: set(),
    AttemptStatus.RESOLVED: set(),
}

JOB_FINAL = frozenset(status for status, steps in JOB_TRANSITIONS.items() if not steps)
ATTEMPT_FINAL = frozenset(status for status, steps in ATTEMPT_TRANSITIONS.items() if not steps)
# Those that take a slot of a worker: what is accepted waits at the provider, and nobody for it.
ATTEMPT_IN_FLIGHT = frozenset({AttemptStatus.CREATED, AttemptStatus.CALLING})
