"""Which worker processes there are, which of them have died, and how many calls they can hold together."""

from datetime import datetime, timedelta
from secrets import token_hex

from django.db import connection
from django.db.models import QuerySet, Sum

from jobs.models import Attempt, Worker
from jobs.states import ATTEMPT_IN_FLIGHT

# A worker says that it lives this often, and counts as gone when it was silent for several times as long: with a rescue
# every two seconds, what it had is taken care of within fifteen.
HEARTBEAT_SECONDS = 2.0
SILENCE_SECONDS = 11.0
# Whoever listens for them comes as often. After a longer break than this nobody is dead before workers have had time to
# be heard again: a database that is away keeps everybody silent. Shorter breaks are less than the silence, with a
# heartbeat lost before and after.
BREAK_SECONDS = 5.0

_LISTEN = """
    INSERT INTO jobs_watch (id, since, seen_at) VALUES (1, %(now)s, %(now)s)
    ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, since = CASE
        WHEN jobs_watch.seen_at < excluded.seen_at - make_interval(secs => %(break)s) THEN excluded.since
        ELSE jobs_watch.since END
    RETURNING since
"""


def process_name(node: str) -> str:
    """A name for this one process of a Celery node: started again, the node has another."""
    return f"{node[:90]}#{token_hex(4)}"


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


def dead(now: datetime) -> list[str]:
    """The workers that nobody has heard of for long, though they could have been heard all that time."""
    with connection.cursor() as cursor:
        cursor.execute(_LISTEN, {"now": now, "break": BREAK_SECONDS})
        (since,) = cursor.fetchone()
    silent_since = now - timedelta(seconds=SILENCE_SECONDS)
    if since > silent_since:
        return []
    return list(Worker.objects.filter(heard_at__lte=silent_since).values_list("name", flat=True))


def alive(now: datetime) -> "QuerySet[Worker]":
    """The workers that take calls: heard of a moment ago, and not told to stop."""
    return Worker.objects.filter(heard_at__gt=now - timedelta(seconds=SILENCE_SECONDS), is_stopping=False)


def calls_in_flight() -> int:
    """Calls that are under way or about to be: each takes one of those slots."""
    return Attempt.objects.filter(status__in=ATTEMPT_IN_FLIGHT).count()


def slots(now: datetime) -> int:
    """Calls that the live workers hold at once, together."""
    return alive(now).aggregate(sum=Sum("slots"))["sum"] or 0
