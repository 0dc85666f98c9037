"""The tables of `billing`, one noun a file."""

from billing.models.budgets import Budget, Hold, Quota, Reservation, Scope
from billing.models.entries import LedgerEntry
from billing.models.prices import Price, ServiceTier
from billing.models.usage import SpendRollup, UsageRecord

__all__ = [
    "Budget",
    "Hold",
    "LedgerEntry",
    "Price",
    "Quota",
    "Reservation",
    "Scope",
    "ServiceTier",
    "SpendRollup",
    "UsageRecord",
]
