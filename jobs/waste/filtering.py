"""The jobs behind a figure of the report."""

from django.db.models import Exists, OuterRef, QuerySet

from jobs.models import Job, WasteLine
from jobs.waste.categories import Category


def wasted_in(jobs: "QuerySet[Job]", category: str, month: str = "") -> "QuerySet[Job]":
    """Those of the jobs of which some cost is in a category; `month`: of this one, as 2026-11, else of any."""
    lines = WasteLine.objects.filter(job=OuterRef("pk"), category=Category(category))
    if month:
        lines = lines.filter(report__month=f"{month}-01")
    return jobs.filter(Exists(lines))
