"""The states of a comparison and of its runs, and every legal step between those of a comparison."""

from django.db import models


class ComparisonStatus(models.TextChoices):
    RUNNING = "running"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class RunStatus(models.TextChoices):
    WAITING = "waiting"  # no job yet
    FED = "fed"  # its job is on its way
    ENDED = "ended"  # its job says how
    NOT_RUN = "not_run"  # it never got a job; the reason says why


class NotRun(models.TextChoices):
    """Why a run never became a job."""

    CEILING = "ceiling_reached"
    CANCELLED = "cancelled"
    KEY_OVER = "invalid_api_key"
    REFUSED = "refused"  # as a submission of it was; its error says in which words


COMPARISON_TRANSITIONS: dict[ComparisonStatus, set[ComparisonStatus]] = {
    ComparisonStatus.RUNNING: {
        ComparisonStatus.COMPLETED,  # every run has ended, or is known not to be run
        ComparisonStatus.CANCELLING,
    },
    ComparisonStatus.CANCELLING: {
        ComparisonStatus.CANCELLED,  # what ran has ended
    },
    ComparisonStatus.COMPLETED: set(),
    ComparisonStatus.CANCELLED: set(),
}
COMPARISON_FINAL = frozenset(status for status, steps in COMPARISON_TRANSITIONS.items() if not steps)
COMPARISON_ACTIVE = frozenset(COMPARISON_TRANSITIONS) - COMPARISON_FINAL
