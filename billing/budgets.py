"""The budgets that bind a project: which there are, what their limits are, and how full they stand."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import transaction

from accounts.models import Organization, Project
from accounts.tiers import standing
from billing.models import Budget, Quota, Scope
from billing.money import usd
from billing.periods import Window, month_of


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit as it is configured now, whether or not anything was ever spent against it."""

    scope: Scope
    organization_id: UUID
    project_id: UUID | None
    name: str
    limit_usd: Decimal
    origin: str  # what set it: 'usage tier' or 'quota'


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A limit and how full it stands in one window. Amounts in US dollars."""

    limit: Limit
    window: Window
    spent_usd: Decimal
    held_usd: Decimal

    @property
    def remaining_usd(self) -> Decimal:
        """What a new hold may still take; zero when the limit was lowered below what is spent and held."""
        return max(self.limit.limit_usd - self.spent_usd - self.held_usd, Decimal(0))

    def describe(self, required_usd: Decimal | None = None) -> dict[str, Any]:
        """The figures as they go to people and programs: decimal strings and ISO instants."""
        figures = {
            "scope": self.limit.scope.value,
            "id": str(self.limit.project_id or self.limit.organization_id),
            "name": self.limit.name,
            "origin": self.limit.origin,
            "limit_usd": usd(self.limit.limit_usd),
            "spent_usd": usd(self.spent_usd),
            "held_usd": usd(self.held_usd),
            "remaining_usd": usd(self.remaining_usd),
            "resets_at": f"{self.window.end:%Y-%m-%dT%H:%M:%SZ}",
        }
        return figures if required_usd is None else {**figures, "required_usd": usd(required_usd)}


def limits_of(project: Project, now: datetime) -> tuple[Limit, ...]:
    """Every limit that binds a project's calls, in the order in which their budgets are locked.

    A project without a quota of its own may use the whole of the tier's limit.
    """
    organization = project.organization
    tier = standing(organization, now).tier
    of_organization = Limit(
        Scope.ORGANIZATION,
        organization.pk,
        None,
        organization.name,
        tier.monthly_limit_usd,
        f"usage tier {tier.number}",
    )
    quota = Quota.objects.filter(project=project).first()
    of_project = Limit(
        Scope.PROJECT,
        organization.pk,
        project.pk,
        project.name,
        quota.limit_usd if quota else tier.monthly_limit_usd,
        "quota" if quota else of_organization.origin,
    )
    return of_organization, of_project


def state_of(limit: Limit, window: Window) -> BudgetState:
    """How full a limit stands; untouched where nothing was ever held."""
    budget = Budget.objects.filter(**_row(limit, window)).first()
    zero = Decimal(0)
    return BudgetState(limit, window, budget.spent_usd if budget else zero, budget.held_usd if budget else zero)


def states_of(project: Project, now: datetime) -> list[BudgetState]:
    """Every budget that binds a project's calls in the current month."""
    return [state_of(limit, month_of(now)) for limit in limits_of(project, now)]


def lock_budgets(limits: Iterable[Limit], window: Window) -> dict[tuple[UUID, UUID | None], Budget]:
    """The budget rows of these limits by owner (organization, project), locked until the transaction ends.

    They are made where missing, and locked in one fixed order (scope, then owner), so that no two transactions can wait
    for each other. Whoever writes a limit onto a row reads it after this lock: a change committed before is then seen,
    and one that is not yet committed waits.
    """
    ordered = sorted(limits, key=lambda limit: (limit.scope.rank, limit.project_id or limit.organization_id))
    budgets = {}
    for limit in ordered:
        owner = (limit.organization_id, limit.project_id)
        if owner not in budgets:
            budgets[owner] = _locked(limit, window)
    return budgets


def _row(limit: Limit, window: Window) -> dict[str, Any]:
    """What identifies a limit's budget in a window."""
    return {"organization_id": limit.organization_id, "project_id": limit.project_id, "window_start": window.start}


def _locked(limit: Limit, window: Window) -> Budget:
    row = _row(limit, window)
    budget = Budget.objects.select_for_update().filter(**row).first()
    if budget is None:
        made = Budget(**row, scope=limit.scope, window_end=window.end, limit_usd=limit.limit_usd)
        Budget.objects.bulk_create([made], ignore_conflicts=True)
        budget = Budget.objects.select_for_update().get(**row)
    return budget


@transaction.atomic
def refresh_limits(organization: Organization, now: datetime) -> None:
    """Writes the limits as they are configured now onto this month's budgets, so that every page shows them at once."""
    projects = list(organization.projects.select_related("organization"))
    budgets = lock_budgets([limit for project in projects for limit in limits_of(project, now)], month_of(now))
    for limit in {limit for project in projects for limit in limits_of(project, now)}:
        apply_limit(budgets[limit.organization_id, limit.project_id], limit)


def apply_limit(budget: Budget, limit: Limit) -> None:
    """Writes a limit onto its locked budget row, if it differs."""
    if budget.limit_usd != limit.limit_usd:
        budget.limit_usd = limit.limit_usd
        budget.save(update_fields=["limit_usd"])
