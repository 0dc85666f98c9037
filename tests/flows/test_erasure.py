"""Prompts and answers go when they are to; what they cost stays, and every book still verifies."""

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db.models import F
from rest_framework.test import APIClient

from accounts.models import AuditEntry, Project
from jobs import erasure
from jobs.models import Attempt, Job, JobContent

DAY = timedelta(days=1)


@pytest.fixture
def client(alice) -> APIClient:
    api_client = APIClient()
    api_client.credentials(HTTP_AUTHORIZATION=f"Bearer {alice.api_key.secret}")
    return api_client


@pytest.fixture
def keep(path):
    """Says how many days the project keeps content."""

    def keep(days: int | None) -> None:
        Project.objects.filter(pk=path.api_key.project_id).update(content_retention_days=days)
        path.api_key.project.content_retention_days = days

    return keep


def look(client: APIClient, job: Job) -> dict:
    return client.get(f"/api/v1/jobs/{job.pk}").json()


def age(job: Job, by: timedelta) -> None:
    Job.objects.filter(pk=job.pk).update(finished_at=F("finished_at") - by)


def age_fetched(job: Job, by: timedelta) -> None:
    assert JobContent.objects.filter(pk=job.pk, fetched_at__isnull=False).update(fetched_at=F("fetched_at") - by)


def is_kept(job: Job) -> bool:
    return JobContent.objects.filter(pk=job.pk).exists()


def test_an_erased_job_shows_what_it_cost_and_nothing_that_was_said(path, client):
    job = path.submit()
    path.run()
    before = look(client, job)
    assert before["content_erased_at"] is None
    erased = client.post(f"/api/v1/jobs/{job.pk}/erase")
    after = erased.json()
    assert erased.status_code == 200
    assert after["content_erased_at"] is not None
    gone = {"output_text": None, "message": None, "content_erased_at": after["content_erased_at"]}
    assert look(client, job) == {**before, **gone}
    assert client.get("/api/v1/jobs").json()["data"][0]["output_text"] is None
    assert not is_kept(job)
    assert client.get(f"/api/v1/jobs/{job.pk}/attempts").status_code == 200
    call_command("verify_ledger")
    entry = AuditEntry.objects.get(subject_type="job_content")
    assert (entry.action, entry.subject_id, entry.api_key) == ("deleted", str(job.pk), path.api_key)
    assert client.post(f"/api/v1/jobs/{job.pk}/erase").json() == after
    assert AuditEntry.objects.filter(subject_type="job_content").count() == 1


def test_a_job_that_is_not_final_is_not_erased(path, client):
    job = path.submit()
    refused = client.post(f"/api/v1/jobs/{job.pk}/erase")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_erasable")
    path.run()
    assert Job.objects.get(pk=job.pk).status == "succeeded"


def test_nothing_is_erased_where_content_is_kept(path):
    job = path.submit()
    path.run()
    age(job, 4000 * DAY)
    assert erasure.erase_due() == 0
    assert is_kept(job)


def test_content_is_erased_after_its_days_and_not_sooner(path, client, keep, monkeypatch):
    monkeypatch.setattr(erasure, "BATCH", 2)
    keep(30)
    old = [path.submit() for _ in range(5)]
    path.run()
    young, queued = path.submit(), None
    path.run()
    queued = path.submit()
    for job in old:
        age(job, 30 * DAY)
    age(young, 30 * DAY - timedelta(minutes=1))
    assert erasure.erase_due() == 5
    assert not any(is_kept(job) for job in old)
    assert is_kept(young)
    assert is_kept(queued)
    assert erasure.erase_due() == 0
    path.run()
    assert look(client, queued)["output_text"]
    call_command("verify_ledger")


def test_one_run_is_bounded_and_the_next_goes_on(path, keep, monkeypatch):
    monkeypatch.setattr(erasure, "BATCH", 1)
    monkeypatch.setattr(erasure, "MOST_BATCHES", 2)
    keep(1)
    jobs = [path.submit() for _ in range(3)]
    path.run()
    for job in jobs:
        age(job, DAY)
    assert (erasure.erase_due(), erasure.erase_due(), erasure.erase_due()) == (2, 1, 0)


def test_a_project_that_keeps_nothing_has_an_answer_until_a_minute_after_it_was_fetched(path, client, keep):
    keep(0)
    job = path.submit()
    path.run()
    assert erasure.erase_due() == 0
    assert look(client, job)["output_text"]
    assert erasure.erase_due() == 0
    assert look(client, job)["output_text"]  # whoever lost it on the way asks again
    age_fetched(job, erasure.FETCHED)
    assert erasure.erase_due() == 1
    assert look(client, job)["output_text"] is None


def test_a_project_that_keeps_nothing_has_an_answer_that_nobody_fetches_for_an_hour(path, client, keep):
    keep(0)
    job = path.submit()
    path.run()
    client.get("/api/v1/jobs")  # looking at the list is no fetching
    age(job, erasure.UNFETCHED - timedelta(minutes=1))
    assert erasure.erase_due() == 0
    age(job, timedelta(minutes=1))
    assert erasure.erase_due() == 1


def test_the_provider_keeps_nothing_of_a_project_that_keeps_nothing(path, client, keep, simulator):
    keep(0)
    job = path.submit("gpt-4o", store=True)
    path.run()
    assert look(client, job)["status"] == "succeeded"
    assert not Attempt.objects.get(job=job).is_findable


def test_a_refusal_loses_the_providers_words_and_keeps_its_code(path, client, simulator):
    simulator.fault("404")
    job = path.submit()
    path.run()
    before = look(client, job)
    assert before["error"]["message"]
    client.post(f"/api/v1/jobs/{job.pk}/erase")
    after = look(client, job)
    assert after["error"] == {**before["error"], "message": None}
    assert Attempt.objects.get(job=job).error_message == ""
