"""The clock of money is the database's: worker machines may disagree about the time, the book may not."""

from datetime import datetime, timedelta
from time import monotonic

from django.db import connection

from accounts.remembered import remembered


def database_now() -> datetime:
    """The instant at which the database's current transaction began; outside one, the present instant."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        now: datetime = cursor.fetchone()[0]
    return now


def nearly_now() -> datetime:
    """The present instant by the database's clock, asked once a second and counted on from there.

    Late by a round trip and never ahead; for what is no money: deadlines at the door, the day whose terms apply.
    """
    instant, read_at = _reading()
    return instant + (_since_start() - read_at)


@remembered()
def _reading() -> tuple[datetime, timedelta]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        instant: datetime = cursor.fetchone()[0]
    return instant, _since_start()


def _since_start() -> timedelta:
    """By this machine's clock that nobody sets."""
    return timedelta(seconds=monotonic())
