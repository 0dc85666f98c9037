"""The Celery app: `celery -A config.celery worker -P threads -c 2 -Q calls`."""

import gc
import os
from typing import Any

from celery import Celery
from celery.signals import worker_ready

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("bursar")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
# By name: the models behind it can be imported only once Django is set up, as it is when a worker starts.
app.steps["worker"].add("jobs.execution.step:Calls")
app.set_default()


@worker_ready.connect
def _keep_what_is_loaded(**_: Any) -> None:
    """A collection of garbage that looked at all modules again would stop every call of this process for 0.1 s."""
    gc.collect()
    gc.freeze()
