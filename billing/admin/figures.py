"""The figures of the spend pages: how full limits stand, from budgets; what the money bought, from rollups."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db.models import Q, Sum

from accounts.models import Organization, Project
from accounts.tiers import standings
from billing.admin.money import dollars
from billing.admin.months import Month
from billing.budgets import limits_of_all, quotas_at, raised_at, state_of
from billing.limits import BudgetState, Owner
from billing.models import Budget, LedgerEntry, Measure, Scope, WindowKind
from billing.models.entries import EntryKind
from billing.spend import SpendLine, lines, rows_between, total_of

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Fill:
    """A limit and how full it stands. No limit: it was not recorded for that month."""

    limit: Decimal | None
    spent: Decimal
    held: Decimal

    @property
    def remaining(self) -> Decimal | None:
        return None if self.limit is None else max(self.limit - self.spent - self.held, ZERO)

    @property
    def spent_width(self) -> str:
        return self._width(self.spent)

    @property
    def held_width(self) -> str:
        return self._width(self.held)

    @property
    def amounts(self) -> list[tuple[str, str]]:
        """The four figures, each with its name."""
        unknown = "not recorded"
        return [
            ("limit", unknown if self.limit is None else dollars(self.limit)),
            ("spent", dollars(self.spent)),
            ("held", dollars(self.held)),
            ("remaining", unknown if self.remaining is None else dollars(self.remaining)),
        ]

    @property
    def sentence(self) -> str:
        """The same for whoever does not see the bar."""
        if self.limit is None:
            return f"{dollars(self.spent)} spent; the limit of that month is not recorded."
        return (
            f"{dollars(self.spent)} spent and {dollars(self.held)} held of {dollars(self.limit)}; "
            f"{dollars(self.remaining or ZERO)} remaining."
        )

    @property
    def spent_share(self) -> str:
        """Spent as a part of the limit; what is not nothing is not shown as nothing."""
        if not self.limit:
            return "–"
        share = self.spent * 100 / self.limit
        return "< 0.1 %" if 0 < share < Decimal("0.1") else f"{share:.1f} %"

    def _width(self, amount: Decimal) -> str:
        """In per cent of the bar. A limit that was lowered below what is used makes the bar full, not longer."""
        whole = max(self.limit or ZERO, self.spent + self.held)
        return f"{max(amount, ZERO) * 100 / whole:.2f}" if whole else "0"


@dataclass(frozen=True, slots=True)
class Owned:
    """An organization or project, how full its limit stands, and what its money bought."""

    owner: Organization | Project
    fill: Fill
    line: SpendLine | None = None


@dataclass(frozen=True, slots=True)
class MonthOfLimits:
    """How full an organization's limit stands in a month, and those of its projects, the dearest first.

    `adjusted`: corrections booked by hand, which no usage record stands for; by project.
    """

    organization: Fill
    projects: list[Owned]
    adjusted: Mapping[UUID, Decimal]


def overview(organizations: Sequence[Organization], month: Month, now: datetime) -> list[Owned]:
    """How full each organization's limit stands in the open month."""
    budgets = {
        budget.organization_id: budget
        for budget in Budget.objects.filter(
            organization__in=organizations,
            quota__isnull=True,
            project__isnull=True,
            window_start=month.window.start,
        )
    }
    limits = _tier_limits(organizations, now)
    return [Owned(o, _fill(budgets.get(o.pk), limits.get(o.pk), month, ZERO)) for o in organizations]


def month_of_limits(
    organization: Organization, month: Month, now: datetime, only: Collection[UUID] | None = None
) -> MonthOfLimits:
    """How full the limits stand in a month, of all projects or of these alone."""
    adjusted = _adjustments(organization, month)
    budgets = _budgets(organization, month)
    limit = _tier_limits([organization], now).get(organization.pk) if month.is_current else None
    rows = rows_between(month.first_day, month.end_day, ["project"], organization=organization.pk)
    by_project = lines(rows, ["project"])
    recorded = total_of(by_project).total_usd + sum(adjusted.values(), ZERO)
    projects = Project.objects.filter(organization=organization).order_by("name")
    return MonthOfLimits(
        organization=_fill(budgets.of_tier.get(None), limit, month, recorded),
        projects=_projects(
            list(projects if only is None else projects.filter(pk__in=only)),
            {line.group["project"]: line for line in by_project},
            budgets,
            limit,
            adjusted,
            month,
            _project_quotas(organization, now),
        ),
        adjusted=adjusted,
    )


