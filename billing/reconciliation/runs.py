"""Runs: a look at the provider's bill of an account over some days, asked for, carried out once, and kept.

A later run of a day replaces the view of that day; the lines of the earlier one stay where they are.
"""

import logging
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from celery import current_app
from django.conf import settings
from django.db import transaction
from kombu.exceptions import OperationalError as BrokerError

from accounts.models import Organization, Project, User
from accounts.provider_accounts import ProviderAccount, account_named
from billing import alerts
from billing.clock import database_now
from billing.models import Origin, ReconciledDay, ReconciliationLine, ReconciliationRun
from billing.reconciliation import decisions, ours
from billing.reconciliation.bills import ProviderBill, cells_of
from billing.reconciliation.comparison import Line, compare
from billing.reconciliation.figures import Cell

logger = logging.getLogger(__name__)

TASK = "jobs.tasks.reconcile"
DAY = timedelta(days=1)
# A first look goes so far back, and one after a long silence no further than the other.
DAYS_AT_FIRST, DAYS_AT_MOST = 7, 35


def ask(
    account: ProviderAccount, origin: Origin, first_day: date, end_day: date, *, actor: User | None = None
) -> ReconciliationRun:
    """A run that waits to be carried out, for the UTC days from `first_day` up to, not including, `end_day`."""
    return ReconciliationRun.objects.create(
        organization=account.organization,
        origin=origin,
        actor=actor,
        first_day=first_day,
        end_day=end_day,
        asked_at=database_now(),
    )


def hand_over(run: ReconciliationRun) -> bool:
    """Has a worker carry it out; whether the broker took the message. Where it did not, the row says so."""
    try:
        current_app.send_task(TASK, [str(run.pk)])
    except (BrokerError, OSError) as error:
        logger.warning("reconciliation %s was not handed over: %s", run.pk, error)
        break_off(run, "The message broker did not take it; ask again.")
        return False
    return True


def begin(run_id: UUID) -> ReconciliationRun | None:
    """The run, begun now; None for one that was begun before: a message may come twice."""
    begun = ReconciliationRun.objects.filter(pk=run_id, began_at=None, failure="").update(began_at=database_now())
    return ReconciliationRun.objects.select_related("organization").get(pk=run_id) if begun else None


def break_off(run: ReconciliationRun, reason: str) -> None:
    run.failure = reason[:300]
    run.save(update_fields=["failure"])


def due_days(account: ProviderAccount, now: datetime) -> tuple[date, date]:
    """The days that a daily run looks at: those whose bill was not complete yet, and those that nobody looked at."""
    today = now.astimezone(UTC).date()
    views = ReconciledDay.objects.filter(organization=account.organization, day__gte=today - DAYS_AT_MOST * DAY)
    seen = dict(views.values_list("day", "is_settled"))
    earliest = min(seen, default=today - DAYS_AT_FIRST * DAY)
    open_days = (earliest + n * DAY for n in range((today - earliest).days) if not seen.get(earliest + n * DAY))
    return next(open_days, today - DAY), today


def days_of_bill(run: ReconciliationRun) -> tuple[date, date]:
    """The days to be fetched: one more on either side, for calls over midnight."""
    return run.first_day - DAY, run.end_day + DAY


def is_settled(day: date, now: datetime) -> bool:
    """Whether the provider's bill of a UTC day is taken for complete."""
    end = datetime(day.year, day.month, day.day, tzinfo=UTC) + DAY
    return now >= end + timedelta(hours=settings.PROVIDER_BILL_DELAY_HOURS)


@transaction.atomic
def record(run: ReconciliationRun, bill: ProviderBill, *, now: datetime | None = None) -> list[ReconciliationLine]:
    """Compares the bill, which covers `days_of_bill`, with the books and keeps what came out; returns the lines."""
    now = now or database_now()
    account = account_named(run.organization)
    projects = ours.projects_of(account)
    mine = ours.cells_between(account, projects, *days_of_bill(run), {used.model for used in bill.usage})
    found = compare(
        mine,
        cells_of(bill, projects.compared_as),
        is_settled=lambda cell: is_settled(cell.day, now),
        known_prices=ours.known_prices,
    )
    within = [line for line in found if run.first_day <= line.cell.day < run.end_day]
    within += decisions.whose_difference_is_gone(run, within)
    owners = _Owners(account, projects)
    lines = ReconciliationLine.objects.bulk_create([_row(run, line, owners) for line in within])
    _show(run, now)
    run.finished_at = database_now()
    run.save(update_fields=["finished_at"])
    _alert(account, lines)
    return lines


class _Owners:
    """To whom of an account a cell belongs."""

    def __init__(self, account: ProviderAccount, projects: ours.Projects):
        self._account, self._projects = account, projects

    def of(self, cell: Cell) -> tuple[Organization | None, Project | None]:
        """The organization and the project, each None where it is not the only one that can be meant."""
        projects = self._projects.ours.get(cell.provider_project, ())
        organizations = {project.organization for project in projects} or set(self._account.organizations)
        organization = organizations.pop() if len(organizations) == 1 else None
        return organization, projects[0] if len(projects) == 1 else None


def _row(run: ReconciliationRun, line: Line, owners: _Owners) -> ReconciliationLine:
    organization, project = owners.of(line.cell)
    return ReconciliationLine(
        run=run,
        organization=organization,
        project=project,
        day=line.cell.day,
        provider_project=line.cell.provider_project,
        model=line.cell.model,
        kind=line.kind,
        ours_requests=line.ours.requests,
        ours_input_tokens=line.ours.input,
        ours_cached_input_tokens=line.ours.cached,
        ours_output_tokens=line.ours.output,
        ours_usd=line.ours_usd,
        theirs_requests=line.theirs.requests,
        theirs_input_tokens=line.theirs.input,
        theirs_cached_input_tokens=line.theirs.cached,
        theirs_output_tokens=line.theirs.output,
        theirs_usd=line.theirs_usd,
        difference_usd=line.difference_usd,
        detail=line.detail,
    )


def _show(run: ReconciliationRun, now: datetime) -> None:
    """From now on the lines of this run are the view of its days."""
    days = [run.first_day + n * DAY for n in range((run.end_day - run.first_day).days)]
    for day in days:
        ReconciledDay.objects.update_or_create(
            organization=run.organization,
            day=day,
            defaults={"run": run, "is_settled": is_settled(day, now), "looked_at": database_now()},
        )


def _alert(account: ProviderAccount, lines: Sequence[ReconciliationLine]) -> None:
    """Tells each organization of days whose differences, decided ones left out, come to more than the threshold."""
    standings = decisions.standings(lines)
    for organization in account.organizations:
        by_day: dict[date, list[ReconciliationLine]] = {}
        for line in lines:
            if line.organization_id in (None, organization.pk) and standings[line.pk].undecided_usd:
                by_day.setdefault(line.day, []).append(line)
        for day, open_lines in by_day.items():
            drift = decisions.total([standings[line.pk] for line in open_lines])
            if drift > settings.DRIFT_ALERT_USD:
                alerts.raise_drift(organization_id=organization.pk, day=day, lines=len(open_lines), drift_usd=drift)
