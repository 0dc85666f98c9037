"""The queue of doubts: what is shown, and what a person decides on a page that asks for a reason first."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from accounts.models import Project, User
from billing.clock import database_now
from billing.models import LedgerEntry, Reservation
from jobs.models import Attempt, Doubt, Job
from jobs.recovery import put_in_doubt
from jobs.states import AttemptStatus, JobStatus
from tests.admin.conftest import make_job, reserve, sign_in

DOUBTS = reverse("admin:jobs_doubt_changelist")


@pytest.fixture
def doubt(project: Project, owner: User) -> Doubt:
    """An open one, whose answer the provider was asked to keep."""
    job = make_job(project, owner, status=JobStatus.RUNNING, attempt_count=1)
    now = database_now()
    attempt = Attempt.objects.create(
        id=reserve(project, "1.97"),
        job=job,
        number=1,
        status=AttemptStatus.CALLING,
        is_findable=True,
        created_at=now,
        calling_at=now,
        lease_expires_at=now + timedelta(seconds=15),
    )
    assert put_in_doubt(attempt, code="connection_lost", reason="cut")
    return Doubt.objects.get()


def decide(client: Client, doubt: Doubt, action: str, **more: str):
    return client.post(DOUBTS, {"action": action, "_selected_action": str(doubt.pk), **more}, follow=True)


def test_a_doubt_shows_what_it_holds_and_what_was_looked_up(admin: Client, doubt: Doubt):
    Doubt.objects.update(looks=3, last_look="the provider does not have it", looked_at=database_now())
    for url in (DOUBTS, reverse("admin:jobs_doubt_change", args=[doubt.pk])):
        page = admin.get(url).text
        assert "$1.97" in page
        assert "the provider does not have it" in page
        assert "o1-preview" in page
    assert "connection_lost: cut" in page


def test_a_look_is_asked_for_at_once(admin: Client, doubt: Doubt):
    Doubt.objects.update(next_look_at=database_now() + timedelta(hours=1))
    assert "1 will be looked up" in decide(admin, doubt, "look_up_now").text
    assert Doubt.objects.get().next_look_at <= database_now()


@pytest.mark.parametrize(
    ("action", "status", "job", "reservation"),
    [
        ("presume_spent", "presumed_spent", "failed", "settled"),
        ("release", "released", "queued", "released"),
        ("run_again", "rerun", "queued", "settled"),
    ],
)
def test_a_decision_is_confirmed_with_a_reason_and_stands_in_the_books(
    admin: Client, superuser: User, doubt: Doubt, action, status, job, reservation
):
    asked = decide(admin, doubt, action).text
    assert "Yes, I am sure" in asked
    assert "$1.97" in asked
    assert "Say why" not in asked
    assert "Say why" in decide(admin, doubt, action, confirmed="yes", reason=" ").text
    assert Doubt.objects.get().status == "open"
    done = decide(admin, doubt, action, confirmed="yes", reason="support ticket 7")
    assert "1 decided." in done.text
    decided = Doubt.objects.get()
    assert (decided.status, decided.reason, decided.actor) == (status, "support ticket 7", superuser)
    assert Job.objects.get().status == job
    assert Reservation.objects.get().status == reservation
    entry = LedgerEntry.objects.get(kind__in=["settle", "release"])
    assert entry.actor == superuser
    assert "support ticket 7" in entry.reason
    assert "support ticket 7" in LogEntry.objects.get().change_message
    again = decide(admin, doubt, action, confirmed="yes", reason="once more")
    assert "0 decided. 1 were not open any more" in again.text


def test_whoever_may_only_look_decides_nothing(doubt: Doubt):
    viewer = User.objects.create_user("viewer@bursar.example", "a password for tests", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_doubt"))
    client = sign_in(viewer)
    assert "presume_spent" not in client.get(DOUBTS).text
    decide(client, doubt, "presume_spent", confirmed="yes", reason="support ticket 7")
    assert Doubt.objects.get().status == "open"
