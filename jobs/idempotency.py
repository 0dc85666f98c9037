"""Doing a request once, however often it is sent: same key and request, same answer."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import OperationalError, connection, transaction
from psycopg.errors import LockNotAvailable

from accounts.models import Project
from billing.clock import database_now
from jobs.errors import IdempotencyKeyInFlight, IdempotencyKeyReused
from jobs.models import IdempotencyRecord

# How long a repetition waits for the first request to finish before it is told to come back.
WAIT_FOR_FIRST = "2s"


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered to a request: HTTP status, JSON body, and whether it is the answer of an earlier one."""

    status: int
    body: Any
    is_replay: bool = False


def fingerprint_of(method: str, path: str, body: bytes) -> str:
    """A hash of all that makes two requests the same."""
    return hashlib.sha256(b"\0".join((method.encode(), path.encode(), body))).hexdigest()


def run_once(project: Project, key: str | None, fingerprint: str, work: Callable[[], Answer]) -> Answer:
    """The answer of `work`, which is done at most once per key; without a key, every time.

    Record and work commit together, so a crash leaves neither; and work that raises leaves no record, so that a
    corrected request may use the same key. Raises IdempotencyKeyReused for another request under the key, and
    IdempotencyKeyInFlight when the first one does not finish soon.
    """
    with transaction.atomic():
        if key is None:
            return work()
        record = _claim(project, key, fingerprint)
        if record.response_status is not None:
            if record.fingerprint != fingerprint:
                raise IdempotencyKeyReused(param="Idempotency-Key")
            return Answer(record.response_status, record.response_body, is_replay=True)
        answer = work()
        record.response_status, record.response_body = answer.status, answer.body
        record.save(update_fields=["response_status", "response_body"])
        return answer


def _claim(project: Project, key: str, fingerprint: str) -> IdempotencyRecord:
    """The record of the key: ours and empty, or the committed one of an earlier request.

    The INSERT waits for a rival that has inserted the same key and not yet committed.
    """
    table = IdempotencyRecord._meta.db_table
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{WAIT_FOR_FIRST}'")
            cursor.execute(
                f"INSERT INTO {table} (project_id, key, fingerprint, created_at) VALUES (%s, %s, %s, now()) "  # noqa: S608
                "ON CONFLICT (project_id, key) DO NOTHING",
                [project.pk, key, fingerprint],
            )
            cursor.execute("SET LOCAL lock_timeout = DEFAULT")
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            raise IdempotencyKeyInFlight(param="Idempotency-Key") from error
        raise
    return IdempotencyRecord.objects.get(project=project, key=key)


def forget_old() -> int:
    """Deletes the records that are older than the time for which keys are kept; returns how many."""
    keep_from = database_now() - timedelta(days=settings.IDEMPOTENCY_KEEP_DAYS)
    deleted, _ = IdempotencyRecord.objects.filter(created_at__lt=keep_from).delete()
    return deleted
