"""Which queue a job belongs to, and how fast a queue moves."""

import math
from datetime import datetime
from decimal import Decimal
from uuid import UUID, uuid5

from django.db import transaction

from accounts.models import Project
from jobs.models import Queue

# Queues that this process knows to be there; they are never deleted. There are as many as projects times families.
_known: set[UUID] = set()
# The mean of a queue's starts forgets with this time constant.
RATE_SECONDS = 30


def queue_id(project_id: UUID, family: str) -> UUID:
    """The id of the queue of a project for a family of models, whether or not its row is there."""
    return uuid5(project_id, family)


def queue_of(project: Project, family: str) -> UUID:
    """The id of that queue, after its row was made if need be. Runs in the caller's transaction.

    Of submissions at once that make the same row, the others wait for the first; never again after that.
    """
    found = queue_id(project.pk, family)
    if found not in _known:
        # Looked for first: even an insert that does nothing on a conflict waits for whoever is updating the row.
        if not Queue.objects.filter(pk=found).exists():
            Queue.objects.bulk_create([Queue(id=found, project=project, family=family)], ignore_conflicts=True)
        transaction.on_commit(lambda: _known.add(found))
    return found


def resume_short(organization_id: UUID) -> int:
    """Ends the pauses of an organization's queues whose budget was short: a limit has changed. How many it were."""
    short = Queue.objects.filter(project__organization=organization_id, waiting_on__reason="budget")
    return short.exclude(retry_at=None).update(retry_at=None)


def rate(starts_per_minute: Decimal, since: datetime | None, started: int, now: datetime) -> Decimal:
    """The mean of a queue's starts a minute, after so many more: older ones count the less, the longer ago they are."""
    kept = math.exp(-max(0.0, (now - since).total_seconds()) / RATE_SECONDS) if since else 0.0
    return (starts_per_minute * Decimal(kept) + Decimal(60 * started / RATE_SECONDS)).quantize(Decimal("0.0001"))
