"""A flood and those beside it: what projects get of slots and rate limits, and in which order jobs of a queue start."""

from collections import Counter
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts import api_keys
from accounts.models import Project, RateLimit
from billing.clock import database_now
from jobs import dispatch, limiter, waking
from jobs.dispatch import rooms
from jobs.models import Attempt, Job, Queue, Share
from jobs.models.jobs import PRIORITY_STEP_SECONDS


def key_of(tenant, slug: str, weight: int = 100):
    project = Project.objects.create(
        organization=tenant.organization, name=slug.title(), slug=slug, dispatch_weight=weight
    )
    return api_keys.issue(project, name=slug, created_by=tenant.owner).api_key


def submit(path, key, count: int, **own) -> list[Job]:
    path.api_key = key
    return [path.submit(**own) for _ in range(count)]


def started() -> list[Job]:
    return [attempt.job for attempt in Attempt.objects.select_related("job__project").order_by("id")]


def end(*jobs: Job) -> None:
    """As if their calls were over: their slots are free again."""
    now = database_now()
    Attempt.objects.filter(job__in=jobs).update(status="rejected", calling_at=now, finished_at=now)
    Job.objects.filter(pk__in=[job.pk for job in jobs]).update(status="failed", finished_at=now)


# --- Shares -----------------------------------------------------------------------------------------------------------
def test_projects_start_by_their_weights(path, alice, slots):
    slots(24)
    heavy, light = key_of(alice, "heavy", 300), key_of(alice, "light", 100)
    submit(path, heavy, 24)
    submit(path, light, 24)
    dispatch.dispatch()
    assert Counter(job.project.slug for job in started()) == {"heavy": 18, "light": 6}


def test_organizations_start_by_their_weights(path, alice, bob, slots):
    slots(12)
    bob.organization.dispatch_weight = 200
    bob.organization.save()
    submit(path, alice.api_key.api_key, 12)
    submit(path, bob.api_key.api_key, 12)
    dispatch.dispatch()
    assert Counter(job.organization.name for job in started()) == {"Alice": 4, "Bob": 8}


def test_what_was_had_is_remembered_from_round_to_round(path, alice, slots, monkeypatch):
    monkeypatch.setattr(dispatch, "BATCH", 1)
    slots(8)
    first, second = key_of(alice, "first"), key_of(alice, "second")
    submit(path, first, 8)
    submit(path, second, 8)
    dispatch.dispatch()
    assert [job.project.slug for job in started()] in (["first", "second"] * 4, ["second", "first"] * 4)
    assert Share.objects.filter(project__isnull=False).count() == 2


def test_a_new_project_is_among_the_first_to_start_behind_a_flood(path, alice, slots):
    slots(10)
    flood, quiet = key_of(alice, "flood"), key_of(alice, "quiet")
    submit(path, flood, 40)
    dispatch.dispatch()
    (job,) = submit(path, quiet, 1)
    assert dispatch.dispatch() == 0  # nothing was kept free from the only project there was
    end(started()[0])
    assert dispatch.dispatch() == 1
    job.refresh_from_db()
    assert job.status == "running"


# --- What is kept for the quiet -----------------------------------------------------------------------------------
def test_a_slot_stays_free_for_a_project_that_holds_less_than_its_share(path, alice, slots):
    slots(10)
    flood, quiet = key_of(alice, "flood"), key_of(alice, "quiet")
    submit(path, quiet, 1)
    dispatch.dispatch()
    end(*started())
    submit(path, flood, 40)
    assert dispatch.dispatch() == 9
    (job,) = submit(path, quiet, 1)
    assert dispatch.dispatch() == 1
    job.refresh_from_db()
    assert job.status == "running"


def test_without_anybody_else_all_slots_are_used(path, slots):
    slots(10)
    for _ in range(12):
        path.submit()
    assert dispatch.dispatch() == 10
    assert Queue.objects.get().waiting_on is None  # for a slot, and nothing else


def test_a_quiet_project_may_use_the_headroom_of_a_rate_limit_and_a_flood_may_not(path, alice):
    flood, quiet = key_of(alice, "flood"), key_of(alice, "quiet")
    submit(path, flood, 5)
    dispatch.dispatch()
    submit(path, flood, 5)
    (job,) = submit(path, quiet, 1)
    dispatch.dispatch()
    assert list(Attempt.objects.filter(may_use_headroom=True).values_list("job", flat=True)) == [job.pk]
    submit(path, quiet, 2)  # stands in line already
    dispatch.dispatch()
    assert Attempt.objects.filter(may_use_headroom=True).count() == 1


def test_a_flood_that_is_held_back_holds_nobody_back_who_has_room(path, alice, monkeypatch):
    """The quiet one is asked for its own room, though the flood's family was found full before."""
    flood, quiet = key_of(alice, "flood"), key_of(alice, "quiet")
    submit(path, flood, 3)
    dispatch.dispatch()
    submit(path, flood, 3)
    (job,) = submit(path, quiet, 1)

    class Headroom:
        def earliest(self, *, requests, tokens, use_headroom):
            return (0.0, "") if use_headroom else (5.0, "requests_per_minute")

    monkeypatch.setattr(limiter, "room", lambda *names, **more: Headroom())
    assert dispatch.dispatch() == 1
    job.refresh_from_db()
    assert job.status == "running"


