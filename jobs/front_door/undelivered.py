"""Answers whose client has gone, and the same request sent again: it gets the job that there is, and pays for no other.

Official clients send a request again by themselves when the connection ends, with the number of the try in a header.
Such a retry takes over an answer that nobody waits for any more. Of several requests that are the same, each has a job
of its own, and each retry takes one: a row names the connection that waits for it, and changes it by compare-and-set.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic, sleep
from uuid import UUID, uuid4

from django.db import connection

from accounts.models import ApiKey
from billing.clock import database_now
from jobs.front_door.turns import turn
from jobs.models import Undelivered

# So often does a web process say which connections still wait in it, and after so long without a word none does: it
# was killed.
SAY_SECONDS = 3.0
SILENT_SECONDS = 10
# A connection that ended is noticed within this; what waits longer than that after a retry came is another's.
NOTICED_SECONDS = 2
# Nobody comes for an answer after this.
KEPT_SECONDS = 3600
_LOOK_SECONDS = 0.25

_TAKE = """
    UPDATE jobs_undelivered SET waiter = %s, waiter_seen_at = clock_timestamp()
    WHERE job_id = (
        SELECT job_id FROM jobs_undelivered
        WHERE api_key_id = %s AND fingerprint = %s AND created_at > now() - make_interval(secs => %s)
            AND (waiter IS NULL OR waiter_seen_at < clock_timestamp() - make_interval(secs => %s))
        ORDER BY created_at, job_id LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    RETURNING job_id
"""
# Those of which it is not known yet whether their connections live.
_UNSEEN = """
    SELECT count(*) FROM jobs_undelivered
    WHERE api_key_id = %s AND fingerprint = %s AND created_at > now() - make_interval(secs => %s)
        AND (waiter IS NULL OR waiter_seen_at < %s)
"""
_SAY = "UPDATE jobs_undelivered SET waiter_seen_at = clock_timestamp() WHERE waiter = ANY(%s::uuid[])"


@dataclass(frozen=True, slots=True)
class Claim:
    """That this connection, and no other, is owed the answer of a job."""

    job_id: UUID
    waiter: UUID = field(default_factory=uuid4)

    def delivered(self) -> None:
        """The answer has arrived: nobody is to get it again."""
        Undelivered.objects.filter(job_id=self.job_id, waiter=self.waiter).delete()

    def given_up(self) -> None:
        """The connection has ended; the same request, sent again, gets the answer."""
        Undelivered.objects.filter(job_id=self.job_id, waiter=self.waiter).update(waiter=None)


def owe(job_id: UUID, api_key: ApiKey, fingerprint: str) -> Claim:
    """Notes, in the transaction that makes the job, that its answer is owed to this connection."""
    claim, now = Claim(job_id), database_now()
    Undelivered.objects.create(
        job_id=job_id,
        api_key=api_key,
        fingerprint=fingerprint,
        waiter=claim.waiter,
        waiter_seen_at=now,
        created_at=now,
    )
    return claim


def take_over(api_key: ApiKey, fingerprint: str, is_gone: Callable[[], bool]) -> Claim | None:
    """The answer of the same request that nobody waits for; None where there is none.

    Where others wait for answers to the same request, one of them may be the connection that the retry replaces, not
    yet noticed to have ended: this waits until that is known, and holds no connection to the database meanwhile.
    """
    give_up_at = monotonic() + SILENT_SECONDS + SAY_SECONDS
    with turn():
        seen_since = database_now() + timedelta(seconds=NOTICED_SECONDS)
        claim, is_known = _take(api_key, fingerprint), _is_known(api_key, fingerprint, seen_since)
    # A retry that has itself been given up meanwhile takes nothing: it would look alive to the next.
    while claim is None and not is_known and monotonic() < give_up_at:
        sleep(_LOOK_SECONDS)
        if is_gone():
            break
        with turn():
            claim, is_known = _take(api_key, fingerprint), _is_known(api_key, fingerprint, seen_since)
    return claim


def say_that_they_wait(waiters: Iterable[UUID]) -> None:
    """Notes that these connections are alive."""
    with connection.cursor() as cursor:
        cursor.execute(_SAY, [list(waiters)])


def is_waited_for(owed: Undelivered, now: datetime) -> bool:
    """Whether a connection waits for an answer, as far as its web process has said so lately."""
    return owed.waiter is not None and owed.waiter_seen_at > now - timedelta(seconds=SILENT_SECONDS)


def forget_old() -> int:
    """Deletes what nobody has come for; returns how many that were."""
    return Undelivered.objects.filter(created_at__lt=database_now() - timedelta(seconds=KEPT_SECONDS)).delete()[0]


def _take(api_key: ApiKey, fingerprint: str) -> Claim | None:
    waiter = uuid4()
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, [waiter, api_key.pk, fingerprint, KEPT_SECONDS, SILENT_SECONDS])
        row = cursor.fetchone()
    return Claim(row[0], waiter) if row else None


def _is_known(api_key: ApiKey, fingerprint: str, seen_since: datetime) -> bool:
    """Whether every connection that waits for the same was seen to live since an instant."""
    with connection.cursor() as cursor:
        cursor.execute(_UNSEEN, [api_key.pk, fingerprint, KEPT_SECONDS, seen_since])
        return bool(cursor.fetchone()[0] == 0)
