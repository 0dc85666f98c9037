"""Which worker processes there are, which of them have died, and how many calls they can hold together."""

from datetime import datetime, timedelta
from secrets import token_hex

from django.db import connection
from django.db.models import QuerySet, Sum

from accounts import wall
from jobs.models import Attempt, Worker
from jobs.states import ATTEMPT_IN_FLIGHT

# A worker says that it lives this often, and counts as gone when it was silent for several times as long: with a rescue
# every two seconds, what it had is taken care of within fifteen.
HEARTBEAT_SECONDS = 2.0
SILENCE_SECONDS = 11.0
# One whose node has started another process needs less: that one was heard, so this one could have been.
REPLACED_SECONDS = 5.0
# Every worker that says it lives listens for the others, and so does the rescue. After a longer break than this nobody
# is dead before workers have had time to be heard again: a database that is away keeps everybody silent. Shorter breaks
# are less than the silence, with a heartbeat lost before and after.
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


def listen(now: datetime) -> datetime:
    """Notes that workers could be heard at this instant; returns since when they could be, without a break."""
    with connection.cursor() as cursor:
        cursor.execute(_LISTEN, {"now": now, "break": BREAK_SECONDS})
        since: datetime = cursor.fetchone()[0]
    return since


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
    """The workers that nobody has heard of for long, though they could have been heard all that time.

    And those whose node has had another process since: where processes die one after the other, and the database with
    them, nobody listens for long without a break.
    """
    silent_since = now - timedelta(seconds=SILENCE_SECONDS)
    unheard = set(Worker.objects.filter(heard_at__lte=silent_since).values_list("name", flat=True))
    return sorted((unheard if listen(now) <= silent_since else set()) | _replaced(now))


def _replaced(now: datetime) -> set[str]:
    """The workers that were not heard again once another process of their node was.

    One that still finishes its calls beside its successor is heard all along.
    """
    started: dict[str, datetime] = {}
    rows = list(Worker.objects.values_list("name", "started_at", "heard_at"))
    for name, started_at, _ in rows:
        node = name.rpartition("#")[0]
        started[node] = max(started_at, started.get(node, started_at))
    latest = now - timedelta(seconds=REPLACED_SECONDS)
    return {
        name for name, _, heard_at in rows if (node := name.rpartition("#")[0]) and heard_at < started[node] <= latest
    }


def alive(now: datetime) -> "QuerySet[Worker]":
    """The workers that take calls: heard of a moment ago, and not told to stop."""
    return Worker.objects.filter(heard_at__gt=now - timedelta(seconds=SILENCE_SECONDS), is_stopping=False)


def calls_in_flight() -> int:
    """Calls that are under way or about to be: each takes one of those slots."""
    with wall.lowered():  # slots are everybody's, and so is their number
        return Attempt.objects.filter(status__in=ATTEMPT_IN_FLIGHT).count()


def slots(now: datetime) -> int:
    """Calls that the live workers hold at once, together."""
    return alive(now).aggregate(sum=Sum("slots"))["sum"] or 0
