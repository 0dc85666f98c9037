"""Erases what was said of the lines of a batch, when its project keeps content no longer; codes and counts stay.

Its files expire by themselves, no later than that (`files`); the content of its jobs is erased as that of any job, but
not before the files are written.
"""

from datetime import timedelta

from django.db.models.functions import Coalesce, Now

from accounts.models import Project
from jobs.batches.states import BATCH_FINAL
from jobs.models import Batch, BatchLine

# Of one project in one run; the next run goes on.
MOST_BATCHES = 100
LINES_AT_ONCE = 5000


def erase_due_of(project: Project, kept_for: timedelta) -> int:
    """Erases the errors of batches that ended longer ago than their project keeps content; how many batches."""
    held = Batch.objects.filter(project=project, status__in=sorted(BATCH_FINAL), content_erased_at__isnull=True)
    ended_at = Coalesce("completed_at", "failed_at", "expired_at", "cancelled_at")
    due = held.alias(ended_at=ended_at).filter(ended_at__lte=Now() - kept_for).order_by("pk")[:MOST_BATCHES]
    for batch in due:
        _erase(batch)
    return len(due)


def _erase(batch: Batch) -> None:
    """The lines piece by piece, and then the batch, so that one that was broken off is gone on with."""
    while True:
        some = batch.lines.filter(error__isnull=False).values("pk")[:LINES_AT_ONCE]
        if not BatchLine.objects.filter(pk__in=some).update(error=None):
            break
    silenced = [{**fault, "message": None, "param": None} for fault in batch.errors]
    Batch.objects.filter(pk=batch.pk).update(errors=silenced, content_erased_at=Now())
