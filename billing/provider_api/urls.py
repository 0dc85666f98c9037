"""The routes of the provider's administration API, below `/v1`."""

from django.urls import path

from billing.provider_api.costs import CostsView
from billing.provider_api.projects import ProjectsView, ProjectView
from billing.provider_api.spend_limits import SpendLimitView
from billing.provider_api.usage import UsageView

urlpatterns = [
    path("organization/costs", CostsView.as_view(), name="openai-costs"),
    path("organization/usage/completions", UsageView.as_view(), name="openai-usage"),
    path("organization/spend_limit", SpendLimitView.as_view(), name="openai-spend-limit"),
    path("organization/projects", ProjectsView.as_view(), name="openai-projects"),
    path("organization/projects/<uuid:project_id>", ProjectView.as_view(), name="openai-project"),
    path(
        "organization/projects/<uuid:project_id>/spend_limit",
        SpendLimitView.as_view(),
        name="openai-project-spend-limit",
    ),
]
