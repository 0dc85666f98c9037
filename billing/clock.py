"""The clock of money is the database's: worker machines may disagree about the time, the book may not."""

from datetime import datetime

from django.db import connection


def database_now() -> datetime:
    """The instant at which the database's current transaction began; outside one, the present instant."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        now: datetime = cursor.fetchone()[0]
    return now
