"""Doubts, from the lost answer to the truth: looked up, decided by policy or by a person, and corrected later."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db.models import F, Sum

from accounts.models import Project
from billing.clock import database_now
from billing.models import Budget, LedgerEntry, Reservation, UsageRecord
from jobs import dispatch, recovery, tasks
from jobs.execution.booking import book_all, settle_all
from jobs.execution.claims import Call, begin_all, claim
from jobs.execution.outcomes import Outcome
from jobs.execution.turns import Turn
from jobs.models import Attempt, Doubt, Job
from jobs.provider import Rejected
from jobs.recovery import decisions, late_truth, looks, lookup, schedule
from jobs.recovery.figures import figures
from jobs.recovery.lookup import LookFailed
from jobs.retries import Rejection
from tests.flows.test_execution import answer, settle


def lose(path, count: int = 1, *, fault: str = "cut_after_billing", **parameters) -> list[Job]:
    """Jobs whose answers were billed and lost."""
    path.simulator.fault(fault, count=count)
    jobs = [path.submit(**parameters) for _ in range(count)]
    path.run()
    path.simulator.clear_faults()
    assert set(Job.objects.values_list("status", flat=True)) == {"in_doubt"}
    return jobs


def look() -> int:
    """The next look, whenever it is due."""
    Doubt.objects.filter(next_look_at__isnull=False).update(next_look_at=database_now())
    return looks.look_up()


def age(hours: float) -> None:
    Doubt.objects.update(opened_at=F("opened_at") - timedelta(hours=hours))


def have_policy(path, policy: str, hours: int = 24) -> None:
    Project.objects.filter(pk=path.api_key.project_id).update(doubt_policy=policy, doubt_patience_hours=hours)


def spent() -> Decimal:
    return LedgerEntry.objects.aggregate(sum=Sum("spent_change_usd"))["sum"]


def held() -> Decimal:
    return Reservation.objects.filter(status="open").aggregate(sum=Sum("amount_usd"))["sum"] or Decimal(0)


def billed(path, *jobs: Job) -> Decimal:
    return sum((Decimal(line["cost_usd"]) for job in jobs for line in path.bill(job)), Decimal(0))


def budgets_say_the_same() -> bool:
    return all((budget.spent, budget.held) == (spent(), held()) for budget in Budget.objects.filter(measure="usd"))


# --- Looked up --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fault", ["cut_after_billing", "garbage", "empty_object"])
def test_an_answer_that_was_lost_after_billing_is_found_and_settled_to_the_truth(path, fault):
    (job,) = lose(path, fault=fault)
    bound = held()
    assert look() == 1
    job.refresh_from_db()
    assert job.status == "succeeded"
    assert job.content.message["content"]
    assert job.total_usd == UsageRecord.objects.get().total_usd == billed(path, job) == spent() < bound
    assert held() == 0
    assert budgets_say_the_same()
    attempt, doubt = job.attempts.get(), Doubt.objects.get()
    assert (attempt.status, doubt.status, doubt.looks, doubt.next_look_at) == ("resolved", "found", 1, None)
    assert attempt.provider_response_id.startswith("chatcmpl-")
    assert path.simulator.counters()["billed"] == 1
    assert look() == 0


def test_many_are_found_in_one_round_and_booked_together(path):
    jobs = lose(path, 7)
    before = path.simulator.counters()["billed"]
    assert look() == 7
    assert set(Job.objects.values_list("status", flat=True)) == {"succeeded"}
    assert spent() == billed(path, *jobs)
    assert held() == 0
    assert path.simulator.counters()["billed"] == before == 7


def test_what_is_not_found_stays_held_and_is_looked_for_again(path):
    (job,) = lose(path, fault="cut_before_billing")
    assert look() == 0
    doubt = Doubt.objects.get()
    assert (doubt.status, doubt.looks, doubt.was_missed) == ("open", 1, True)
    assert doubt.last_look == "the provider does not have it"
    assert doubt.next_look_at > database_now()
    assert held() > 0
    assert spent() == 0
    assert dispatch.dispatch() == 0
    age(24 * 31)
    assert look() == 0
    assert Doubt.objects.get().next_look_at is None  # the provider keeps nothing that long
    assert job.attempts.get().status == "in_doubt"


def test_what_the_provider_was_not_to_keep_is_not_looked_for(path, settings):
    settings.STORE_COMPLETIONS = False
    lose(path)
    assert Doubt.objects.get().next_look_at is None
    assert look() == 0
    assert Doubt.objects.get().looks == 0


def test_an_endpoint_that_lists_what_was_not_asked_for_gives_no_answer(path, monkeypatch):
    lost, other = lose(path, 2)
    monkeypatch.setattr(lookup, "ATTEMPT_KEY", "nobody_has_this")
    assert look() == 0
    monkeypatch.undo()
    assert look() == 2
    assert lost.attempts.get().provider_response_id != other.attempts.get().provider_response_id


@pytest.mark.parametrize(
    ("failed", "said", "again"),
    [
        (LookFailed("the provider answered 500"), "the provider answered 500", True),
        (LookFailed("the provider answered 429", is_throttled=True), "the provider answered 429", True),
        (LookFailed("the provider answered 404", is_useless=True), "the provider answered 404", False),
    ],
)
def test_a_look_that_failed_says_nothing_of_the_answer(path, monkeypatch, failed, said, again):
    lose(path, 3)
    asked = []

    async def fail(clients, access, attempt_id):
        asked.append(attempt_id)
        raise failed

    monkeypatch.setattr(looks, "find", fail)
    monkeypatch.setattr(looks, "CONCURRENTLY", 1)
    assert look() == 0
    # One that is throttled is enough for all of its account.
    assert len(asked) == (1 if failed.is_throttled else 3)
    for doubt in Doubt.objects.all():
        assert (doubt.was_missed, doubt.last_look) == (False, said)
        assert (doubt.next_look_at is not None) is again
    have_policy(path, "presume_spent")
    age(25)
    assert decisions.decide_by_policy() == (0 if again else 3)


def test_a_look_fails_in_words_when_the_provider_is_away(path, settings):
    lose(path)
    settings.OPENAI_BASE_URL = "http://127.0.0.1:1/v1"
    assert look() == 0
    assert Doubt.objects.get().last_look.startswith("the provider was not reached")
    assert not Doubt.objects.get().was_missed


def test_one_answer_that_cannot_be_booked_keeps_no_other_from_it(path, monkeypatch):
    lose(path, 3)
    poison = Attempt.objects.first().pk

    def book(answers, **more):
        if any(call.attempt_id == poison for call, _ in answers):
            raise ValueError("for the test")
        return settle_all(answers, **more)

    monkeypatch.setattr(looks, "settle_all", book)
    assert look() == 2
    assert Doubt.objects.get(status="open").attempt_id == poison


def test_a_round_that_died_leaves_its_doubts_to_the_next_one_after_a_while(path):
    lose(path)
    Doubt.objects.update(next_look_at=database_now())
    assert len(looks._take_due()) == 1
    assert looks._take_due() == []
    assert Doubt.objects.get().next_look_at <= database_now() + timedelta(seconds=looks.LEASE_SECONDS)


def test_looks_are_close_while_the_call_may_run_and_spaced_after_it():
    opened = datetime(2024, 9, 12, tzinfo=UTC)
    waits, now = [], schedule.first_look(opened)
    assert now - opened <= timedelta(seconds=2)
    while again := schedule.next_look(opened, now, call_seconds=900):
        waits.append((now - opened, again - now))
        now = again
    assert max(wait for _, wait in waits) == timedelta(hours=1)
    assert max(wait for at, wait in waits if at < timedelta(minutes=30)) == timedelta(minutes=1)
    assert len([at for at, _ in waits if at < timedelta(minutes=2)]) >= 6
    assert len(waits) < 1000
    assert waits[-1][0] < schedule.KEPT_FOR


def test_the_task_looks_up_and_decides(path):
    (job,) = lose(path)
    Doubt.objects.update(next_look_at=database_now())
    tasks.look_up()
    job.refresh_from_db()
    assert job.status == "succeeded"


# --- Decided ----------------------------------------------------------------------------------------------------------
def test_a_project_keeps_holding_unless_it_says_otherwise(path):
    lose(path, fault="cut_before_billing")
    look()
    age(24 * 20)
    assert decisions.decide_by_policy() == 0
    assert Doubt.objects.get().status == "open"


def test_no_policy_decides_before_its_time_nor_before_the_provider_was_asked(path):
    have_policy(path, "presume_spent", hours=2)
    lose(path)
    age(3)
    assert decisions.decide_by_policy() == 0
    Doubt.objects.update(was_missed=True, opened_at=database_now() - timedelta(hours=1.9))
    assert decisions.decide_by_policy() == 0
    age(0.2)
    assert decisions.decide_by_policy() == 1


def test_what_is_presumed_spent_is_settled_at_its_bound_and_flagged(path):
    have_policy(path, "presume_spent")
    (job,) = lose(path, fault="cut_before_billing")
    bound = held()
    look()
    age(25)
    assert decisions.decide_by_policy() == 1
    job.refresh_from_db()
    assert (job.status, job.error["code"]) == ("failed", "answer_lost")
    assert job.total_usd == UsageRecord.objects.get().total_usd == spent() == bound == job.bound_usd
    assert held() == 0
    assert budgets_say_the_same()
    assert LedgerEntry.objects.get(kind="settle").reason.startswith("presumed spent: ")
    assert (job.attempts.get().status, Doubt.objects.get().status) == ("resolved", "presumed_spent")
    assert decisions.decide_by_policy() == 0


@pytest.mark.parametrize("decide", [decisions.run_again, decisions.release])
def test_a_job_that_its_owner_wants_stopped_is_not_run_again(path, owner, decide):
    (job,) = lose(path)
    Job.objects.update(cancel_asked_at=database_now())
    assert decide(job.attempts.get().pk, reason="for the test", actor=owner)
    job.refresh_from_db()
    assert (job.status, held()) == ("cancelled", 0)


def test_a_job_is_run_again_once_by_policy_and_the_first_call_is_booked_at_its_bound(path):
    have_policy(path, "rerun")
    (job,) = lose(path, fault="cut_before_billing")
    bound = held()
    look()
    age(25)
    assert decisions.decide_by_policy() == 1
    job.refresh_from_db()
    assert (job.status, spent(), held()) == ("queued", bound, 0)
    path.simulator.fault("cut_before_billing")
    path.run()
    look()
    age(25)
    assert decisions.decide_by_policy() == 0
    job.refresh_from_db()
    assert (job.status, spent(), held()) == ("in_doubt", bound, bound)
    person = path.api_key.created_by
    latest = job.attempts.get(number=2)
    assert decisions.run_again(latest.pk, reason="asked by its owner", actor=person)
    path.run()
    job.refresh_from_db()
    assert job.status == "succeeded"
    assert spent() == 2 * bound + job.total_usd > billed(path, job)
    assert LedgerEntry.objects.filter(kind="settle", actor=person).count() == 1


def test_a_person_gives_a_hold_back_that_was_not_billed_and_the_job_runs(path):
    (job,) = lose(path, fault="cut_before_billing")
    attempt = job.attempts.get()
    assert decisions.release(attempt.pk, reason="support ticket 7", actor=path.api_key.created_by)
    entry = LedgerEntry.objects.get(kind="release")
    assert (entry.reason, entry.actor) == ("support ticket 7", path.api_key.created_by)
    assert held() == 0
    path.run()
    job.refresh_from_db()
    assert job.status == "succeeded"
    assert spent() == billed(path, job) == job.total_usd


@pytest.mark.parametrize("decide", [decisions.presume_spent, decisions.run_again, decisions.release])
def test_what_is_settled_is_not_decided_any_more(path, decide):
    lose(path)
    assert look() == 1
    before = list(LedgerEntry.objects.values())
    assert decide(Attempt.objects.get().pk, reason="too late", actor=path.api_key.created_by) is False
    assert decisions.look_up_now(Attempt.objects.get().pk) is False
    assert list(LedgerEntry.objects.values()) == before
    assert Doubt.objects.get().status == "found"


def test_a_person_may_have_a_doubt_looked_up_at_once(path):
    (job,) = lose(path)
    Doubt.objects.update(next_look_at=database_now() + timedelta(hours=1))
    assert looks.look_up() == 0
    assert decisions.look_up_now(job.attempts.get().pk)
    assert looks.look_up() == 1


# --- The truth comes later --------------------------------------------------------------------------------------------
@pytest.fixture
def given_up(path):
    """A call whose attempt is in doubt while its worker still has it."""
    path.submit()
    (attempt,) = path.dispatch()
    (call,) = claim([attempt.pk], worker="tests")
    assert begin_all([call]) == [True]
    assert recovery.put_in_doubt(call, code="worker_lost", reason="for the test")
    return call


@pytest.mark.parametrize("decide", [decisions.presume_spent, decisions.run_again, decisions.release])
def test_the_truth_that_comes_after_a_decision_corrects_the_books_once(path, given_up, decide):
    assert decide(given_up.pk, reason="for the test", actor=path.api_key.created_by)
    before, came = spent(), answer()
    assert settle(given_up, came) is None
    assert settle(given_up, came) is None
    truth = Decimal("0.000129") + Decimal(320) * 12 / 1_000_000  # 43 tokens at 3 dollars, 320 at 12
    assert spent() == truth
    adjusted = LedgerEntry.objects.get(kind="adjust")
    assert adjusted.spent_change_usd == truth - before == Doubt.objects.get().corrected_usd
    assert adjusted.actor.email == "bursar@service.invalid"
    assert not adjusted.actor.is_active
    assert not adjusted.actor.has_usable_password()
    assert budgets_say_the_same()


def test_a_stranger_corrects_nothing(path, given_up):
    decisions.presume_spent(given_up.pk, reason="for the test")
    assert late_truth.correct(given_up.pk, given_up.job_id, answer().tokens) is False
    assert not LedgerEntry.objects.filter(kind="adjust").exists()


def test_what_was_refused_after_all_is_given_back_and_queued_again(path, given_up):
    refuse(given_up)
    assert (Job.objects.get().status, Doubt.objects.get().status) == ("queued", "refused")
    assert (spent(), held()) == (0, 0)
    refuse(given_up)
    assert Job.objects.get().status == "queued"


def test_what_was_refused_after_it_was_presumed_spent_is_taken_out_of_the_books(path, given_up):
    decisions.presume_spent(given_up.pk, reason="for the test")
    assert spent() > 0
    refuse(given_up)
    assert (spent(), held()) == (0, 0)
    assert Job.objects.get().status == "failed"


def refuse(call: Call) -> None:
    rejection = Rejection(503, "server_error", "server_error", "no")
    book_all([Outcome(Turn(call, 0.0), 0, Rejected(rejection, "req_1"))])


# --- Seen -------------------------------------------------------------------------------------------------------------
def test_the_api_shows_what_was_done_about_a_doubt(path, client):
    (job,) = lose(path, fault="cut_before_billing")
    look()
    shown = client.get(f"/api/v1/jobs/{job.pk}").json()["doubt"]
    assert (shown["status"], shown["looks"], shown["last_look"]) == ("open", 1, "the provider does not have it")
    assert shown["resolved_at"] is None
    assert client.get("/api/v1/jobs").json()["data"][0]["doubt"] is None
    decisions.presume_spent(job.attempts.get().pk, reason="support ticket 7")
    (attempt,) = client.get(f"/api/v1/jobs/{job.pk}/attempts").json()["data"]
    assert (attempt["status"], attempt["doubt"]["status"]) == ("resolved", "presumed_spent")
    assert attempt["doubt"]["reason"] == "support ticket 7"
    other = path.submit()
    path.run()
    assert client.get(f"/api/v1/jobs/{other.pk}").json()["doubt"] is None


def test_doubts_in_figures(path, settings):
    now = database_now()
    nothing = figures(now)
    assert (nothing.held_usd, nothing.oldest_seconds, set(nothing.by_status.values())) == (0, 0, {0})
    lose(path, 2)
    assert look() == 2
    settings.STORE_COMPLETIONS = False
    path.simulator.fault("cut_after_billing")
    path.submit()
    path.run()
    age(1)
    found = figures(database_now())
    assert (found.by_status["open"], found.by_status["found"], found.unfindable) == (1, 2, 1)
    assert 3600 <= found.oldest_seconds < 4000
    assert found.held_usd == held() > 0
