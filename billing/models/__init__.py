"""The tables of `billing`, one noun a file."""

from billing.models.alerts import Alert, AlertKind
from billing.models.budgets import Budget, Hold, Measure, Quota, Reservation, Scope, WindowKind
from billing.models.closings import ClosedMonth
from billing.models.entries import Book, LedgerEntry
from billing.models.prices import Price, ServiceTier
from billing.models.reconciliations import (
    ReconciledDay,
    ReconciliationDecision,
    ReconciliationLine,
    ReconciliationRun,
)
from billing.models.rollups import DayRollup, KeyRollup, ModelRollup, ProjectRollup, Rollup, SpendRollup
from billing.models.usage import UsageRecord
from billing.models.verifications import Origin, Verification

__all__ = [
    "Alert",
    "AlertKind",
    "Book",
    "Budget",
    "ClosedMonth",
    "DayRollup",
    "Hold",
    "KeyRollup",
    "LedgerEntry",
    "Measure",
    "ModelRollup",
    "Origin",
    "Price",
    "ProjectRollup",
    "Quota",
    "ReconciledDay",
    "ReconciliationDecision",
    "ReconciliationLine",
    "ReconciliationRun",
    "Reservation",
    "Rollup",
    "Scope",
    "ServiceTier",
    "SpendRollup",
    "UsageRecord",
    "Verification",
    "WindowKind",
]
