"""Alerts of limits that fill up: what the books have noted is told here, once for each percentage and window."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from uuid import UUID

from django.db import connection, transaction

from billing.alerts import News, raise_alert
from billing.clock import database_now
from billing.crossings import NOTE_STANDING
from billing.limits import BudgetState, Limit, limit_of
from billing.models import AlertKind, AlertSettings, Budget, Crossing, Measure, Scope, WindowKind
from billing.models.alerts import PERCENTS
from billing.money import amount_of
from billing.periods import Window

MOST_AT_ONCE = 200
# What a budget is read with, so that the alert can name its owner.
WITH_OWNER = (
    "organization",
    "project",
    "quota__organization",
    "quota__team",
    "quota__project",
    "quota__member",
    "quota__api_key__project",
)


def tell() -> int:
    """Raises the alerts of all that was noted and not told; returns how many were.

    Of several percentages that one budget passed since, the highest is told; those that nobody wants are passed over.
    """
    raised = 0
    while done := _tell_some():
        raised += done
    return raised


@transaction.atomic
def note_standing() -> None:
    """Notes budgets that stand over a percentage without having passed it: their limit was lowered, or they are new."""
    with connection.cursor() as cursor:
        cursor.execute(NOTE_STANDING)


def chosen_percents(organization_ids: Sequence[UUID]) -> dict[UUID, frozenset[int]]:
    """Which percentages of their limits these organizations want to be told of."""
    rows = AlertSettings.objects.filter(organization__in=organization_ids)
    chosen = {row.organization_id: frozenset(row.percents) for row in rows}
    return {pk: chosen.get(pk, frozenset(PERCENTS)) for pk in organization_ids}


@transaction.atomic
def _tell_some() -> int:
    """How many crossings were told, raised or passed over; whoever else tells meanwhile skips them."""
    waiting = Crossing.objects.filter(told_at=None).select_for_update(skip_locked=True, of=("self",))
    rows = list(waiting.order_by("budget_id", "kind", "percent")[:MOST_AT_ONCE])
    if not rows:
        return 0
    budgets = Budget.objects.select_related(*WITH_OWNER).in_bulk({row.budget_id for row in rows})
    chosen = chosen_percents([budget.organization_id for budget in budgets.values()])
    for (budget_id, kind), noted in groupby(rows, key=lambda row: (row.budget_id, row.kind)):
        budget = budgets[budget_id]
        percents = [row.percent for row in noted]
        if kind == AlertKind.EXHAUSTED:
            _raise_exhausted(budget)
        elif wanted := chosen[budget.organization_id].intersection(percents):
            _raise_threshold(budget, max(wanted))
    Crossing.objects.filter(pk__in=[row.pk for row in rows]).update(told_at=database_now())
    return len(rows)


def _raise_threshold(budget: Budget, percent: int) -> None:
    limit, spent = amount_of(budget.measure, budget.limit), amount_of(budget.measure, budget.spent)
    text = f"{percent} % of the limit of {limit} {window_of(budget)} for {owner_of(budget)} is reached: {spent} spent."
    _raise(AlertKind.THRESHOLD, budget, percent, f"{text} {_until(budget)}")


def _raise_exhausted(budget: Budget) -> None:
    limit, spent = amount_of(budget.measure, budget.limit), amount_of(budget.measure, budget.spent)
    text = (
        f"A call of {owner_of(budget)} waits: it can come to more than is left of the limit of {limit} "
        f"{window_of(budget)}, of which {spent} is spent."
    )
    _raise(AlertKind.EXHAUSTED, budget, 100, f"{text} {_until(budget)}")


def _raise(kind: AlertKind, budget: Budget, percent: int, text: str) -> None:
    raise_alert(kind, reference_of(budget, percent), news_of(budget, text, percent=percent))


def reference_of(budget: Budget, part: object) -> str:
    """What an alert of a budget is about: the same for one that is counted anew."""
    owner = budget.quota_id or budget.project_id or budget.organization_id
    return f"{owner} {budget.window_start:%Y-%m-%dT%H:%M:%SZ} {part}"


def news_of(budget: Budget, text: str, **figures: object) -> News:
    """What is told of a budget, and to whom."""
    quota = budget.quota
    key = quota.api_key if quota else None
    return News(
        text=text,
        organization_id=budget.organization_id,
        project_id=budget.project_id or (quota.project_id if quota else None) or (key.project_id if key else None),
        team_id=quota.team_id if quota else None,
        data={**figures, "limit": state_of(budget).describe()},
    )


def state_of(budget: Budget) -> BudgetState:
    """A budget as the limit that it is the account of, and how full it stands."""
    return BudgetState(_limit_of(budget), budget.spent, budget.held)


def _limit_of(budget: Budget) -> Limit:
    window = Window(budget.window_start, budget.window_end)
    quota = budget.quota
    if quota is not None:
        # With the raises that it was granted.
        return replace(limit_of(quota, budget.window_start), window=window, amount=budget.limit)
    return Limit(
        scope=Scope(budget.scope),
        organization_id=budget.organization_id,
        quota_id=None,
        project_id=budget.project_id,
        owner_id=str(budget.project_id or budget.organization_id),
        name=owner_of(budget),
        origin="usage tier",
        measure=Measure.USD,
        model="",
        amount=budget.limit,
        window=window,
    )


def owner_of(budget: Budget) -> str:
    """Whom the limit binds, as people call them."""
    if budget.quota is not None:
        of_model = f" ({budget.quota.model})" if budget.quota.model else ""
        return f"{budget.quota.owner_name}{of_model}"
    return str(budget.project or budget.organization)


def window_of(budget: Budget) -> str:
    kind = budget.quota.window if budget.quota else WindowKind.MONTH
    return "in all" if kind == WindowKind.FIXED else f"a {kind}"


def _until(budget: Budget) -> str:
    ends = "It ends" if budget.quota and budget.quota.window == WindowKind.FIXED else "It begins anew"
    return f"{ends} on {in_words(budget.window_end)}."


def in_words(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
