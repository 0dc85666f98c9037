"""The tables of `billing`, one noun a file."""

from billing.models.budgets import Budget, Hold, Measure, Quota, Reservation, Scope, WindowKind
from billing.models.closings import ClosedMonth
from billing.models.entries import Book, LedgerEntry
from billing.models.prices import Price, ServiceTier
from billing.models.usage import SpendRollup, UsageRecord

__all__ = [
    "Book",
    "Budget",
    "ClosedMonth",
    "Hold",
    "LedgerEntry",
    "Measure",
    "Price",
    "Quota",
    "Reservation",
    "Scope",
    "ServiceTier",
    "SpendRollup",
    "UsageRecord",
    "WindowKind",
]
