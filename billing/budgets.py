"""The limits that bind a call, and the budgets on which they are kept: which there are, and how full they stand."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from accounts.models import ApiKey, Organization, Project, UsageTier
from accounts.tiers import standing, standings
from billing import books
from billing.counting import Amounts, held_in, spent_in
from billing.models import Budget, Hold, Measure, Quota, Scope, WindowKind
from billing.money import plain
from billing.periods import Window, day_of, month_of, week_of

# What identifies a budget: organization, quota, project, beginning of its window.
Key = tuple[UUID, UUID | None, UUID | None, datetime]


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom a call belongs to. A `model` of None stands for any: then the limits of every model are meant."""

    project: Project
    team_id: UUID | None = None
    member_id: int | None = None
    api_key_id: UUID | None = None
    model: str | None = None

    @property
    def organization(self) -> Organization:
        return self.project.organization


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit as it is configured now, in the window that is open, whether or not anything was ever used of it."""

    scope: Scope
    organization_id: UUID
    quota_id: UUID | None
    project_id: UUID | None
    owner_id: str
    name: str
    origin: str  # what set it: 'usage tier 5' or 'quota'
    measure: Measure
    model: str
    amount: Decimal
    window: Window
    is_hard: bool = True

    @property
    def key(self) -> Key:
        return self.organization_id, self.quota_id, self.project_id, self.window.start


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A limit and how full it stands, in the unit of its measure."""

    limit: Limit
    spent: Decimal
    held: Decimal

    @property
    def remaining(self) -> Decimal:
        """What a new hold may still take; zero when the limit was lowered below what is spent and held."""
        return max(self.limit.amount - self.spent - self.held, Decimal(0))

    def describe(self, required: Decimal | None = None) -> dict[str, Any]:
        """The figures as they go to people and programs: decimal strings in the unit of `measure`, and instants."""
        limit = self.limit
        figures = {
            "scope": limit.scope.value,
            "id": limit.owner_id,
            "name": limit.name,
            "origin": limit.origin,
            "measure": limit.measure.value,
            "model": limit.model or None,
            "is_hard": limit.is_hard,
            "limit": plain(limit.measure, limit.amount),
            "spent": plain(limit.measure, self.spent),
            "held": plain(limit.measure, self.held),
            "remaining": plain(limit.measure, self.remaining),
            "window_start": f"{limit.window.start:%Y-%m-%dT%H:%M:%SZ}",
            "resets_at": f"{limit.window.end:%Y-%m-%dT%H:%M:%SZ}",
        }
        return figures if required is None else {**figures, "required": plain(limit.measure, required)}


def owner_of(api_key: ApiKey, model: str | None = None) -> Owner:
    """Whom the calls of an API key belong to: its project and team, its maker, itself."""
    project = api_key.project
    return Owner(project, project.team_id, api_key.created_by_id, api_key.pk, model)


def limits_of(owner: Owner, now: datetime) -> tuple[Limit, ...]:
    """Every limit that binds an owner's calls now.

    The tier's on the organization and on the project, and each quota.
    """
    return _limits(owner, now, quotas_at([owner.organization.pk], now), standing(owner.organization, now).tier)


def limits_of_all(owners: Iterable[Owner], now: datetime) -> dict[Owner, tuple[Limit, ...]]:
    """The same for many owners, in as many queries as for one. Raises LookupError if no tier row exists at all."""
    owners = list(dict.fromkeys(owners))
    organizations = {owner.organization.pk: owner.organization for owner in owners}
    quotas, stands = quotas_at(organizations, now), standings(organizations.values(), now)
    return {owner: _limits(owner, now, quotas, stands[owner.organization.pk].tier) for owner in owners}


def quotas_at(organization_ids: Iterable[UUID], now: datetime) -> list[Quota]:
    """The quotas of these organizations that bind at an instant, in a stable order."""
    begun = Q(starts_at__isnull=True) | Q(starts_at__lte=now)
    not_over = Q(expires_at__isnull=True) | Q(expires_at__gt=now)
    rows = Quota.objects.filter(begun, not_over, organization_id__in=list(organization_ids))
    return list(rows.select_related("organization", "team", "project", "member", "api_key").order_by("id"))


def window_of(quota: Quota, now: datetime) -> Window:
    """The window of a quota that an instant lies in."""
    match WindowKind(quota.window):
        case WindowKind.DAY:
            return day_of(now)
        case WindowKind.WEEK:
            return week_of(now)
        case WindowKind.MONTH:
            return month_of(now)
        case WindowKind.FIXED:
            assert quota.starts_at, "a constraint says so"
            assert quota.expires_at, "a constraint says so"
            return Window(quota.starts_at, quota.expires_at)


def states_of(owner: Owner, now: datetime) -> list[BudgetState]:
    """Every limit that binds an owner's calls now, and how full it stands. What was never opened is counted."""
    limits = limits_of(owner, now)
    found = _budgets(limits)
    return [state_of(limit, found.get(limit.key)) for limit in limits]


def state_of(limit: Limit, budget: Budget | None) -> BudgetState:
    """How full a limit stands on its budget; by count where it has none yet, as a quota that was just made."""
    if budget is not None:
        return BudgetState(limit, budget.spent, budget.held)
    held = held_in(limit, limit.window)
    return BudgetState(
        limit, spent_in(limit, limit.window), sum((h.of(limit.measure) for h in held.values()), Decimal(0))
    )


