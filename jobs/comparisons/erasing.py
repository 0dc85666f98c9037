"""Erases what a comparison asked, when its project keeps content no longer; figures, names and settings stay.

The content of its jobs is erased as that of any job.
"""

from datetime import timedelta

from django.db.models.functions import Now

from accounts.models import Project
from jobs.models import Comparison, ComparisonRun

# Of one project in one run; the next run goes on.
MOST_COMPARISONS = 100


def erase_due_of(project: Project, kept_for: timedelta) -> int:
    """Erases the content of comparisons that ended longer ago than their project keeps content; how many."""
    held = Comparison.objects.filter(project=project, finished_at__isnull=False, content_erased_at__isnull=True)
    due = list(held.filter(finished_at__lte=Now() - kept_for).order_by("finished_at", "pk")[:MOST_COMPARISONS])
    # The errors first, so that a comparison whose erasure was broken off is gone on with.
    ComparisonRun.objects.filter(comparison__in=due, error__isnull=False).update(error=None)
    ids = [comparison.pk for comparison in due]
    return Comparison.objects.filter(pk__in=ids).update(content=None, content_erased_at=Now())
