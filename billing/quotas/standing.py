"""How full many quotas stand, in as many queries as for one."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from billing.budgets import raised_at, state_of
from billing.limits import BudgetState, limit_of
from billing.models import Budget, Quota
from billing.quotas.changes import binds_at


def states(quotas: Iterable[Quota], now: datetime) -> dict[UUID, BudgetState]:
    """How full quotas stand in their open windows, with their raises; those that are in force.

    A quota has no budget where nothing was used in its window yet: then it stands empty. Only one that was stored in
    this window without one is counted.
    """
    binding = {quota.pk: quota for quota in quotas if binds_at(quota, now)}
    raised = raised_at(now, quota__in=list(binding))
    budgets = Budget.objects.filter(quota__in=list(binding), window_start__lte=now, window_end__gt=now)
    found = {(budget.quota_id, budget.window_start): budget for budget in budgets}
    stand = {}
    for pk, quota in binding.items():
        limit = limit_of(quota, now, raised.get(pk, Decimal(0)))
        budget = found.get((pk, limit.window.start))
        if budget is not None or quota.created_at >= limit.window.start:
            stand[pk] = state_of(limit, budget)
        else:
            stand[pk] = BudgetState(limit, Decimal(0), Decimal(0))
    return stand
