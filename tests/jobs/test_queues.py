"""Queues are made by the submissions themselves, at once and without waiting for one another."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from threading import Barrier

import pytest
from django.db import connection, transaction

from jobs import queues
from jobs.models import Queue
from jobs.queues import queue_of, rate

NOW = datetime(2024, 9, 30, 12, tzinfo=UTC)


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_submissions_at_once_make_one_queue(project):
    barrier = Barrier(8)

    def make(_: int):
        try:
            with transaction.atomic():
                barrier.wait(10)
                return queue_of(project, "o1-mini")
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(make, range(8)))
    assert found == set(Queue.objects.values_list("pk", flat=True))
    assert len(found) == 1


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_submission_does_not_wait_for_a_queue_that_is_being_written(project):
    with transaction.atomic():
        queue = queue_of(project, "o1-mini")
    queues._known.clear()

    def make() -> object:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '2s'")
                return queue_of(project, "o1-mini")
        finally:
            connection.close()

    with transaction.atomic(), ThreadPoolExecutor(1) as pool:
        Queue.objects.filter(pk=queue).update(starts_per_minute=1)
        assert pool.submit(make).result(20) == queue


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_queue_whose_making_was_rolled_back_is_made_again(project):
    with transaction.atomic():
        queue_of(project, "o1-mini")
        transaction.set_rollback(True)
    with transaction.atomic():
        queue = queue_of(project, "o1-mini")
    assert Queue.objects.filter(pk=queue).exists()


def test_the_mean_of_starts_settles_at_the_rate_and_forgets():
    mean, now = Decimal(0), NOW
    for second in range(300):
        mean = rate(mean, now if second else None, 2, NOW + timedelta(seconds=second))
        now = NOW + timedelta(seconds=second)
    assert 118 < mean < 124  # two a second
    assert rate(mean, now, 0, now + timedelta(minutes=10)) == 0
