"""The Celery app: `celery -A config.celery worker -P threads -c 2 -Q calls`."""

import gc
import logging
import os
from typing import Any

import redis
from celery import Celery, bootsteps
from celery.signals import worker_ready
from django.core.exceptions import ImproperlyConfigured

logger = logging.getLogger(__name__)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("bursar")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

# What the path rests on, and what happens otherwise. PostgreSQL decides who has an attempt, so that a message that is
# lost or comes twice changes nothing; but nothing may pile up, wait behind, or be evicted.
REQUIRED = {
    "task_acks_late": (False, "a message would come again in the middle of its call, each time its timeout is over"),
    "task_reject_on_worker_lost": (None, "messages of dead workers would go round for ever"),
    "task_ignore_result": (True, "results that nobody reads would fill Redis"),
    "task_store_errors_even_if_ignored": (False, "errors that nobody reads would fill Redis"),
    "worker_prefetch_multiplier": (1, "attempts would wait in one worker while another has room"),
}
NEVER_EVICTS = "noeviction"


class Requirements(bootsteps.Step):
    """Refuses to start a worker whose Celery or Redis is set otherwise than the path needs."""

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        require(worker.app.conf)
        require_no_eviction(worker.app.conf.broker_url)


def require(conf: Any) -> None:
    """Raises ImproperlyConfigured, with all that is wrong, where a setting of Celery is not as it must be."""
    if wrong := unfit(conf):
        raise ImproperlyConfigured("Celery is not set as Bursar needs it: " + "; ".join(wrong))


def unfit(conf: Any) -> list[str]:
    """What is wrong with the settings of Celery, a sentence for each, with what happens otherwise."""
    wrong = [
        f"{name} is {conf[name]!r} and must be {wanted!r}: {why}"
        for name, (wanted, why) in REQUIRED.items()
        if conf[name] != wanted
    ]
    timeouts = {
        "visibility_timeout": conf.get("visibility_timeout"),
        "broker_transport_options": (conf.broker_transport_options or {}).get("visibility_timeout"),
        "result_backend_transport_options": (conf.result_backend_transport_options or {}).get("visibility_timeout"),
    }
    if None in timeouts.values() or len(set(timeouts.values())) > 1:
        wrong.append(f"the visibility timeout must be set alike in three places, and is {timeouts}")
    return wrong


def require_no_eviction(url: str) -> None:
    """Raises ImproperlyConfigured where the broker throws keys away when its memory is full.

    One that does not answer, or does not say, is let be: a worker waits for its broker.
    """
    client = redis.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=2)
    try:
        policy = client.info("memory").get("maxmemory_policy", NEVER_EVICTS)
    except (redis.RedisError, OSError) as error:
        logger.warning("Redis was not asked what it does when its memory is full: %s", error)
        return
    finally:
        client.close()
    if policy != NEVER_EVICTS:
        raise ImproperlyConfigured(
            f"Redis has maxmemory-policy {policy}: it would throw queues away. Set {NEVER_EVICTS}."
        )


app.steps["worker"].add(Requirements)
# By name: the models behind it can be imported only once Django is set up, as it is when a worker starts.
app.steps["worker"].add("jobs.execution.step:Calls")
app.steps["worker"].add("config.consuming:Consuming")
app.set_default()


@worker_ready.connect
def _keep_what_is_loaded(**_: Any) -> None:
    """A collection of garbage that looked at all modules again would stop every call of this process for 0.1 s."""
    gc.collect()
    gc.freeze()
