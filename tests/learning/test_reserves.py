"""A reserve on the real path: what is likely is held where a bound finds no room, and what comes of it is booked."""

from decimal import Decimal

import pytest

from billing.errors import LimitTooSmall
from billing.models import Budget, Measure, Quota, Reservation, Scope
from billing.verification import verify
from jobs.front_door.endings import standstill
from jobs.learning.levels import learnt_for
from jobs.learning.likely import likely_cost
from jobs.models import Attempt, Job, Queue
from jobs.preview import preview
from jobs.submission import Submission
from jobs.validation import PromptRequest
from jobs.waiting import waiting_on
from tests.learning.traffic import CODE, Traffic, lognormal

D = Decimal
CAP = 25_000  # 0.30 USD of o1-mini's answers
RISK = D("0.01")


@pytest.fixture
def learnt(alice) -> Traffic:
    """Four hundred calls, whose need is known by their project and class."""
    traffic = Traffic(alice, lognormal, CODE, seed=11)
    traffic.run(400)
    learnt_for.forget()
    return traffic


def quota(alice, usd: str) -> Quota:
    return Quota.objects.create(organization=alice.organization, project=alice.project, limit=D(usd))


def reserve(alice, usd: str, risk: Decimal = RISK) -> Quota:
    fields = {"organization": alice.organization, "scope": Scope.ORGANIZATION, "measure": Measure.RESERVE}
    return Quota.objects.create(**fields, limit=D(usd), risk=risk)


def submit(path, **parameters):
    return path.submit(prompt=CODE, **{"max_completion_tokens": CAP, **parameters})


def used(row: Quota) -> tuple[Decimal, Decimal]:
    budget = Budget.objects.get(quota=row)
    return budget.held, budget.spent


def test_more_calls_run_beside_each_other_and_every_bound_is_held_somewhere(path, alice, learnt):
    limit, kept = quota(alice, "0.50"), reserve(alice, "10")
    jobs = [submit(path) for _ in range(12)]
    likely = likely_cost(alice.organization.pk, jobs[0], lambda: learnt.terms)
    assert likely is not None
    beside, before = int(limit.limit / likely.usd), int(limit.limit / jobs[0].bound_usd)
    assert len(path.dispatch()) == beside > 2 * before
    holds = list(Reservation.objects.filter(status="open"))
    assert {each.likely_usd for each in holds} == {likely.usd}
    assert used(limit)[0] == beside * likely.usd
    assert used(limit)[0] + used(kept)[0] == sum(each.amount_usd for each in holds)
    ours = Job.objects.filter(pk__in=[job.pk for job in jobs])
    while ours.exclude(status="succeeded").exists():
        Queue.objects.update(retry_at=None)
        path.run()
    assert used(limit)[0] == used(kept)[0] == 0
    assert [each.check for each in verify(alice.organization) if each.check == "budgets"] == []


def test_a_job_whose_bound_no_quota_could_hold_is_taken_where_the_likely_fits(path, alice, learnt):
    quota(alice, "0.20")
    with pytest.raises(LimitTooSmall, match=r"0\.20 USD"):
        submit(path)
    kept = reserve(alice, "0.01")
    with pytest.raises(LimitTooSmall):
        submit(path)
    Quota.objects.filter(pk=kept.pk).update(limit=D(1))
    job = submit(path)
    path.run()
    job.refresh_from_db()
    assert job.status == "succeeded"


@pytest.mark.parametrize(
    ("changed", "is_likely"),
    [
        ({}, True),
        ({"prompt_class": "writing-l"}, True),  # by all calls of the project
        ({"prompt_class": ""}, False),  # several answers
        ({"model": "o1-preview"}, False),  # nothing is known of it
        ({"reasoning_effort": "high"}, False),
        ({"bound_output_tokens": 1000}, False),  # no more than calls need
    ],
)
def test_of_what_nothing_is_likely_all_is_held(alice, learnt, changed, is_likely):
    reserve(alice, "10")
    job = learnt.submit(1)[0]
    job.bound_output_tokens = CAP
    for name, value in changed.items():
        setattr(job, name, value)
    found = likely_cost(alice.organization.pk, job, lambda: learnt.terms)
    assert (found is not None) == is_likely
    if found is not None:
        assert (found.risk, found.usd < D("0.20")) == (RISK, True)


def test_without_a_reserve_nothing_is_looked_up(alice, learnt, django_assert_num_queries):
    job = learnt.submit(1)[0]
    with django_assert_num_queries(2):  # the time, and whether there is a reserve
        assert likely_cost(alice.organization.pk, job, lambda: learnt.terms) is None


def test_who_waits_is_told_of_a_budget_only_where_the_reserve_has_no_room_either(path, alice, learnt):
    limit, kept = quota(alice, "0.60"), reserve(alice, "0.30")
    first, second = submit(path), submit(path)
    third = submit(path)
    assert len(path.dispatch()) == 2
    ours = Attempt.objects.filter(job__in=[first, second, third])
    assert set(ours.values_list("job", flat=True)) == {first.pk, second.pk}
    third.refresh_from_db()
    told = waiting_on(third)
    assert (told["reason"], told["measure"], told["required"]) == ("budget", "usd", f"{third.bound_usd:f}".rstrip("0"))
    # What is held may pass, so that a client at the front door goes on waiting; what is spent will not.
    assert standstill(third, told) is None
    asked = Submission(PromptRequest("o1-mini", [{"role": "user", "content": CODE}], {"max_completion_tokens": CAP}))
    key, now = alice.api_key.api_key, third.queued_at
    assert preview(key, asked, now).waits_for["reason"] == "budget"
    Quota.objects.filter(pk=kept.pk).update(limit=D(10))
    Budget.objects.filter(quota=kept).update(limit=D(10))
    Queue.objects.update(waiting_on=None)
    assert preview(key, asked, now).waits_for is None
    Budget.objects.filter(quota=limit).update(spent=D("0.59"), held=0)
    assert standstill(third, told).code == "project_spend_limit_exceeded"
