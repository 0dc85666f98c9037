from django.apps import AppConfig, apps
from django.contrib.admin.apps import AdminConfig
from django.db.models.signals import post_migrate

from config.celery import app as celery_app
from config.wall.building import build_after_migrate


class ConfigConfig(AppConfig):
    """Makes Bursar's Celery app the current one, so that every `shared_task` belongs to it."""

    name = "config"
    celery_app = celery_app

    def ready(self) -> None:
        # Whatever has been migrated, tenants are behind their wall again before anybody comes.
        post_migrate.connect(build_after_migrate, sender=apps.get_app_config("jobs"))  # once, by the last of them


class BursarAdminConfig(AdminConfig):
    """The admin with Bursar's own site."""

    default_site = "config.admin.BursarAdminSite"