def quotas_on(project: Project, now: datetime) -> list[BudgetState]:
    """Every quota that can bind a call of a project now, through its team, its keys and their makers too."""
    of_keys = project.api_keys.values_list("created_by_id", "pk")
    owners = [Owner(project, project.team_id), *(Owner(project, project.team_id, maker, key) for maker, key in of_keys)]
    try:
        binding = limits_of_all(owners, now)
    except LookupError:
        return []  # no tier exists at all
    limits = {limit.key: limit for found in binding.values() for limit in found if limit.quota_id}
    budgets = {
        (budget.quota_id, budget.window_start): budget
        for budget in Budget.objects.filter(quota__in={limit.quota_id for limit in limits.values()}).filter(
            window_start__lte=now, window_end__gt=now
        )
    }
    states = [state_of(limit, budgets.get((limit.quota_id, limit.window.start))) for limit in limits.values()]
    return sorted(states, key=lambda state: (state.limit.scope, state.limit.name, state.limit.measure))


@dataclass(frozen=True, slots=True)
class _Budgets:
    """An organization's budgets of one month in dollars, by project (None: the organization's own)."""

    of_tier: dict[UUID | None, Budget]
    of_quota: dict[UUID | None, Budget]  # of the tightest hard quota

    def of_project(self, project_id: UUID) -> Budget | None:
        return self.of_quota.get(project_id) or self.of_tier.get(project_id)


# The quotas that are a project's limit of the month: hard, in dollars, over all models.
_OF_THE_MONTH = {
    "scope": Scope.PROJECT,
    "measure": Measure.USD,
    "window": WindowKind.MONTH,
    "model": "",
    "is_hard": True,
}


def _budgets(organization: Organization, month: Month) -> _Budgets:
    of_the_month = Q(**{f"quota__{name}": value for name, value in _OF_THE_MONTH.items()})
    rows = Budget.objects.filter(
        Q(quota__isnull=True) | of_the_month, organization=organization, window_start=month.window.start
    )
    budgets = _Budgets({}, {})
    for budget in rows.order_by("-limit"):  # the tightest last, where it stays
        (budgets.of_quota if budget.quota_id else budgets.of_tier)[budget.project_id] = budget
    return budgets


def _project_quotas(organization: Organization, now: datetime) -> dict[UUID | None, Decimal]:
    """The tightest quota that is a project's limit of the month, by project."""
    raised = raised_at(now, organization=organization)
    return {
        quota.project_id: quota.limit + raised.get(quota.pk, ZERO)
        for quota in sorted(quotas_at([organization.pk], now), key=lambda quota: -quota.limit)
        if all(getattr(quota, name) == value for name, value in _OF_THE_MONTH.items())
    }


def _projects(
    projects: Sequence[Project],
    found: Mapping[UUID, SpendLine],
    budgets: _Budgets,
    limit: Decimal | None,
    adjusted: Mapping[UUID, Decimal],
    month: Month,
    quotas: Mapping[UUID | None, Decimal],
) -> list[Owned]:
    """The projects, the dearest first; one without a quota may use the whole of the organization's limit."""
    owned = []
    for project in projects:
        line = found.get(project.pk)
        spent = (line.total_usd if line else ZERO) + adjusted.get(project.pk, ZERO)
        own_limit = quotas.get(project.pk, limit)
        owned.append(Owned(project, _fill(budgets.of_project(project.pk), own_limit, month, spent), line))
    return sorted(owned, key=lambda one: -one.fill.spent)


def _fill(budget: Budget | None, configured: Decimal | None, month: Month, recorded: Decimal) -> Fill:
    """From the month's budget where there is one. The open month's limit is the one configured now."""
    limit = configured if month.is_current else None
    if budget is None:
        return Fill(limit, recorded, ZERO)
    return Fill(budget.limit if limit is None else limit, budget.spent, budget.held)


def _tier_limits(organizations: Iterable[Organization], now: datetime) -> dict[UUID, Decimal]:
    """The limit that each organization's tier brings now; none where no tier exists at all."""
    try:
        stands = standings(organizations, now)
    except LookupError:
        return {}
    return {pk: stand.tier.monthly_limit_usd for pk, stand in stands.items()}


def _adjustments(organization: Organization, month: Month) -> dict[UUID, Decimal]:
    """Corrections booked in the month, by project: money that no usage record stands for."""
    entries = LedgerEntry.objects.filter(
        organization=organization, kind=EntryKind.ADJUST, window_start=month.window.start
    )
    return dict(entries.order_by().values_list("project_id").annotate(Sum("spent_change_usd")))
