"""Who fetched an answer is not kept; that somebody did, and when first, is."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from accounts.models import Project
from billing.clock import database_now
from jobs.batches import files
from jobs.models import File, Job
from tests.api.test_jobs import finished, make_job

pytestmark = pytest.mark.django_db


def answered(project: Project, **fields: Any) -> Job:
    message = {"role": "assistant", "content": "Here is a script"}
    return finished(project, 1279, 1024, **{"status": "succeeded", "message": message, **fields})


def marks(client: APIClient, path: str) -> int:
    """How many statements of a request write that something was read."""
    with CaptureQueriesContext(connection) as captured:
        answer = client.get(path)
        b"".join(answer.streaming_content) if answer.streaming else None
    assert answer.status_code == 200
    return sum('SET "read_at"' in query["sql"] for query in captured)


def test_looking_at_a_job_marks_it_once(client, project):
    job = answered(project)
    path = f"/api/v1/jobs/{job.pk}"
    assert [marks(client, path) for _ in range(3)] == [1, 0, 0]
    first = Job.objects.get().read_at
    assert first is not None
    client.get(path)
    assert Job.objects.get().read_at == first


def test_a_list_hands_out_answers_as_well(client, project):
    jobs = [answered(project) for _ in range(3)]
    assert [marks(client, "/api/v1/jobs") for _ in range(2)] == [1, 0]
    assert Job.objects.filter(pk__in=[job.pk for job in jobs], read_at=None).count() == 0


@pytest.mark.parametrize("status", ["queued", "running"])
def test_what_has_no_answer_yet_is_not_read(client, project, status):
    job = make_job(project, status=status)
    assert marks(client, f"/api/v1/jobs/{job.pk}") == 0
    assert Job.objects.get().read_at is None


def test_the_response_of_a_job_marks_it(client, project):
    job = answered(project)
    assert marks(client, f"/v1/responses/resp_{job.pk.hex}") == 1


def test_attempts_are_no_answer(client, project):
    job = answered(project)
    assert marks(client, f"/api/v1/jobs/{job.pk}/attempts") == 0


def test_a_file_is_marked_and_not_each_of_its_answers(client, project):
    file = File.objects.create(
        project=project, filename="x.jsonl", purpose="batch_output", status="writing", created_at=database_now()
    )
    files.append(file, b"{}\n")
    file.status = "processed"
    file.save()
    path = f"/v1/files/{file.public_id}/content"
    assert [marks(client, path) for _ in range(2)] == [1, 0]
    assert File.objects.get().read_at is not None
    assert marks(client, f"/v1/files/{file.public_id}") == 0
