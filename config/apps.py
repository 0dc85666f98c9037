from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig

from config.celery import app as celery_app


class ConfigConfig(AppConfig):
    """Makes Bursar's Celery app the current one, so that every `shared_task` belongs to it."""

    name = "config"
    celery_app = celery_app


class BursarAdminConfig(AdminConfig):
    """The admin with Bursar's own site."""

    default_site = "config.admin.BursarAdminSite"
