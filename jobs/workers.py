"""Which worker processes there are, and how many calls they can hold together."""

from datetime import datetime, timedelta

from django.db.models import QuerySet, Sum

from jobs.models import Attempt, Worker
from jobs.states import ATTEMPT_IN_FLIGHT

# A worker says that it lives this often, and counts as gone when it was silent for several times as long.
HEARTBEAT_SECONDS = 3.0
SILENCE_SECONDS = 15.0


def report(name: str, *, slots: int, now: datetime, is_stopping: bool = False) -> None:
    """Notes that a worker lives. One that stops counts for no slot any more."""
    Worker.objects.update_or_create(
        name=name,
        defaults={"slots": slots, "heard_at": now, "is_stopping": is_stopping},
        create_defaults={"slots": slots, "heard_at": now, "is_stopping": is_stopping, "started_at": now},
    )


def forget(name: str) -> None:
    """A worker has ended."""
    Worker.objects.filter(name=name).delete()


def forget_silent(now: datetime) -> int:
    """Forgets the workers that have been silent for a day; returns how many."""
    deleted, _ = Worker.objects.filter(heard_at__lte=now - timedelta(days=1)).delete()
    return deleted


def alive(now: datetime) -> "QuerySet[Worker]":
    """The workers that take calls: heard of a moment ago, and not told to stop."""
    return Worker.objects.filter(heard_at__gt=now - timedelta(seconds=SILENCE_SECONDS), is_stopping=False)


def calls_in_flight() -> int:
    """Calls that are under way or about to be: each takes one of those slots."""
    return Attempt.objects.filter(status__in=ATTEMPT_IN_FLIGHT).count()


def slots(now: datetime) -> int:
    """Calls that the live workers hold at once, together."""
    return alive(now).aggregate(sum=Sum("slots"))["sum"] or 0
