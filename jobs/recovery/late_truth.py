"""What a worker knows of an attempt that was given up meanwhile: it is never thrown away, and never booked twice."""

import logging
from uuid import UUID

from django.db import transaction

from accounts.service import service
from billing import ledger
from billing.clock import database_now
from billing.pricing import Tokens
from jobs.models import Doubt
from jobs.states import DoubtStatus

logger = logging.getLogger(__name__)

# Decided without knowing; the others were settled to the truth.
DECIDED = (DoubtStatus.PRESUMED_SPENT, DoubtStatus.RERUN, DoubtStatus.RELEASED)
NOTHING = Tokens(0, 0, 0, 0)


@transaction.atomic
def correct(attempt_id: UUID, token: UUID, tokens: Tokens) -> bool:
    """Corrects the spend of an attempt whose doubt was decided before its tokens were known; once. False otherwise."""
    ours = Doubt.objects.filter(
        pk=attempt_id, attempt__fencing_token=token, status__in=DECIDED, corrected_at__isnull=True
    )
    if not Doubt.objects.filter(pk__in=ours).update(corrected_at=database_now()):
        logger.warning("what came of attempt %s was not booked: it is not this worker's, or settled", attempt_id)
        return False
    moved = ledger.correct(
        attempt_id, tokens, reason=f"late truth about attempt {attempt_id}, decided before", actor=service()
    )
    Doubt.objects.filter(pk=attempt_id).update(corrected_usd=moved)
    logger.warning("the truth about attempt %s came after it was decided; the spend moved by %s", attempt_id, moved)
    return True
