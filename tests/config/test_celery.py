"""A worker starts only with the settings of Celery and Redis that the path rests on."""

import logging

import pytest
from django.core.exceptions import ImproperlyConfigured

from config import celery
from jobs import limiter


class Conf(dict):
    """Settings by name, as Celery gives them."""

    def __getattr__(self, name: str) -> object:
        return self[name]


@pytest.fixture
def conf() -> Conf:
    """The app's settings, to be changed by a test."""
    others = ("visibility_timeout", "broker_transport_options", "result_backend_transport_options")
    return Conf({name: celery.app.conf.get(name) for name in (*celery.REQUIRED, *others)})


def test_as_it_is_set_a_worker_may_start(conf, settings):
    celery.require(conf)
    celery.require_no_eviction(settings.CELERY_BROKER_URL)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task_acks_late", True),
        ("task_ignore_result", False),
        ("worker_prefetch_multiplier", 4),
        ("visibility_timeout", 60),
        ("broker_transport_options", {}),
        ("result_backend_transport_options", None),
    ],
)
def test_otherwise_it_says_what_is_wrong(conf, name, value):
    conf[name] = value
    with pytest.raises(ImproperlyConfigured, match=name):
        celery.require(conf)


def test_a_redis_that_throws_keys_away_is_refused(settings):
    client = limiter.connection()
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(ImproperlyConfigured, match="allkeys-lru"):
            celery.require_no_eviction(settings.CELERY_BROKER_URL)
    finally:
        client.config_set("maxmemory-policy", "noeviction")


def test_a_redis_that_does_not_answer_is_waited_for(caplog):
    with caplog.at_level(logging.WARNING):
        celery.require_no_eviction("redis://127.0.0.1:1/0")
    assert "was not asked" in caplog.text
