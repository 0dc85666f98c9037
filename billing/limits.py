"""Which limits bind a call. Pure: the quotas, the tier and the instant are parameters."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from accounts.models import Organization, Project, UsageTier
from billing.amounts import Amounts
from billing.models import Measure, Quota, Scope, WindowKind
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


@dataclass(slots=True)
class QuotaTerms:
    """As much of a quota as limits are made of."""

    pk: UUID
    organization_id: UUID
    scope: str
    team_id: UUID | None
    project_id: UUID | None
    member_id: int | None
    api_key_id: UUID | None
    model: str
    measure: str
    window: str
    limit: Decimal  # with what it is raised by at the instant that was asked for
    is_hard: bool
    starts_at: datetime | None
    expires_at: datetime | None
    risk: Decimal | None
    owner_name: str


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
    starts_at: datetime | None = None
    expires_at: datetime | None = None
    risk: Decimal | None = None  # of a reserve

    @property
    def is_reserve(self) -> bool:
        """Whether it counts what calls may come to, and came to, beyond what was likely."""
        return self.measure == Measure.RESERVE

    @property
    def is_relieved(self) -> bool:
        """Whether what is beyond the likely may be held on a reserve instead."""
        return is_relieved(self.measure, self.scope, self.quota_id)

    def counts(self, amounts: Amounts) -> Decimal:
        """What a call counts on it."""
        return amounts.counted(self.measure, is_relieved=self.is_relieved)

    @property
    def counted(self) -> Window:
        """The part of the window in which it counts: all of it, but for what lies before its start or after its end."""
        return Window(
            max(self.window.start, self.starts_at or self.window.start),
            min(self.window.end, self.expires_at or self.window.end),
        )

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


def binding(
    owner: Owner, quotas: Iterable[Quota | QuotaTerms], tier: UsageTier, instant: datetime
) -> tuple[Limit, ...]:
    """Every limit that binds an owner's calls at an instant: the tier's on the organization and on the project, quotas.

    `quotas` are those that are in force at the instant.
    """
    of_quotas = (limit_of(quota, instant) for quota in quotas if binds(quota, owner))
    return (*of_tier(owner, tier, instant), *of_quotas)


def of_tier(owner: Owner, tier: UsageTier, instant: datetime) -> Iterator[Limit]:
    """The tier's monthly limit, on the organization and on each project alike: no project can spend more than all."""
    yield tier_limit(owner.organization, None, tier, instant)
    yield tier_limit(owner.organization, owner.project, tier, instant)


def tier_limit(organization: Organization, project: Project | None, tier: UsageTier, instant: datetime) -> Limit:
    """The tier's monthly limit on one project, or on the organization."""
    return Limit(
        scope=Scope.PROJECT if project else Scope.ORGANIZATION,
        organization_id=organization.pk,
        quota_id=None,
        project_id=project.pk if project else None,
        owner_id=str((project or organization).pk),
        name=(project or organization).name,
        origin=f"usage tier {tier.number}",
        measure=Measure.USD,
        model="",
        amount=tier.monthly_limit_usd,
        window=month_of(instant),
    )


def binds(quota: Quota | QuotaTerms, owner: Owner) -> bool:
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


def limit_of(quota: Quota | QuotaTerms, instant: datetime, raised: Decimal = Decimal(0)) -> Limit:
    """A quota as the limit that it is in the window that an instant lies in, raised by so much."""
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
        amount=quota.limit + raised,
        window=window_of(quota, instant),
        is_hard=quota.is_hard,
        starts_at=quota.starts_at,
        expires_at=quota.expires_at,
        risk=quota.risk,
    )


def is_relieved(measure: str, scope: str, quota_id: UUID | None) -> bool:
    """Whether a reserve may hold a part for such a limit: quotas of dollars below the organization.

    The organization's own limits, and the tier's on each project, count all that a call may come to and comes to.
    """
    return measure == Measure.USD and scope != Scope.ORGANIZATION and quota_id is not None


def counts_corrections(measure: Measure, scope: Scope, model: str) -> bool:
    """Whether a limit counts corrections: they belong to a project and its team, and to no model, member or key."""
    return measure == Measure.USD and scope in {Scope.ORGANIZATION, Scope.TEAM, Scope.PROJECT} and not model


def window_of(quota: Quota | QuotaTerms, instant: datetime) -> Window:
    """The window of a quota that an instant lies in."""
    match WindowKind(quota.window):
        case WindowKind.DAY:
            return day_of(instant)
        case WindowKind.WEEK:
            return week_of(instant)
        case WindowKind.MONTH:
            return month_of(instant)
        case WindowKind.FIXED:
            assert quota.starts_at, "a constraint says so"
            assert quota.expires_at, "a constraint says so"
            return Window(quota.starts_at, quota.expires_at)
