from django.apps import AppConfig

from config.celery import app as celery_app


class ConfigConfig(AppConfig):
    """Makes Bursar's Celery app the current one, so that every `shared_task` belongs to it."""

    name = "config"
    celery_app = celery_app
