"""Erases what comparisons asked: at somebody's word, or when their project keeps content no longer. Figures, names and
settings stay.

The content of its jobs is erased as that of any job.
"""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from django.db.models.functions import Now

from accounts.models import Project
from jobs.models import Comparison, ComparisonRun

# Of one project in one run; the next run goes on.
MOST_COMPARISONS = 100


def erase_due_of(project: Project, kept_for: timedelta) -> int:
    """Erases the content of comparisons that ended longer ago than their project keeps content; how many."""
    held = Comparison.objects.filter(project=project, finished_at__isnull=False, content_erased_at__isnull=True)
    due = held.filter(finished_at__lte=Now() - kept_for).order_by("finished_at", "pk")
    return erase(list(due.values_list("pk", flat=True)[:MOST_COMPARISONS]))


def erase(comparison_ids: Sequence[UUID]) -> int:
    """Erases the content of these comparisons, which have ended; of how many it was not erased before."""
    # The errors first, so that a comparison whose erasure was broken off is gone on with.
    ComparisonRun.objects.filter(comparison__in=comparison_ids, error__isnull=False).update(error=None)
    held = Comparison.objects.filter(pk__in=comparison_ids, content_erased_at__isnull=True)
    return held.update(content=None, content_erased_at=Now())
