"""Jobs: what they wait for, cost and left in the books; content for superusers alone; cancelling what is queued."""

from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from accounts.models import Project, User
from billing.models import Reservation
from jobs.models import Job
from jobs.states import JobStatus
from tests.admin.conftest import EMPTY_ANSWER, cells, finish_job, make_job

JOBS = reverse("admin:jobs_job_changelist")
CONTENTS = reverse("admin:jobs_jobcontent_changelist")


def content_page(job: Job) -> str:
    return reverse("admin:jobs_jobcontent_change", args=[job.pk])


def job_page(job: Job) -> str:
    return reverse("admin:jobs_job_change", args=[job.pk])


def cancel(client: Client, *jobs: Job) -> str:
    form = {"action": "cancel_queued", "_selected_action": [str(job.pk) for job in jobs]}
    return client.post(JOBS, form, follow=True).text


def test_list_shows_cost_share_and_empty_answers(admin: Client, finished, owner: User):
    finish_job(finished.job.project, owner, EMPTY_ANSWER)
    page = admin.get(JOBS).text
    for text in ("$0.077385", "80.1 %", "$0.018645", "100.0 %", "paid, empty", "Succeeded", "Incomplete"):
        assert text in page, text
    empty = admin.get(JOBS, {"is_empty__exact": "1"}).context["cl"].queryset
    assert [job.is_empty for job in empty] == [True]


def test_waiting_in_words(admin: Client, project: Project, owner: User):
    budget = {
        "reason": "budget",
        "scope": "project",
        "name": "Alice research",
        "measure": "usd",
        "limit": "20",
        "spent": "18",
        "held": "1.5",
        "remaining": "0.5",
        "required": "1.970000000000",
    }
    jobs = {
        "reason": "budget",
        "scope": "team",
        "name": "Numbers",
        "measure": "jobs",
        "model": "o1-mini",
        "limit": "50",
        "spent": "49",
        "held": "1",
        "remaining": "0",
        "required": "1",
        "resets_at": "2024-10-01T00:00:00Z",
    }
    make_job(project, owner, waiting_on=budget)
    make_job(project, owner, waiting_on=jobs)
    make_job(project, owner, waiting_on={"reason": "rate_limit", "limit": "requests_per_minute", "limit_value": 500})
    make_job(project, owner, waiting_on={"reason": "limiter_unavailable"})
    make_job(project, owner, waiting_on={"reason": "retry", "error": {"code": "server_error"}, "attempts": 2})
    make_job(project, owner)
    page = admin.get(JOBS).text
    assert "needs $1.97, $0.50 remaining of $20.00 ($18.00 spent, $1.50 held)" in page
    assert (
        "the limit of team Numbers on o1-mini: needs 1 job, 0 jobs remaining of 50 jobs "
        "(49 jobs spent, 1 job held); it begins anew at 2024-10-01 00:00 UTC"
    ) in page
    assert "the rate limit of o1-preview: requests per minute of 500" in page
    assert "limiter unavailable" in page
    assert "another try after attempt 2: server_error" in page
    assert "its turn" in page
    Project.objects.update(paused_at=project.created_at, paused_reason="spends too fast")
    assert "its project is paused: spends too fast" in admin.get(JOBS).text


def test_detail_leads_to_the_books(admin: Client, finished):
    page = admin.get(job_page(finished.job)).text
    reservation = Reservation.objects.get(reference=finished.attempt.pk)
    assert reverse("admin:billing_reservation_change", args=[reservation.pk]) in page
    assert reverse("admin:billing_usagerecord_change", args=[finished.record.pk]) in page
    entries = f"{reverse('admin:billing_ledgerentry_changelist')}?reservation__id__exact={reservation.pk}"
    assert entries in page
    assert admin.get(entries).context["cl"].result_count == 2  # reserved and settled
    assert "43 input (0 cached), 1,279 output (1,024 reasoning, 80.1 %)" in page
    assert "req_of_the_provider" in page


def test_search_by_ids(admin: Client, finished):
    for term in (finished.job.pk, finished.attempt.pk, "req_of_the_provider"):
        assert list(admin.get(JOBS, {"q": str(term)}).context["cl"].queryset) == [finished.job], term
    by_reference = admin.get(reverse("admin:billing_ledgerentry_changelist"), {"q": str(finished.attempt.pk)})
    assert by_reference.context["cl"].result_count == 2


def test_content_is_neither_listed_nor_searched(admin: Client, finished):
    for url in (JOBS, CONTENTS, job_page(finished.job)):
        assert "the secret" not in admin.get(url).text
    for url in (JOBS, CONTENTS):
        assert not admin.get(url, {"q": "secret"}).context["cl"].queryset.exists()
    assert cells(admin.get(CONTENTS).text, "asked_model") == ["o1-preview"]
    page = admin.get(content_page(finished.job)).text
    assert "the secret prompt" in page
    assert "the secret answer" in page


def test_content_is_for_superusers(staff_with, finished):
    staff = staff_with(
        "jobs.view_job", "jobs.view_jobcontent", "jobs.change_jobcontent", "accounts.view_idempotencyrecord"
    )
    assert staff.get(JOBS).status_code == 200
    assert staff.get(job_page(finished.job)).status_code == 200
    assert staff.get(CONTENTS).status_code == 403
    assert staff.get(content_page(finished.job)).status_code == 403
    assert CONTENTS not in staff.get(reverse("admin:index")).text


def test_kept_answers_are_not_shown(admin: Client, world):
    records = reverse("admin:accounts_idempotencyrecord_changelist")
    row = admin.get(records, {"q": "once"}).context["cl"].queryset.get()
    page = admin.get(reverse("admin:accounts_idempotencyrecord_change", args=[row.pk])).text
    assert "the secret" not in page


def test_cancel_acts_on_queued_jobs_only(admin: Client, superuser: User, finished, owner: User):
    queued = make_job(finished.job.project, owner)
    running = make_job(finished.job.project, owner, status=JobStatus.RUNNING)
    page = cancel(admin, queued, running, finished.job)
    assert "1 cancelled. 2 were not queued any more" in page
    states = dict(Job.objects.values_list("pk", "status"))
    assert states == {queued.pk: "cancelled", running.pk: "running", finished.job.pk: "succeeded"}
    assert LogEntry.objects.get(user=superuser).object_id == str(queued.pk)
    assert "0 cancelled" in cancel(admin, queued)


def test_cancelling_takes_the_right_to_change(staff_with, project: Project, owner: User):
    queued = make_job(project, owner)
    cancel(staff_with("jobs.view_job"), queued)
    queued.refresh_from_db()
    assert queued.status == JobStatus.QUEUED
    cancel(staff_with("jobs.view_job", "jobs.change_job"), queued)
    queued.refresh_from_db()
    assert queued.status == JobStatus.CANCELLED


def test_filter_by_model_finds_its_snapshots(admin: Client, project: Project, owner: User):
    dated = make_job(project, owner, model="o1-preview-2024-09-12")
    make_job(project, owner, model="o1-mini")
    assert list(admin.get(JOBS, {"model": "o1-preview"}).context["cl"].queryset) == [dated]
