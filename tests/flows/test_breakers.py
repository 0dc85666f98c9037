"""A provider that fails, or refuses an account: its calls stop, one at a time tries, and nobody else waits."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.core import mail
from django.db import OperationalError
from django.urls import reverse
from django.utils import timezone

from accounts.models import Project
from billing import alerts, mails
from billing.clock import database_now
from billing.models import Alert, AlertKind, Budget, Quota
from jobs import breakers, execution, limiter
from jobs.evidence import LEAST_FAILURES
from jobs.models import Attempt, Breaker, Job
from jobs.waiting import waiting_in_figures, waiting_on


def reload(job: Job) -> Job:
    return Job.objects.select_related("queue", "project").get(pk=job.pk)


def at_once() -> None:
    """Pauses of jobs and of the limiter are over."""
    Job.objects.update(run_after=None)
    limiter.connection().flushdb()
    limiter.connection().set(limiter.BORN_KEY, "0.000")


def let_a_call_try() -> None:
    at_once()
    breakers.probe_soon(Breaker.objects.all())


def statuses() -> list[str]:
    return list(Job.objects.order_by("id").values_list("status", flat=True))


@pytest.fixture
def stopped(path):
    """A provider that fails, a breaker that is open for it, and three jobs more in line."""
    path.simulator.fault("500", count=None)
    for _ in range(LEAST_FAILURES):
        path.submit()
    path.run()
    at_once()
    path.simulator.reset()
    for _ in range(3):
        path.submit()
    return path


def test_calls_stop_when_the_provider_fails_and_their_jobs_say_why(stopped):
    assert stopped.dispatch() == []
    breaker = Breaker.objects.get()
    assert (breaker.reason, breaker.family, breaker.project) == ("provider_unavailable", "o1-mini", None)
    job = reload(Job.objects.latest("id"))
    told = waiting_on(job)
    assert (told["reason"], told["error"]["status"]) == ("provider_unavailable", 500)
    assert told["since"] <= told["next_probe"]
    assert waiting_in_figures(job, timezone.now())["expected_start"] is None
    assert stopped.simulator.counters()["requests"] == 0
    assert not Budget.objects.exclude(held=0).exists()


def test_one_call_tries_at_a_time_and_the_others_go_on_when_it_went_through(stopped):
    let_a_call_try()
    (probe,) = stopped.dispatch()
    assert probe.is_probe
    let_a_call_try()
    assert stopped.dispatch() == [probe]  # however long it takes
    stopped.simulator.clear_faults()
    execution.execute(probe.pk, worker="tests")
    assert not Breaker.objects.exists()
    stopped.run()
    assert set(statuses()) == {"succeeded"}
    assert stopped.simulator.counters()["requests"] == LEAST_FAILURES + 3


def test_a_try_that_fails_puts_the_next_one_off(stopped):
    pauses = []
    for _ in range(7):
        let_a_call_try()
        stopped.run()
        breaker = Breaker.objects.get()
        pauses.append(round((breaker.next_probe_at - database_now()).total_seconds()))
    assert pauses == pytest.approx([4, 8, 16, 32, 60, 60, 60], abs=2)
    assert stopped.simulator.counters()["requests"] == 7


def test_tries_of_an_outage_do_not_use_up_those_of_a_job(stopped, settings):
    settings.MAX_ATTEMPTS = 2
    for _ in range(20):
        let_a_call_try()
        stopped.run()
    assert set(statuses()) == {"queued"}
    assert Attempt.objects.filter(is_probe=True, status="rejected").count() == 20
    stopped.simulator.clear_faults()
    let_a_call_try()
    stopped.run()
    assert set(statuses()) == {"succeeded"}


def test_a_try_that_was_never_made_leaves_the_next_one_its_turn(stopped):
    let_a_call_try()
    (probe,) = stopped.dispatch()
    Attempt.objects.filter(pk=probe.pk).update(status="abandoned")
    Job.objects.filter(pk=probe.job_id).update(status="queued")
    assert stopped.dispatch() == []
    let_a_call_try()
    (another,) = stopped.dispatch()
    assert another.pk != probe.pk


def test_nobody_else_waits(stopped, bob):
    """Neither another family of the organization, nor another organization with the same provider and model."""
    stopped.simulator.clear_faults()
    other_family = stopped.submit("gpt-4o-mini")
    stopped.api_key = bob.api_key.api_key
    other_tenant = stopped.submit()
    stopped.run()
    assert {reload(job).status for job in (other_family, other_tenant)} == {"succeeded"}
    assert Breaker.objects.count() == 1


@pytest.mark.parametrize(
    ("fault", "reason", "is_of_project", "is_of_family"),
    [
        ("401", "provider_access", False, False),
        ("403", "provider_access", True, True),
        ("insufficient_quota", "provider_quota", False, False),
        ("credit_balance_exhausted", "provider_quota", False, False),
        ("organization_spend_limit_exceeded", "provider_quota", False, False),
        ("organization_usage_limit_exceeded", "provider_quota", False, False),
        ("project_spend_limit_exceeded", "provider_quota", True, False),
    ],
)
def test_a_refusal_of_the_account_stops_its_jobs_at_the_first_and_fails_none(
    path, project, fault, reason, is_of_project, is_of_family
):
    path.simulator.fault(fault, count=None)
    path.submit()
    path.run()
    at_once()
    first = [path.submit() for _ in range(3)]
    path.run()
    breaker = Breaker.objects.get()
    assert (breaker.reason, breaker.project is not None, breaker.family != "") == (reason, is_of_project, is_of_family)
    assert set(statuses()) == {"queued"}
    told = waiting_on(reload(first[-1]))
    assert (told["reason"], told["error"]["status"]) == (reason, breaker.error["status"])
    assert path.simulator.counters()["requests"] == 1
    another = Project.objects.create(organization=project.organization, name="Another", slug="another")
    of_another = breakers.present(timezone.now())[0].binds(project.organization_id, another.pk, "o1-mini")
    of_other_models = breakers.present(timezone.now())[0].binds(project.organization_id, project.pk, "gpt-4o")
    assert (of_another, of_other_models) == (not is_of_project, not is_of_family)

    path.simulator.clear_faults()
    let_a_call_try()
    path.run()
    assert set(statuses()) == {"succeeded"}
    assert not Breaker.objects.exists()


def test_people_are_told_once_of_each_time_that_the_account_is_refused(path, settings, project):
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    for kind in ("insufficient_quota", "401"):
        path.simulator.fault(kind, count=None)
        path.submit()
        for _ in range(3):  # the first call opens it, those that try find it open
            path.run()
            let_a_call_try()
        path.simulator.clear_faults()
        path.run()
        assert not Breaker.objects.exists()
    used_up, refused = Alert.objects.order_by("raised_at")
    assert {alert.kind for alert in (used_up, refused)} == {AlertKind.HELD_BACK}
    assert used_up.organization == refused.organization == project.organization
    assert "used up: calls of all models wait" in used_up.text
    assert "refuses the credential" in refused.text
    assert mails.mail_alerts() == 2
    assert "mend the key" in mail.outbox[0].body


def test_nobody_is_mailed_for_an_outage_which_ends_by_itself(stopped):
    assert Breaker.objects.exists()
    assert not Alert.objects.exists()


def test_an_alert_that_cannot_be_written_leaves_the_breaker_closed_for_the_next_call(path, monkeypatch):
    """Both or neither: a breaker without its alert would never be told."""
    with monkeypatch.context() as patch:
        patch.setattr(alerts, "raise_held_back", unwritable)
        path.simulator.fault("401", count=None)
        path.submit()
        path.run()
        assert not Breaker.objects.exists()
    at_once()
    path.run()
    assert (Breaker.objects.count(), Alert.objects.count()) == (1, 1)


def unwritable(**about: object) -> None:
    raise OperationalError("the server closed the connection")


def test_a_refusal_that_is_about_one_call_stops_nobody(path):
    path.simulator.fault("404", count=8)
    for _ in range(8):
        path.submit()
    path.run()
    assert set(statuses()) == {"failed"}
    assert not Breaker.objects.exists()


def test_a_429_is_no_failure_of_the_provider(path):
    path.simulator.fault("429", count=8)
    for _ in range(8):
        path.submit()
        path.run()
        at_once()
    assert not Breaker.objects.exists()


@pytest.mark.parametrize("fault", ["garbage", "cut_after_billing", "html_502"])
def test_calls_whose_bill_is_in_doubt_stop_as_well_before_all_of_the_budget_is_held(path, fault):
    path.simulator.fault(fault, count=None)
    for _ in range(LEAST_FAILURES + 4):
        path.submit()
        path.run()
    assert statuses() == ["in_doubt"] * LEAST_FAILURES + ["queued"] * 4


def test_a_breaker_that_cannot_be_written_keeps_no_outcome_from_being_booked(path, monkeypatch, caplog):
    def away(*args):
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(breakers, "_open", away)
    path.simulator.fault("401")
    job = path.submit()
    path.run()
    assert reload(job).status == "queued"
    assert job.attempts.get().status == "rejected"
    assert "breakers are left as they are" in caplog.text


def test_a_job_whose_deadline_passes_behind_a_breaker_fails(stopped):
    job = stopped.submit(deadline=timezone.now() + timedelta(hours=1))
    Job.objects.filter(pk=job.pk).update(deadline=timezone.now() - timedelta(hours=1))
    stopped.dispatch()
    assert (reload(job).status, reload(job).error["code"]) == ("failed", "deadline_exceeded")


def test_a_try_that_its_budget_has_no_room_for_is_made_by_the_next(stopped, project):
    let_a_call_try()
    first = Job.objects.order_by("id").first()
    Quota.objects.create(organization=project.organization, project=project, limit=Decimal("0.001"))
    assert stopped.dispatch() == []
    assert Breaker.objects.get().probes == 0
    assert reload(first).queue.waiting_on["reason"] == "budget"


def test_what_is_open_is_counted(stopped):
    assert breakers.figures() == {"provider_unavailable": 1, "provider_access": 0, "provider_quota": 0}


def test_retries_are_put_off_where_too_many_came_before(path, monkeypatch):
    monkeypatch.setattr(breakers, "_open", lambda opening: None)  # the retries alone are looked at
    monkeypatch.setattr(breakers, "monotonic", lambda: 1000.0)
    path.simulator.fault("500", count=None)
    jobs = [path.submit() for _ in range(14)]
    path.run()
    pauses = sorted((reload(job).run_after - job.attempts.get().finished_at).total_seconds() for job in jobs)
    assert pauses[9] <= 1.0
    assert pauses[10:] == [10, 20, 30, 40]


def test_a_person_lets_a_call_try_now(stopped, client, django_user_model):
    client.force_login(django_user_model.objects.create_superuser(email="root@example.com", password="long enough 1"))
    url = reverse("admin:jobs_breaker_changelist")
    at_once()
    Breaker.objects.update(next_probe_at=timezone.now() + timedelta(hours=1))
    assert stopped.dispatch() == []
    assert "had an error" in client.get(url).text
    assert (
        "the provider to work again: The server had an error" in client.get(reverse("admin:jobs_queue_changelist")).text
    )
    client.post(url, {"action": "try_now", "_selected_action": [Breaker.objects.get().pk]})
    assert len(stopped.dispatch()) == 1
