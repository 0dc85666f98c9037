"""The routes of `jobs` below `/api/v1`."""

from django.urls import path

from jobs.api.limits import LimitsView
from jobs.api.models import ModelsView
from jobs.api.views import AttemptsView, JobCancellationView, JobErasureView, JobsView, JobView

urlpatterns = [
    path("jobs", JobsView.as_view(), name="jobs"),
    path("jobs/<uuid:job_id>", JobView.as_view(), name="job"),
    path("jobs/<uuid:job_id>/cancel", JobCancellationView.as_view(), name="job-cancellation"),
    path("jobs/<uuid:job_id>/erase", JobErasureView.as_view(), name="job-erasure"),
    path("jobs/<uuid:job_id>/attempts", AttemptsView.as_view(), name="job-attempts"),
    path("models", ModelsView.as_view(), name="models"),
    path("limits", LimitsView.as_view(), name="limits"),
]
