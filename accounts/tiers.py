"""The tier that an organization stands at: what it follows from, what it allows, and what is missing to the next."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import groupby
from uuid import UUID

from django.db import connection

from accounts.dated import in_force
from accounts.models import Organization, ProjectRateLimit, RateLimit, UsageTier


@dataclass(frozen=True, slots=True)
class Standing:
    """An organization's tier at an instant, and the payments behind it."""

    tier: UsageTier
    is_override: bool
    paid_usd: Decimal
    days_since_first_payment: int | None  # None: nothing was paid yet


def tiers_on(day: date) -> dict[int, UsageTier]:
    """Every tier by its number, as the provider defined them on a day."""
    rows = UsageTier.objects.order_by("number")
    found = (in_force(group, day) for _, group in groupby(rows, key=lambda row: row.number))
    return {tier.number: tier for tier in found if tier is not None}


def qualified(tiers: Sequence[UsageTier], *, paid_usd: Decimal, days: int | None) -> UsageTier:
    """The highest tier whose payment and waiting time are both met.

    `tiers` holds the Free tier, which asks for nothing.
    """
    reached = [t for t in tiers if paid_usd >= t.minimum_paid_usd and (days or 0) >= t.minimum_days]
    return max(reached, key=lambda tier: tier.number)


def standing(organization: Organization, now: datetime) -> Standing:
    """The tier that the organization stands at now: the override in force, else what its payments qualify it for.

    Raises LookupError if no tier row exists at all.
    """
    return standings([organization], now)[organization.pk]


# What an organization paid, and the override in force that was set last. One question for a whole batch of calls.
_BEHIND = """
    SELECT organization.id, paid.usd, paid.first, override.tier
    FROM unnest(%s::uuid[]) AS organization (id)
    LEFT JOIN LATERAL (
        SELECT sum(amount_usd) AS usd, min(paid_at) AS first
        FROM accounts_payment WHERE organization_id = organization.id AND paid_at <= %s
    ) paid ON true
    LEFT JOIN LATERAL (
        SELECT tier FROM accounts_tieroverride
        WHERE organization_id = organization.id AND (ends_at IS NULL OR ends_at > %s)
        ORDER BY created_at DESC, id DESC LIMIT 1
    ) override ON true
"""


def standings(organizations: Iterable[Organization], now: datetime) -> dict[UUID, Standing]:
    """The same for many organizations, in as many queries as for one."""
    days = {organization.pk: organization.terms_date(now) for organization in organizations}
    tiers = {day: tiers_on(day) for day in set(days.values())}
    if not all(tiers.values()):
        raise LookupError(
            "There is no usage tier row: run `manage.py migrate`, which seeds them, or add them in the admin."
        )
    with connection.cursor() as cursor:
        cursor.execute(_BEHIND, [list(days), now, now])
        return {pk: _standing(tiers[days[pk]], paid, first, tier, now) for pk, paid, first, tier in cursor.fetchall()}


def _standing(
    tiers: Mapping[int, UsageTier], paid: Decimal | None, first: datetime | None, override: int | None, now: datetime
) -> Standing:
    paid_usd = paid or Decimal(0)
    days = (now - first).days if first else None
    if override is not None and override in tiers:
        return Standing(tiers[override], True, paid_usd, days)
    return Standing(qualified(list(tiers.values()), paid_usd=paid_usd, days=days), False, paid_usd, days)


def missing_for(needed: UsageTier, standing: Standing) -> str:
    """What is missing to a tier, as the end of a sentence: '$950.00 more in payments and 27 more days since ...'."""
    parts = []
    if standing.paid_usd < needed.minimum_paid_usd:
        parts.append(f"${needed.minimum_paid_usd - standing.paid_usd:,.2f} more in payments")
    days = standing.days_since_first_payment
    if (days or 0) < needed.minimum_days:
        parts.append(
            f"{needed.minimum_days} days since the first payment"
            if days is None
            else f"{needed.minimum_days - days} more days since the first payment"
        )
    return " and ".join(parts) or "an end of the tier that was set by hand"


def rate_limit(tier: int, model: str, day: date) -> RateLimit | None:
    """What a tier may send to a model (or family) on a day; None where no row says it."""
    return in_force(RateLimit.objects.filter(tier=tier, model=model), day)


def project_rate_limits(project_ids: Iterable[UUID]) -> dict[tuple[UUID, str], ProjectRateLimit]:
    """What these projects may send of their own, by project and model (or family): one question for all of them."""
    rows = ProjectRateLimit.objects.filter(project_id__in=set(project_ids))
    return {(row.project_id, row.model): row for row in rows}
