"""Doing a request once, however often it is sent: same key and request, same answer."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.db.models.functions import Now
from psycopg.errors import LockNotAvailable

from accounts.errors import IdempotencyKeyInFlight, IdempotencyKeyReused
from accounts.models import IdempotencyRecord, Project
from accounts.models.encrypted import encrypted

# How long a repetition waits for the first request to finish before it is told to come back.
WAIT_FOR_FIRST = "2s"


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered to a request: HTTP status, JSON body, and whether it is the answer of an earlier one.

    `kept` is what a repetition gets, where that is not the body itself: a secret is answered once and kept nowhere.
    """

    status: int
    body: Any
    is_replay: bool = False
    kept: Any = None


def fingerprint_of(method: str, path: str, body: bytes) -> str:
    """A hash of all that makes two requests the same."""
    return hashlib.sha256(b"\0".join((method.encode(), path.encode(), body))).hexdigest()


def run_once(project: Project, key: str | None, fingerprint: str, work: Callable[[], Answer]) -> Answer:
    """The answer of `work`, which is done at most once per key; without a key, every time and as it is.

    Record and work commit together, so a crash leaves neither; and work that raises leaves no record, so that a
    corrected request may use the same key. Raises IdempotencyKeyReused for another request under the key, and
    IdempotencyKeyInFlight when the first one does not finish soon.
    """
    if key is None:
        return work()
    with transaction.atomic():
        record_id = _claim(project, key, fingerprint)
        if record_id is None:
            return _earlier(project, key, fingerprint)
        answer = work()
        with connection.cursor() as cursor:
            kept = answer.body if answer.kept is None else answer.kept
            cursor.execute(_ANSWERED, [answer.status, _BODY.sealed(kept), record_id])
        return answer


def forget(project: Project, key: str) -> None:
    """Lets the key be used again: what was done under it was undone."""
    IdempotencyRecord.objects.filter(project=project, key=key).delete()


# One statement: the patience is set before the INSERT, which reads its row from there, and taken back after it.
_CLAIM = """
    WITH patience AS MATERIALIZED (
        SELECT current_setting('lock_timeout') AS before, set_config('lock_timeout', %s, true) AS during
    ), claimed AS (
        INSERT INTO jobs_idempotencyrecord (project_id, key, fingerprint, created_at)
        SELECT %s, %s, %s, now() FROM patience
        ON CONFLICT (project_id, key) DO NOTHING
        RETURNING id
    )
    SELECT max(id), set_config('lock_timeout', (SELECT before FROM patience), true) FROM claimed
"""
_ANSWERED = "UPDATE jobs_idempotencyrecord SET response_status = %s, response_body = %s WHERE id = %s"
_BODY = encrypted(IdempotencyRecord, "response_body")


def _claim(project: Project, key: str, fingerprint: str) -> int | None:
    """The id of the key's new record, which is ours; None where an earlier request has committed one.

    The INSERT waits for a rival that has inserted the same key and not yet committed.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute(_CLAIM, [WAIT_FOR_FIRST, project.pk, key, fingerprint])
            record_id: int | None = cursor.fetchone()[0]
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            raise IdempotencyKeyInFlight(param="Idempotency-Key") from error
        raise
    return record_id


def _earlier(project: Project, key: str, fingerprint: str) -> Answer:
    """What was answered to the request that has the key."""
    record = IdempotencyRecord.objects.get(project=project, key=key)
    if record.fingerprint != fingerprint:
        raise IdempotencyKeyReused(param="Idempotency-Key")
    assert record.response_status is not None, "the answer commits with the record"
    return Answer(record.response_status, record.response_body, is_replay=True)


def forget_old() -> int:
    """Deletes the records that are older than the time for which keys are kept; returns how many."""
    keep_for = timedelta(days=settings.IDEMPOTENCY_KEEP_DAYS)
    deleted, _ = IdempotencyRecord.objects.filter(created_at__lt=Now() - keep_for).delete()
    return deleted