# --- Within a queue ---------------------------------------------------------------------------------------------------
def test_a_higher_priority_goes_before_what_was_queued_up_to_a_step_earlier(path, slots):
    slots(100)
    old, older, high = path.submit(), path.submit(), path.submit(priority=1)
    now = timezone.now()
    for job, seconds in ((old, PRIORITY_STEP_SECONDS - 30), (older, PRIORITY_STEP_SECONDS + 30)):
        Job.objects.filter(pk=job.pk).update(queued_at=now - timedelta(seconds=seconds))
    dispatch.dispatch()
    assert [job.pk for job in started()] == [older.pk, high.pk, old.pk]


def test_of_a_projects_queues_the_job_that_waits_for_longest_goes_first(path, slots):
    slots(2)
    first, second, third = path.submit(), path.submit("o1-preview"), path.submit()
    dispatch.dispatch()
    assert [job.pk for job in started()] == [first.pk, second.pk]
    third.refresh_from_db()
    assert third.status == "queued"


def test_a_family_without_room_does_not_hold_back_the_projects_other_families(path):
    RateLimit.objects.filter(model="o1-mini").delete()  # after submission no row says it
    RateLimit.objects.create(
        tier=5, model="o1-mini", requests_per_minute=1, effective_from="2024-09-12", source="a test"
    )
    for _ in range(3):
        path.submit()
    other = path.submit("o1-preview")
    RateLimit.objects.filter(model="o1-mini").delete()
    dispatch.dispatch()
    other.refresh_from_db()
    assert other.status == "running"
    assert Job.objects.filter(status="queued").count() == 3


# --- Time -------------------------------------------------------------------------------------------------------------
def test_a_pause_that_is_over_puts_a_job_back_in_its_place(path, slots):
    slots(1)
    first, second = path.submit(), path.submit()
    Job.objects.filter(pk=first.pk).update(
        run_after=timezone.now() - timedelta(seconds=1), waiting_on={"reason": "retry"}
    )
    dispatch.dispatch()
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.status, first.waiting_on, first.run_after) == ("running", None, None)
    assert second.status == "queued"


def test_a_deadline_passes_deep_in_a_queue_that_starts_nothing(path, slots):
    slots(0)
    jobs = [path.submit() for _ in range(5)]
    Job.objects.filter(pk=jobs[3].pk).update(
        deadline=timezone.now() - timedelta(seconds=1), run_after=timezone.now() + timedelta(hours=1)
    )
    dispatch.dispatch()
    jobs[3].refresh_from_db()
    assert (jobs[3].status, jobs[3].error["code"], jobs[3].error["type"]) == (
        "failed",
        "deadline_exceeded",
        "not_started",
    )
    assert Job.objects.filter(status="queued").count() == 4


def test_paused_projects_are_passed_over_and_their_share_goes_to_the_others(path, alice, slots):
    slots(4)
    paused, other = key_of(alice, "paused"), key_of(alice, "other")
    submit(path, paused, 4)
    submit(path, other, 4)
    Project.objects.filter(slug="paused").update(paused_at=timezone.now())
    assert dispatch.dispatch() == 4
    assert {job.project.slug for job in started()} == {"other"}


def test_a_queue_keeps_the_mean_of_its_starts(path):
    for _ in range(3):
        path.submit()
    dispatch.dispatch()
    queue = Queue.objects.get()
    assert queue.starts_per_minute == 6  # three, spread over the half minute that is remembered
    Queue.objects.update(started_at=queue.started_at - timedelta(seconds=30))
    path.submit()
    dispatch.dispatch()
    assert 4 < Queue.objects.get().starts_per_minute < 5  # 6 / e + 2


# --- Wakes ------------------------------------------------------------------------------------------------------------
@pytest.fixture
def asked(monkeypatch) -> list[float | None]:
    """The countdowns of the wakes that were asked for."""
    countdowns: list[float | None] = []

    class App:
        def send_task(self, name, args=None, countdown=None):
            countdowns.append(countdown)

    monkeypatch.setattr(waking, "current_app", App())
    return countdowns


def test_room_that_comes_at_a_known_instant_is_waited_for_once(path, asked, monkeypatch):
    class Soon:
        def earliest(self, *, requests, tokens, use_headroom):
            return rooms.LOOK_AHEAD_SECONDS + 0.4, "requests_per_minute"

    monkeypatch.setattr(limiter, "room", lambda *names, **more: Soon())
    path.submit()
    assert dispatch.dispatch() == 0
    assert [round(seconds, 3) for seconds in asked] == [0.4]
    dispatch.dispatch()
    assert len(asked) == 1  # one is outstanding
    assert 0 < limiter.connection().pttl(dispatch.WAKE_LATER_KEY) <= 400


def test_room_that_comes_later_than_the_beat_is_not_asked_for(path, asked):
    RateLimit.objects.filter(model="o1-mini").update(requests_per_minute=1)
    for _ in range(2):
        path.submit()
    dispatch.dispatch()
    assert asked == []
