"""Admin pages of `billing`: the books are shown only, limits are edited, and spend has pages of its own."""

from billing.admin import (
    alerts,
    books,
    closings,
    limits,
    prices,
    quotas,
    reconciliation,
    reviews,
    spend,
    standing,
    verification,
    webhooks,
)

__all__ = [
    "alerts",
    "books",
    "closings",
    "limits",
    "prices",
    "quotas",
    "reconciliation",
    "reviews",
    "spend",
    "standing",
    "verification",
    "webhooks",
]
