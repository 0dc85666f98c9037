"""A queue whose budget has no room for its oldest job: who gets a chance meanwhile, and who is never passed over."""

from decimal import Decimal

import pytest

from accounts import api_keys
from accounts.audit import SERVICE
from billing.models import Quota
from billing.quotas import changes
from jobs import dispatch, tasks
from jobs.dispatch import lines, probes
from jobs.models import Attempt, Job, Queue, Share

D = Decimal
LARGE, SMALL = 10_000, 1_000  # tokens of answers: about 0.60 and 0.06 USD


@pytest.fixture
def quota(project) -> Quota:
    return Quota.objects.create(organization=project.organization, project=project, limit=D(10))


def submit(path, cap: int, count: int = 1) -> list[Job]:
    return [path.submit("o1-preview", max_completion_tokens=cap) for _ in range(count)]


def limit(quota: Quota, usd: str) -> None:
    Quota.objects.filter(pk=quota.pk).update(limit=D(usd))


def started(*jobs: Job) -> list[bool]:
    running = set(Attempt.objects.values_list("job", flat=True))
    return [job.pk in running for job in jobs]


def look_again() -> int:
    """A dispatch after the pause of a queue whose budget was short."""
    Queue.objects.update(retry_at=None)
    return dispatch.dispatch()


@pytest.fixture
def small_windows(monkeypatch) -> None:
    monkeypatch.setattr(dispatch, "BATCH", 3)
    monkeypatch.setattr(probes, "WINDOW", 2)
    monkeypatch.setattr(lines, "OLDEST", 1)
    monkeypatch.setattr(probes, "OLDEST", 1)


def test_what_is_smaller_gets_its_chance_and_no_job_is_written_for_waiting(path, quota):
    large, small = submit(path, LARGE, 2), submit(path, SMALL, 2)
    limit(quota, "0.30")
    assert dispatch.dispatch() == 2
    assert started(*large, *small) == [False, False, True, True]
    assert not Job.objects.filter(status="queued").exclude(waiting_on=None, run_after=None).exists()
    assert Queue.objects.get().waiting_on["reason"] == "budget"


def test_a_smaller_job_far_behind_is_found_a_window_at_a_time(path, quota, small_windows):
    submit(path, LARGE, 20)
    (small,) = submit(path, SMALL)
    limit(quota, "0.30")
    rounds = 0
    while not started(small)[0]:
        look_again()
        rounds += 1
        assert rounds < 12, "three of the twenty in the first round, four in each that follows"


def test_no_equal_or_larger_job_of_the_same_owner_passes_an_older_one(path, quota, small_windows):
    oldest, *others = submit(path, LARGE, 12)
    limit(quota, "0.30")
    for _ in range(3):
        assert look_again() == 0
    assert Queue.objects.get().probe is not None
    limit(quota, "0.70")  # room for one
    look_again()
    assert started(oldest) == [True]
    assert not any(started(*others))


def test_the_second_oldest_is_next_when_there_is_room_again(path, quota, small_windows):
    jobs = submit(path, LARGE, 8)
    limit(quota, "0.30")
    for _ in range(2):
        look_again()
    limit(quota, "2.00")  # room for three
    while look_again():
        pass
    assert started(*jobs) == [True] * 3 + [False] * 5


def test_another_owners_job_of_the_same_size_is_not_held_back(path, alice, quota, small_windows):
    path.api_key = first = alice.api_key.api_key
    submit(path, LARGE, 10)
    path.api_key = api_keys.issue(alice.project, name="second", created_by=alice.owner).api_key
    (other,) = submit(path, LARGE)
    Quota.objects.create(
        organization=alice.organization, scope="key", api_key=first, limit=D("0.10"), measure="usd", window="month"
    )
    for _ in range(8):
        look_again()
    assert started(other) == [True]
    assert Attempt.objects.count() == 1


def test_a_queue_whose_budget_is_short_does_not_take_the_turns_of_the_others(path, alice, bob, quota, slots):
    slots(4)
    submit(path, LARGE, 60)
    limit(quota, "0.10")
    path.api_key = bob.api_key.api_key
    others = submit(path, LARGE, 2)
    dispatch.dispatch()
    assert all(started(*others))


def test_a_short_budget_pauses_its_queue_and_a_look_through_it_ends(path, quota, small_windows):
    submit(path, LARGE, 4)
    limit(quota, "0.10")
    dispatch.dispatch()
    queue = Queue.objects.get()
    assert queue.retry_at is not None
    assert dispatch.dispatch() == 0
    assert Queue.objects.get().waiting_at == queue.waiting_at  # it was not looked at
    for _ in range(4):
        look_again()
        if Queue.objects.get().probe is None:
            return  # from the beginning again
    pytest.fail("the end of the line was never reached")


def test_a_job_that_was_refused_is_not_paid_for(path, quota):
    submit(path, LARGE, 3)
    limit(quota, "0.10")
    dispatch.dispatch()
    assert not Share.objects.exists()
    limit(quota, "0.70")  # room for one
    look_again()
    share = Share.objects.get(project=quota.project)
    Share.objects.all().delete()
    Queue.objects.update(probe=None)
    limit(quota, "2.00")  # room for the two others
    look_again()
    assert Share.objects.get(project=quota.project).served_ns == 2 * share.served_ns


def test_a_raised_quota_ends_the_pause_of_its_organization_alone(path, alice, bob, quota):
    jobs = submit(path, LARGE)
    limit(quota, "0.10")
    dispatch.dispatch()
    paused = Queue.objects.get().retry_at
    assert paused is not None
    tasks.limits_changed(str(bob.organization.pk))
    assert Queue.objects.get().retry_at == paused
    changes.change(quota, {"limit": D(5)}, by=SERVICE)
    tasks.limits_changed(str(alice.organization.pk))
    assert dispatch.dispatch() == 1
    assert started(*jobs) == [True]
