"""The routes of `jobs` below `/api/v1`."""

from django.urls import path

from jobs.api.calibration import CalibrationView
from jobs.api.comparisons.views import (
    ComparisonCancellationView,
    ComparisonErasureView,
    ComparisonFileView,
    ComparisonRunsView,
    ComparisonsView,
    ComparisonView,
)
from jobs.api.estimate import EstimateView
from jobs.api.expectations import ExpectationsView
from jobs.api.limits import LimitsView
from jobs.api.models import ModelsView
from jobs.api.views import AttemptsView, JobCancellationView, JobErasureView, JobsView, JobView
from jobs.api.waste import WasteView

urlpatterns = [
    path("jobs", JobsView.as_view(), name="jobs"),
    path("jobs/estimate", EstimateView.as_view(), name="job-estimate"),
    path("jobs/<uuid:job_id>", JobView.as_view(), name="job"),
    path("jobs/<uuid:job_id>/cancel", JobCancellationView.as_view(), name="job-cancellation"),
    path("jobs/<uuid:job_id>/erase", JobErasureView.as_view(), name="job-erasure"),
    path("jobs/<uuid:job_id>/attempts", AttemptsView.as_view(), name="job-attempts"),
    path("comparisons", ComparisonsView.as_view(), name="comparisons"),
    path("comparisons/<uuid:comparison_id>", ComparisonView.as_view(), name="comparison"),
    path("comparisons/<uuid:comparison_id>/cancel", ComparisonCancellationView.as_view(), name="comparison-cancel"),
    path("comparisons/<uuid:comparison_id>/erase", ComparisonErasureView.as_view(), name="comparison-erasure"),
    path("comparisons/<uuid:comparison_id>/runs", ComparisonRunsView.as_view(), name="comparison-runs"),
    path("comparisons/<uuid:comparison_id>/runs.csv", ComparisonFileView.as_view(), name="comparison-file"),
    path("models", ModelsView.as_view(), name="models"),
    path("expectations", ExpectationsView.as_view(), name="expectations"),
    path("expectations/calibration", CalibrationView.as_view(), name="calibration"),
    path("limits", LimitsView.as_view(), name="limits"),
    path("waste", WasteView.as_view(), name="waste"),
]