def open_budgets(limits: Iterable[Limit]) -> dict[Key, Budget]:
    """The budget rows of these limits by key, with the limits as they stand now. The organizations' books are locked.

    A budget that is opened in the middle of its window starts with all that was used in it: a quota counts from the
    beginning of its window, and not from the moment at which somebody thought of it.
    """
    wanted = {limit.key: limit for limit in limits}
    found = _budgets(wanted.values())
    changed = []
    for key, budget in found.items():
        if budget.limit != wanted[key].amount:
            budget.limit = wanted[key].amount
            changed.append(budget)
    if changed:
        Budget.objects.bulk_update(changed, ["limit"])
    return found | {key: _open(limit) for key, limit in wanted.items() if key not in found}


@transaction.atomic
def refresh_limits(organization: Organization, now: datetime) -> None:
    """Writes the limits as they are configured now onto the open budgets, so that every page shows them at once."""
    books.lock([organization.pk])
    tier = standing(organization, now).tier
    budgets = list(Budget.objects.filter(organization=organization, window_end__gt=now).select_related("quota"))
    for budget in budgets:
        budget.limit = budget.quota.limit if budget.quota else tier.monthly_limit_usd
    Budget.objects.bulk_update(budgets, ["limit"])


def recount(quota: Quota) -> None:
    """Forgets what was counted for a quota that counts something else now; it is counted anew when needed."""
    books.lock([quota.organization_id])
    Budget.objects.filter(quota=quota).delete()


def _limits(owner: Owner, now: datetime, quotas: Sequence[Quota], tier: UsageTier) -> tuple[Limit, ...]:
    of_quotas = (limit_of(quota, now) for quota in quotas if binds(quota, owner))
    return (*_of_tier(owner, now, tier), *of_quotas)


def _of_tier(owner: Owner, now: datetime, tier: UsageTier) -> Iterator[Limit]:
    """The tier's monthly limit, on the organization and on each project alike: no project can spend more than all."""
    for scope, of in ((Scope.ORGANIZATION, owner.organization), (Scope.PROJECT, owner.project)):
        yield Limit(
            scope=scope,
            organization_id=owner.organization.pk,
            quota_id=None,
            project_id=owner.project.pk if scope == Scope.PROJECT else None,
            owner_id=str(of.pk),
            name=of.name,
            origin=f"usage tier {tier.number}",
            measure=Measure.USD,
            model="",
            amount=tier.monthly_limit_usd,
            window=month_of(now),
        )


def binds(quota: Quota, owner: Owner) -> bool:
    """Whether a quota binds the calls of an owner."""
    if quota.organization_id != owner.organization.pk or (quota.model and owner.model not in (None, quota.model)):
        return False
    match Scope(quota.scope):
        case Scope.ORGANIZATION:
            return True
        case Scope.TEAM:
            return quota.team_id == owner.team_id
        case Scope.PROJECT:
            return quota.project_id == owner.project.pk
        case Scope.MEMBER:
            return quota.member_id == owner.member_id
        case Scope.KEY:
            return quota.api_key_id == owner.api_key_id


def limit_of(quota: Quota, now: datetime) -> Limit:
    """A quota as the limit that it is in the window that is open at an instant."""
    owner_id = quota.team_id or quota.project_id or quota.member_id or quota.api_key_id or quota.organization_id
    return Limit(
        scope=Scope(quota.scope),
        organization_id=quota.organization_id,
        quota_id=quota.pk,
        project_id=quota.project_id,
        owner_id=str(owner_id),
        name=quota.owner_name,
        origin="quota",
        measure=Measure(quota.measure),
        model=quota.model,
        amount=quota.limit,
        window=window_of(quota, now),
        is_hard=quota.is_hard,
    )


def _budgets(limits: Iterable[Limit]) -> dict[Key, Budget]:
    """The rows that there are for these limits, in one query."""
    wanted = {limit.key for limit in limits}
    if not wanted:
        return {}
    rows = Budget.objects.filter(
        Q(quota_id__in={key[1] for key in wanted if key[1]})
        | Q(quota__isnull=True, project__isnull=True)
        | Q(quota__isnull=True, project_id__in={key[2] for key in wanted if key[2]}),
        organization_id__in={key[0] for key in wanted},
        window_start__in={key[3] for key in wanted},
    )
    found = {(row.organization_id, row.quota_id, row.project_id, row.window_start): row for row in rows}
    return {key: row for key, row in found.items() if key in wanted}


def _open(limit: Limit) -> Budget:
    """A new budget with all that was used and is held in its window."""
    held: Mapping[UUID, Amounts] = held_in(limit, limit.window)
    budget = Budget.objects.create(
        organization_id=limit.organization_id,
        quota_id=limit.quota_id,
        project_id=limit.project_id,
        scope=limit.scope,
        measure=limit.measure,
        window_start=limit.window.start,
        window_end=limit.window.end,
        limit=limit.amount,
        spent=spent_in(limit, limit.window),
        held=sum((amounts.of(limit.measure) for amounts in held.values()), Decimal(0)),
    )
    Hold.objects.bulk_create(
        Hold(reservation_id=reservation_id, budget=budget, amount=amounts.of(limit.measure))
        for reservation_id, amounts in held.items()
    )
    return budget
