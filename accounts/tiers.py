"""The tier that an organization stands at: what it follows from, what it allows, and what is missing to the next."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import groupby
from typing import Any
from uuid import UUID

from django.db.models import Min, Q, Sum

from accounts.dated import in_force
from accounts.models import Organization, Payment, RateLimit, TierOverride, UsageTier


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


def standings(organizations: Iterable[Organization], now: datetime) -> dict[UUID, Standing]:
    """The same for many organizations, in as many queries as for one."""
    organizations = list(organizations)
    paid = Payment.objects.filter(organization__in=organizations, paid_at__lte=now).order_by().values("organization")
    payments = {row["organization"]: row for row in paid.annotate(usd=Sum("amount_usd"), first=Min("paid_at"))}
    in_force_now = Q(ends_at__isnull=True) | Q(ends_at__gt=now)
    overrides = _by_organization(TierOverride.objects.filter(in_force_now, organization__in=organizations))
    tiers = {day: tiers_on(day) for day in {organization.terms_date(now) for organization in organizations}}
    if not all(tiers.values()):
        raise LookupError(
            "There is no usage tier row: run `manage.py migrate`, which seeds them, or add them in the admin."
        )
    return {
        organization.pk: _standing(
            tiers[organization.terms_date(now)], payments.get(organization.pk), overrides[organization.pk], now
        )
        for organization in organizations
    }


def _standing(
    tiers: Mapping[int, UsageTier], paid: Mapping[str, Any] | None, overrides: Sequence[TierOverride], now: datetime
) -> Standing:
    paid_usd = paid["usd"] if paid else Decimal(0)
    days = (now - paid["first"]).days if paid else None
    newest = max(overrides, key=lambda override: (override.created_at, override.pk), default=None)
    if newest is not None and newest.tier in tiers:
        return Standing(tiers[newest.tier], True, paid_usd, days)
    return Standing(qualified(list(tiers.values()), paid_usd=paid_usd, days=days), False, paid_usd, days)


def _by_organization(rows: Iterable[TierOverride]) -> dict[UUID, list[TierOverride]]:
    grouped: dict[UUID, list[TierOverride]] = defaultdict(list)
    for row in rows:
        grouped[row.organization_id].append(row)
    return grouped


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
