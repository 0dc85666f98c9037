"""What the door remembers for a second: jobs are let in by it, and nobody is refused by it."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from django.db import connection
from psycopg_pool import PoolTimeout

from accounts import api_keys, remembered
from accounts.models import TierOverride
from billing.models import Price, Quota
from jobs import backlog, waking
from jobs.models import Job, LanguageModel
from tests.api.conftest import PROMPT, client_of


def post(client, model="o1-mini"):
    return client.post("/api/v1/jobs", {"model": model, "prompt": PROMPT}, format="json")


def test_a_second_submission_asks_whether_its_key_is_good_and_writes(
    client, clock, monkeypatch, django_assert_num_queries, django_capture_on_commit_callbacks
):
    monkeypatch.setattr(waking, "wake", lambda: None)
    with django_capture_on_commit_callbacks(execute=True):  # from then on its queue is known
        assert post(client).status_code == 202
    with django_assert_num_queries(2):
        assert post(client).status_code == 202
    assert Job.objects.count() == 2


def test_a_revoked_key_is_refused_at_once(client, api_key, clock):
    assert post(client).status_code == 202
    api_keys.revoke(api_key.api_key)
    assert post(client).status_code == 401


def test_a_limit_that_was_just_raised_counts_at_once(client, project, clock):
    quota = Quota.objects.create(organization=project.organization, project=project, limit=Decimal("0.01"))
    assert post(client).status_code == 402
    Quota.objects.filter(pk=quota.pk).update(limit=Decimal("100"))
    assert post(client).status_code == 202


def test_a_limit_that_was_just_lowered_counts_after_a_second(client, project, clock):
    assert post(client).status_code == 202
    Quota.objects.create(organization=project.organization, project=project, limit=Decimal("0.01"))
    assert post(client).status_code == 202
    clock.now += remembered.SECONDS
    assert post(client).status_code == 402


def test_a_model_a_tier_and_a_price_that_came_just_now_count_at_once(client, organization, owner, clock):
    TierOverride.objects.create(organization=organization, tier=1, reason="for now", actor=owner)
    assert post(client, "o1-preview").status_code == 403
    TierOverride.objects.all().delete()
    assert post(client, "o1-preview").status_code == 202

    assert post(client, "o9").status_code == 404
    LanguageModel.objects.filter(name="o1-mini").update(name="o9")
    assert post(client, "o9").json()["code"] == "price_unknown"
    Price.objects.filter(model="o1-mini").update(model="o9")
    assert post(client, "o9").json().get("code") != "price_unknown"


def test_a_full_queue_refuses_with_its_limit_and_the_way_out(client, settings, clock):
    settings.MAX_QUEUED_JOBS = 2
    assert [post(client).status_code, post(client).status_code] == [202, 202]
    clock.now += backlog.COUNTED_EVERY_SECONDS
    response = post(client)
    problem = response.json()
    assert (response.status_code, problem["code"], problem["limit"]) == (429, "backlog_full", 2)
    assert response["Retry-After"] == "30"
    assert "BURSAR_MAX_QUEUED_JOBS" in problem["detail"]
    assert Job.objects.count() == 2
    Job.objects.earliest("id").delete()
    clock.now += backlog.COUNTED_EVERY_SECONDS
    assert post(client).status_code == 202


def test_another_projects_queue_does_not_count_nor_does_any_without_a_limit(client, bobs_client, settings):
    settings.MAX_QUEUED_JOBS = 1
    assert [post(client).status_code, post(bobs_client).status_code] == [202, 202]
    assert post(client).status_code == 429
    settings.MAX_QUEUED_JOBS = 0
    assert post(client).status_code == 202


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_submission_that_gets_no_connection_is_told_when_to_come_back(alice, monkeypatch):
    connection.ensure_connection()
    pool = connection.pool
    monkeypatch.setattr(pool, "timeout", 0.1)
    held = []
    try:
        while len(held) < pool.max_size:
            held.append(pool.getconn(timeout=0.5))
    except PoolTimeout:
        pass  # this thread has the last one

    def elsewhere():
        try:
            return post(client_of(alice))
        finally:
            connection.close()

    try:
        with ThreadPoolExecutor(1) as threads:
            response = threads.submit(elsewhere).result()
    finally:
        for taken in held:
            pool.putconn(taken)
    assert (response.status_code, response.json()["code"]) == (503, "database_unavailable")
    assert response["Retry-After"] == "5"
    assert post(client_of(alice)).status_code == 202
