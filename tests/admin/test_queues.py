"""Queues: what stands in line, what it waits for in words, how fast it moves; and the weights beside."""

from datetime import timedelta

from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import Project, User
from jobs.models import Job, Queue
from tests.admin.conftest import make_job

QUEUES = reverse("admin:jobs_queue_changelist")


def listed(admin: Client, **query: str) -> list[Queue]:
    return list(admin.get(QUEUES, query).context["cl"].queryset)


def test_without_queues_the_page_is_empty(admin: Client):
    answer = admin.get(QUEUES)
    assert answer.status_code == 200
    assert answer.context["cl"].result_count == 0
    assert "No queues yet" in answer.text


def test_a_queue_shows_its_line_what_it_waits_for_and_how_fast_it_moves(admin: Client, project: Project, owner: User):
    make_job(project, owner)
    make_job(project, owner, priority=3)
    make_job(project, owner, run_after=timezone.now() + timedelta(seconds=60))  # not in line
    Queue.objects.update(
        waiting_on={"reason": "rate_limit", "limit": "requests_per_minute", "limit_value": 500, "model": "o1-preview"},
        starts_per_minute=12,
        started_at=timezone.now() + timedelta(seconds=60),
    )
    page = admin.get(QUEUES).text
    assert "the rate limit of o1-preview: requests per minute of 500" in page
    assert "12.0" in page
    (queue,) = listed(admin)
    assert queue.queued_number == 2
    assert queue.next_since == Job.objects.get(priority=3).queued_at
    Project.objects.update(paused_at=timezone.now(), paused_reason="too dear")
    assert "its project is paused: too dear" in admin.get(QUEUES).text


def test_queues_are_filtered_by_organization_and_by_whether_somebody_is_in_line(
    admin: Client, project: Project, other_project: Project, owner: User
):
    make_job(project, owner)
    make_job(other_project, owner)
    Job.objects.filter(project=other_project).update(status="running")
    of_alice = listed(admin, project__organization__id__exact=str(project.organization_id))
    assert [queue.project for queue in of_alice] == [project]
    assert [queue.project for queue in listed(admin, jobs="some")] == [project]
    assert [queue.project for queue in listed(admin, jobs="none")] == [other_project]
    assert listed(admin, o="-3")[0].project == project  # the longest line first


def test_weights_are_set_on_the_pages_of_organization_and_project(admin: Client, project: Project):
    for row in (project, project.organization):
        url = reverse(f"admin:accounts_{row._meta.model_name}_change", args=[row.pk])
        form = admin.get(url).context["adminform"].form
        fields = {name: value for name, value in form.initial.items() if value is not None and name in form.fields}
        inline = {"memberships-TOTAL_FORMS": "0", "memberships-INITIAL_FORMS": "0"}
        answer = admin.post(url, {**fields, **inline, "dispatch_weight": "300"})
        assert answer.status_code == 302, answer.text
        row.refresh_from_db()
        assert row.dispatch_weight == 300
        assert admin.post(url, {**fields, **inline, "dispatch_weight": "0"}).status_code == 200
        row.refresh_from_db()
        assert row.dispatch_weight == 300
