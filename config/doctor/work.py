"""Celery's settings, the processes that should run, what they leave undone, and the people who are told of it."""

from collections.abc import Iterator
from datetime import timedelta

import celery
from celery import current_app
from django.conf import settings

from accounts.models import User
from billing.clock import database_now
from config import health
from config.celery import unfit
from config.doctor.findings import Finding, fail, ok, warn
from config.metrics.learning import MOST_COUNTED, backlog
from jobs import workers

OLDEST_CELERY = (5, 6, 3)
# It dies when the broker restarts (docs/decisions/0002).
BROKEN_CELERY = (5, 7, 0)
# The learner comes every five seconds, and takes thousands of jobs each time.
LEARNT_WITHIN = timedelta(minutes=5)


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


def learning() -> Iterator[Finding]:
    """Whether answered jobs are learnt of soon."""
    found = backlog(database_now())
    if found.age < LEARNT_WITHIN:
        yield ok(f"answered jobs are learnt of ({found.jobs:,} wait)")
        return
    count = f"{found.jobs:,}" if found.jobs < MOST_COUNTED else f"{MOST_COUNTED:,} or more"
    yield warn(
        f"nothing is learnt of answered jobs: waiting are {count}, the first for {found.age // timedelta(minutes=1):,} "
        "minutes; what is expected of calls grows old",
        f"{REMEDIES['batches']} for `jobs.tasks.learn`; nothing is lost, and while `manage.py relearn` runs this is as "
        "it should be",
    )


def people() -> Iterator[Finding]:
    """Whether anybody can come in and is written to."""
    reachable = User.objects.filter(is_active=True, is_staff=True).exclude(email="")
    if not reachable.exists():
        yield fail("nobody can sign in to the admin", "run `manage.py bootstrap` or `manage.py createsuperuser`")
    if settings.EMAIL_BACKEND.endswith("dummy.EmailBackend"):
        yield warn("alerts are mailed to nobody", "set EMAIL_URL; until then they stand in Admin > Alerts")
    else:
        yield ok(f"alerts are mailed, from {settings.DEFAULT_FROM_EMAIL}")
