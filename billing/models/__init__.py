"""The tables of `billing`, one noun a file."""

from billing.models.budgets import Budget, Hold, Measure, Quota, Reservation, Scope, WindowKind
from billing.models.closings import ClosedMonth
from billing.models.entries import Book, LedgerEntry
from billing.models.prices import Price, ServiceTier
from billing.models.rollups import DayRollup, KeyRollup, ModelRollup, ProjectRollup, Rollup, SpendRollup
from billing.models.usage import UsageRecord

__all__ = [
    "Book",
    "Budget",
    "ClosedMonth",
    "DayRollup",
    "Hold",
    "KeyRollup",
    "LedgerEntry",
    "Measure",
    "ModelRollup",
    "Price",
    "ProjectRollup",
    "Quota",
    "Reservation",
    "Rollup",
    "Scope",
    "ServiceTier",
    "SpendRollup",
    "UsageRecord",
    "WindowKind",
]
