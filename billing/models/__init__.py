"""The tables of `billing`, one noun a file."""

from billing.models.alerts import Alert, AlertKind, AlertSettings, Crossing
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
from billing.models.requests import (
    QuotaRequest,
    RequestStatus,
)
from billing.models.reviews import (
    ReviewAct,
    ReviewedLine,
    ReviewNote,
    ReviewState,
)
from billing.models.rollups import (
    DayKeyRollup,
    DayModelRollup,
    DayRollup,
    HourRollup,
    KeyRollup,
    ModelRollup,
    ProjectRollup,
    Rollup,
    SpendRollup,
)
from billing.models.usage import UsageRecord
from billing.models.verifications import Origin, Verification
from billing.models.webhooks import DeliveryStatus, EventType, WebhookDelivery, WebhookEndpoint, WebhookTry

__all__ = [
    "Alert",
    "AlertKind",
    "AlertSettings",
    "Book",
    "Budget",
    "ClosedMonth",
    "Crossing",
    "DayKeyRollup",
    "DayModelRollup",
    "DayRollup",
    "DeliveryStatus",
    "EventType",
    "Hold",
    "HourRollup",
    "KeyRollup",
    "LedgerEntry",
    "Measure",
    "ModelRollup",
    "Origin",
    "Price",
    "ProjectRollup",
    "Quota",
    "QuotaRequest",
    "ReconciledDay",
    "ReconciliationDecision",
    "ReconciliationLine",
    "ReconciliationRun",
    "RequestStatus",
    "Reservation",
    "ReviewAct",
    "ReviewNote",
    "ReviewState",
    "ReviewedLine",
    "Rollup",
    "Scope",
    "ServiceTier",
    "SpendRollup",
    "UsageRecord",
    "Verification",
    "WebhookDelivery",
    "WebhookEndpoint",
    "WebhookTry",
    "WindowKind",
]
