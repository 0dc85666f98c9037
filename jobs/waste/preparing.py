"""Reports of months with so many calls that no request waits for them are made in the background."""

import logging
from datetime import date, timedelta

from django.db.models import Sum

from accounts.models import Project
from billing.clock import database_now
from billing.models import ProjectRollup
from billing.periods import month_of
from jobs.models import WasteReport
from jobs.waste.making import MOST_WHILE_ASKED, DoesNotSum, is_current, is_small, make

logger = logging.getLogger(__name__)

# A run ends after so many, the next one goes on: what waits longest comes first.
MOST_AT_ONCE = 20


def report_of(project: Project, month: date) -> WasteReport | None:
    """The report of a month, current where its calls are few; else as it was prepared, and None before that."""
    known = WasteReport.objects.filter(project=project, month=month).select_related("project").first()
    if known is not None and is_current(known, database_now()):
        return known
    if not is_small(project, month):
        return known
    made = make(project, month)
    return made if made.made_at else None


def prepare() -> int:
    """Makes the reports of large months that are not current, of this month and the one before; returns how many."""
    now = database_now()
    this = month_of(now).start.date()
    before = (this - timedelta(days=1)).replace(day=1)
    spent = ProjectRollup.objects.filter(day__in=[this, before]).order_by().values_list("project", "day")
    large = list(spent.annotate(calls=Sum("calls")).filter(calls__gt=MOST_WHILE_ASKED).values_list("project", "day"))
    known = {(row.project_id, row.month): row for row in WasteReport.objects.filter(month__in=[this, before])}
    due = [
        (known[key].made_at if key in known else None, key)
        for key in large
        if key not in known or not is_current(known[key], now)
    ]
    due.sort(key=lambda each: (each[0] is not None, each[0] or now))
    made = 0
    for _, (project_id, month) in due[:MOST_AT_ONCE]:
        try:
            make(Project.objects.select_related("organization").get(pk=project_id), month)
            made += 1
        except DoesNotSum as differing:
            logger.error("A waste report does not sum to the ledger: %s", differing)
    return made
