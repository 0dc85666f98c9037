"""The id of a call that the provider works on is stored: from then on its worker may die."""

import logging
from collections.abc import Sequence
from uuid import UUID

from django.db import connection

from billing.arrays import columns
from jobs.responses import Accepted
from jobs.states import AttemptStatus
from jobs.transitions import require_legal_attempt

logger = logging.getLogger(__name__)

# Nothing is looked at sooner than so long after it was accepted.
FIRST_LOOK_SECONDS = 1.0
# One that was put in doubt meanwhile stays so, and is looked at all the same: its id is the end of the doubt.
_ACCEPTED = f"""
    UPDATE jobs_attempt AS attempt
    SET status = CASE attempt.status WHEN '{AttemptStatus.CALLING}' THEN '{AttemptStatus.ACCEPTED}'
            ELSE attempt.status END,
        http_status = 200, provider_request_id = new.request_id, provider_response_id = new.response_id,
        look_at = now() + make_interval(secs => {FIRST_LOOK_SECONDS})
    FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::text[]) AS new (id, token, request_id, response_id)
    WHERE attempt.id = new.id AND attempt.fencing_token = new.token AND attempt.provider_response_id = ''
        AND attempt.status IN ('{AttemptStatus.CALLING}', '{AttemptStatus.IN_DOUBT}')
    RETURNING attempt.id
"""  # noqa: S608


def accept_all(accepted: Sequence[tuple[UUID, UUID, Accepted]]) -> set[UUID]:
    """Stores the ids of calls (attempt, fencing token, what the provider said); the attempts that have theirs now."""
    require_legal_attempt(AttemptStatus.CALLING, AttemptStatus.ACCEPTED)
    rows = [(attempt_id, token, said.request_id, said.response_id) for attempt_id, token, said in accepted]
    with connection.cursor() as cursor:
        cursor.execute(_ACCEPTED, columns(rows))
        stored = {attempt_id for (attempt_id,) in cursor.fetchall()}
    for attempt_id, _, _ in accepted:
        if attempt_id not in stored:
            logger.warning("attempt %s was accepted after it had its id or was resolved otherwise", attempt_id)
    return stored
