"""The routes of `billing` below `/api/v1`."""

from django.urls import path

from billing.api.alerts import AlertsView
from billing.api.export import SpendExportView
from billing.api.quotas.request_views import (
    ApprovalView,
    QuotaRequestsView,
    QuotaRequestView,
    RefusalView,
    WithdrawalView,
)
from billing.api.quotas.views import (
    QuotaPreviewView,
    QuotasView,
    QuotaView,
)
from billing.api.reconciliation import ReconciliationView
from billing.api.reconciliation_runs import ReconciliationRunView
from billing.api.spend import SpendView
from billing.api.webhooks import (
    DeliveriesView,
    DeliveryReplayView,
    WebhookRotationView,
    WebhooksView,
    WebhookTestView,
    WebhookView,
)

urlpatterns = [
    path("spend", SpendView.as_view(), name="spend"),
    path("spend/export", SpendExportView.as_view(), name="spend-export"),
    path("reconciliation", ReconciliationView.as_view(), name="reconciliation"),
    path("reconciliation/runs/<uuid:run_id>", ReconciliationRunView.as_view(), name="reconciliation-run"),
    path("quotas", QuotasView.as_view(), name="quotas"),
    path("quotas/preview", QuotaPreviewView.as_view(), name="quota-preview"),
    path("quotas/<uuid:quota_id>", QuotaView.as_view(), name="quota"),
    path("quota-requests", QuotaRequestsView.as_view(), name="quota-requests"),
    path("quota-requests/<uuid:request_id>", QuotaRequestView.as_view(), name="quota-request"),
    path("quota-requests/<uuid:request_id>/approve", ApprovalView.as_view(), name="quota-request-approval"),
    path("quota-requests/<uuid:request_id>/refuse", RefusalView.as_view(), name="quota-request-refusal"),
    path("quota-requests/<uuid:request_id>/withdraw", WithdrawalView.as_view(), name="quota-request-withdrawal"),
    path("alerts", AlertsView.as_view(), name="alerts"),
    path("webhooks", WebhooksView.as_view(), name="webhooks"),
    path("webhooks/<uuid:webhook_id>", WebhookView.as_view(), name="webhook"),
    path("webhooks/<uuid:webhook_id>/test", WebhookTestView.as_view(), name="webhook-test"),
    path("webhooks/<uuid:webhook_id>/rotate", WebhookRotationView.as_view(), name="webhook-rotation"),
    path("webhooks/<uuid:webhook_id>/deliveries", DeliveriesView.as_view(), name="webhook-deliveries"),
    path("webhook-deliveries/<uuid:delivery_id>/replay", DeliveryReplayView.as_view(), name="webhook-replay"),
]
