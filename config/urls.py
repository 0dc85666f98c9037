"""Every route of Bursar. The routes of `/api/v1` stand with the apps that answer them."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularRedocView, SpectacularSwaggerSplitView

from config import health, metrics, passwords
from jobs.background import webhook

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="docs"), name="home"),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("readyz/all", health.readyz_all, name="readyz-all"),
    path("metrics", metrics.metrics, name="metrics"),
    path("webhooks/openai", webhook.receive, name="provider-webhook"),
    *passwords.urls,
    path("admin/", admin.site.urls),
    path("api/v1/", include("jobs.api.urls")),
    path("api/v1/", include("billing.api.urls")),
    path("api/v1/", include("accounts.api.urls")),
    path("v1/", include("jobs.front_door.urls")),
    path("v1/", include("billing.provider_api.urls")),
    path("api/v1/schema", SpectacularAPIView.as_view(), name="schema"),
    path("api/v1/docs", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    path("api/v1/redoc", SpectacularRedocView.as_view(url_name="schema", template_name="redoc.html"), name="redoc"),
]

handler400 = "config.errors.bad_request"
handler403 = "config.errors.permission_denied"
handler404 = "config.errors.not_found"
handler500 = "config.errors.server_error"
