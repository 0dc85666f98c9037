"""Celery's settings, the processes that should run, and the people who are told when something is wrong."""

from collections.abc import Iterator

import celery
from celery import current_app
from django.conf import settings

from accounts.models import User
from billing.clock import database_now
from config import health
from config.celery import unfit
from config.doctor.findings import Finding, fail, ok, warn
from jobs import workers

OLDEST_CELERY = (5, 6, 3)
# It dies when the broker restarts (docs/decisions/0002).
BROKEN_CELERY = (5, 7, 0)


def messages() -> Iterator[Finding]:
    """Whether Celery carries messages as the work expects it."""
    version = tuple(int(part) for part in celery.__version__.split(".")[:3])
    if version < OLDEST_CELERY or version == BROKEN_CELERY:
        yield fail(f"Celery {celery.__version__} loses messages or dies with the broker", "install requirements.txt")
    for wrong in unfit(current_app.conf):
        yield fail(f"Celery: {wrong}", "set it as config/settings.py does; no worker starts otherwise")
    yield ok(f"Celery {celery.__version__} acknowledges early and keeps no results")


REMEDIES = {
    "dispatch": "start `celery -A config.celery worker -Q control -P threads -c 4`, or see its log",
    "beat": "start `celery -A config.celery beat`, or see its log",
    "batches": "start `celery -A config.celery worker -Q batches -P threads -c 2`, or see its log",
    "calls": "start `celery -A config.celery worker -Q calls -P threads -c 2`, or see its log",
}


def processes() -> Iterator[Finding]:
    """Workers and beat, as they show themselves."""
    found = health.checks()
    for name, remedy in REMEDIES.items():
        if found[name] == health.OK:
            yield ok(f"{name} works")
        else:
            yield fail(f"{name}: {found[name]}", remedy)
    now = database_now()
    for worker in workers.alive(now):
        yield ok(f"{worker.name} holds up to {worker.slots} calls")


def people() -> Iterator[Finding]:
    """Whether anybody can come in and is written to."""
    reachable = User.objects.filter(is_active=True, is_staff=True).exclude(email="")
    if not reachable.exists():
        yield fail("nobody can sign in to the admin", "run `manage.py bootstrap` or `manage.py createsuperuser`")
    if settings.EMAIL_BACKEND.endswith("dummy.EmailBackend"):
        yield warn("alerts are mailed to nobody", "set EMAIL_URL; until then they stand in Admin > Alerts")
    else:
        yield ok(f"alerts are mailed, from {settings.DEFAULT_FROM_EMAIL}")
