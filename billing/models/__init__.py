"""The tables of `billing`, one noun a file."""

from billing.models.alerts import Alert, AlertKind
from billing.models.budgets import Budget, Hold, Measure, Quota, Reservation, Scope, WindowKind
from billing.models.entries import Book, LedgerEntry
from billing.models.prices import Price, ServiceTier
from billing.models.usage import SpendRollup, UsageRecord
from billing.models.verifications import Origin, Verification

__all__ = [
    "Alert",
    "AlertKind",
    "Book",
    "Budget",
    "Hold",
    "LedgerEntry",
    "Measure",
    "Origin",
    "Price",
    "Quota",
    "Reservation",
    "Scope",
    "ServiceTier",
    "SpendRollup",
    "UsageRecord",
    "Verification",
    "WindowKind",
]
