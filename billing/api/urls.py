"""The routes of `billing` below `/api/v1`."""

from django.urls import path

from billing.api.reconciliation import ReconciliationView
from billing.api.spend import SpendView

urlpatterns = [
    path("spend", SpendView.as_view(), name="spend"),
    path("reconciliation", ReconciliationView.as_view(), name="reconciliation"),
]
