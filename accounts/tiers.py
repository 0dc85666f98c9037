"""The tier that an organization stands at: what it follows from, what it allows, and what is missing to the next."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import groupby

from django.db.models import Q

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
    tiers = tiers_on(organization.terms_date(now))
    if not tiers:
        raise LookupError(
            "There is no usage tier row: run `manage.py migrate`, which seeds them, or add them in the admin."
        )
    payments = list(Payment.objects.filter(organization=organization, paid_at__lte=now))
    paid_usd = sum((p.amount_usd for p in payments), Decimal(0))
    days = (now - min(p.paid_at for p in payments)).days if payments else None
    override = (
        TierOverride.objects.filter(Q(ends_at__isnull=True) | Q(ends_at__gt=now), organization=organization)
        .order_by("-created_at", "-id")
        .first()
    )
    if override and override.tier in tiers:
        return Standing(tiers[override.tier], True, paid_usd, days)
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
