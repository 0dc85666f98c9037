"""The Celery app: `celery -A config.celery worker -P threads -c 2 -Q calls`."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("bursar")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
# By name: the models behind it can be imported only once Django is set up, as it is when a worker starts.
app.steps["worker"].add("jobs.execution.step:Calls")
app.set_default()
