"""Calls in the background: begun, let go of, looked at until they have ended, and booked once."""

import time
from datetime import timedelta
from decimal import Decimal

import pytest
from asgiref.sync import async_to_sync
from django.db import IntegrityError
from django.utils import timezone
from openai import OpenAI

from billing.clock import database_now
from billing.models import Budget, LedgerEntry, Reservation, UsageRecord
from jobs import execution, recovery
from jobs.background import looking
from jobs.background.choice import runs_in_background
from jobs.background.due import take_due
from jobs.cancellation import cancel
from jobs.errors import NotCancellable
from jobs.execution import booking
from jobs.execution.claims import begin_all, claim
from jobs.models import Attempt, Job, LanguageModel
from jobs.validation import RequestRejected
from tests.flows.conftest import LONG_AGO, Path
from tests.jobs.wire import answering, response

MODEL = "o3"


def reload(job: Job) -> Job:
    job.refresh_from_db()
    return job


def nothing_is_held() -> bool:
    return not Budget.objects.exclude(held=0).exists()


def begin(path: Path, job: Job) -> Attempt:
    """The job's attempt, begun and let go of by its worker."""
    for attempt in path.dispatch():
        execution.execute(attempt.pk, worker="tests")
    return job.attempts.get()


def accepted(path: Path, **parameters) -> tuple[Job, Attempt]:
    job = path.submit(MODEL, "hello", **parameters)
    attempt = begin(path, job)
    assert attempt.status == "accepted"
    return job, attempt


def look_until_ended(path: Path, job: Job) -> Job:
    while reload(job).status == "running":
        path.look()
    return job


# --- From beginning to end --------------------------------------------------------------------------------------------
def test_a_call_is_let_go_of_when_its_id_is_stored(path):
    path.simulator.set_latency(5)
    job, attempt = accepted(path)
    assert attempt.provider_response_id.startswith("resp_")
    assert attempt.provider_request_id.startswith("req_")
    assert (reload(job).status, attempt.finished_at) == ("running", None)
    assert Reservation.objects.get().status == "open"
    assert path.simulator.bill(attempt_id=str(attempt.pk))["calls"] == 0
    path.simulator.set_latency(0)


def test_its_end_is_booked_as_an_answer_of_chat_is(path):
    job, begun = accepted(path)
    look_until_ended(path, job)
    attempt, record, (line,) = job.attempts.get(), UsageRecord.objects.get(), path.bill(job)
    assert (job.status, attempt.status, attempt.look_at) == ("succeeded", "answered", None)
    assert attempt.provider_request_id == begun.provider_request_id
    assert job.usage["input_tokens"] == record.input_tokens == line["prompt_tokens"]
    assert job.usage["output_tokens_details"]["reasoning_tokens"] == record.reasoning_tokens > 0
    assert job.total_usd == record.total_usd == Decimal(line["cost_usd"])
    assert (job.finish_reason, job.snapshot) == ("stop", "o3-2025-04-16")
    assert job.content.message["content"]
    assert nothing_is_held()
    path.look()
    assert UsageRecord.objects.count() == 1


def test_what_the_cap_cut_off_is_incomplete_and_paid(path):
    job, _ = accepted(path, max_completion_tokens=20)
    look_until_ended(path, job)
    assert (job.status, job.finish_reason, job.is_empty) == ("incomplete", "length", True)
    assert job.total_usd == Decimal(path.bill(job)[0]["cost_usd"]) > 0


def test_an_end_that_two_find_is_booked_once(path):
    job, _ = accepted(path)
    Attempt.objects.update(look_at=LONG_AGO)
    (due,) = take_due(10)
    look_until_ended(path, job)
    (line,) = path.bill(job)
    found = looking.Seen(due, _ending(path, due))
    looking.book([found, found])
    looking.book([found])
    assert UsageRecord.objects.count() == 1
    assert UsageRecord.objects.get().total_usd == Decimal(line["cost_usd"])
    assert LedgerEntry.objects.filter(kind="settle").count() == 1


def _ending(path, due):
    async def ask():
        async with looking.Clients() as clients:
            return await looking._ask(clients, due)

    return async_to_sync(ask)()


# --- What goes this way -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("model", "parameters", "changes"),
    [
        ("o1-mini", {}, {}),
        ("gpt-4o-mini", {}, {}),
        (MODEL, {"seed": 7}, {}),
        (MODEL, {"store": False}, {}),
        (MODEL, {}, {"BACKGROUND": "off"}),
        (MODEL, {}, {"BACKGROUND": "auto"}),
        (MODEL, {}, {"STORE_COMPLETIONS": False}),
    ],
)
def test_a_call_stays_with_chat_where_background_is_not_to_be_had(path, settings, model, parameters, changes):
    for name, value in changes.items():
        setattr(settings, name, value)
    job = path.submit(model, "hello", **parameters)
    attempt = begin(path, job)
    assert reload(job).status == "succeeded"
    assert attempt.provider_response_id.startswith("chatcmpl-")


@pytest.mark.parametrize(
    ("base_url", "is_simulator", "expected"),
    [
        ("https://api.openai.com/v1", False, True),
        ("https://eu.api.openai.com/v1", False, True),
        ("https://gateway.example/v1", False, False),
        ("https://api.openai.com.example/v1", False, False),
        ("http://simulator:8100/v1", True, True),
    ],
)
def test_by_default_it_is_had_of_openai_and_the_simulator_alone(db, settings, base_url, is_simulator, expected):
    settings.BACKGROUND, settings.PROVIDER_IS_SIMULATOR = "auto", is_simulator
    settings.OPENAI_BASE_URL = "http://simulator:8100/v1"
    assert runs_in_background(LanguageModel.objects.get(name=MODEL), base_url) is expected
    assert not runs_in_background(LanguageModel.objects.get(name="o1-mini"), base_url)


def test_an_operator_chooses_the_transport_of_a_model(path):
    LanguageModel.objects.filter(name=MODEL).update(transport="chat")
    job = path.submit(MODEL, "hello")
    begin(path, job)
    assert job.attempts.get().provider_response_id.startswith("chatcmpl-")
    with pytest.raises(IntegrityError):
        LanguageModel.objects.filter(name="o1-mini").update(transport="background")


def test_a_model_without_chat_is_called_in_the_background_alone(path, settings):
    job = path.submit("o3-pro", "hello", max_completion_tokens=1000)
    path.run()
    assert reload(job).status in {"succeeded", "incomplete"}
    with pytest.raises(RequestRejected, match="seed"):
        path.submit("o3-pro", "hello", seed=7)
    settings.BACKGROUND = "off"
    with pytest.raises(RequestRejected, match="only supported in v1/responses"):
        path.submit("o3-pro", "hello")


def test_the_bound_leaves_room_for_what_responses_add_to_a_prompt(path):
    job = path.submit(MODEL, "How much wood would a woodchuck chuck?")
    assert job.bound_input_tokens >= 81  # what the provider's own example was billed for a prompt of ten tokens


# --- Refusals ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fault", ["429", "500", "503"])
def test_a_refusal_at_the_beginning_is_tried_again_as_that_of_chat(path, fault):
    path.simulator.fault(fault)
    job = path.submit(MODEL, "hello")
    assert begin(path, job).status == "rejected"
    assert (reload(job).status, job.waiting_on["reason"]) == ("queued", "retry")
    assert nothing_is_held()


def test_work_that_failed_unbilled_is_tried_again(path):
    path.simulator.fault("failed", code="server_error")
    job, _ = accepted(path)
    look_until_ended(path, job)
    assert (job.status, job.waiting_on["reason"]) == ("queued", "retry")
    assert (job.attempts.get().status, job.attempts.get().error_code) == ("rejected", "server_error")
    assert nothing_is_held()
    Job.objects.update(run_after=None)
    path.run()
    assert reload(job).status == "succeeded"
    assert len(path.bill(job)) == 1


def test_work_that_failed_for_good_fails_the_job(path):
    path.simulator.fault("failed", code="invalid_prompt")
    job, _ = accepted(path)
    look_until_ended(path, job)
    assert (job.status, job.error["code"]) == ("failed", "invalid_prompt")
    assert nothing_is_held()


# --- Doubt ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fault", ["cut_before_billing", "cut_after_billing", "garbage", "empty_object", "html_502"])
def test_an_id_that_was_lost_leaves_a_doubt_and_nothing_is_sent_again(path, fault):
    path.simulator.fault(fault)
    job = path.submit(MODEL, "hello")
    attempt = begin(path, job)
    assert (attempt.status, attempt.provider_response_id, reload(job).status) == ("in_doubt", "", "in_doubt")
    assert Reservation.objects.get().is_in_doubt
    path.run()
    assert path.simulator.counters()["requests"] == 1


def test_a_response_that_the_provider_has_forgotten_is_in_doubt_and_asked_for_no_more(path):
    job, attempt = accepted(path)
    _delete(path, attempt)
    path.look()
    assert reload(job).status == "running"  # it may not be there yet
    Attempt.objects.update(calling_at=timezone.now() - timedelta(minutes=5))
    path.look()
    attempt.refresh_from_db()
    assert (reload(job).status, attempt.status, attempt.error_code) == ("in_doubt", "in_doubt", "response_unknown")
    assert attempt.look_at is None
    assert Reservation.objects.get().is_in_doubt
    assert looking.look() == 0


def test_what_has_not_ended_after_a_day_is_in_doubt(path):
    path.simulator.set_latency(30)
    job, _ = accepted(path)
    path.simulator.set_latency(0)
    Attempt.objects.update(calling_at=timezone.now() - timedelta(hours=25))
    path.look()
    assert (reload(job).status, job.attempts.get().error_code) == ("in_doubt", "never_ended")


def test_an_id_that_comes_after_the_doubt_ends_it(path, monkeypatch):
    job = path.submit(MODEL, "hello")
    (attempt,) = path.dispatch()
    accept_all = booking.accept_all

    def doubted_first(accepted):
        recovery.put_in_doubt(attempt, code="worker_lost", reason="for the test")
        return accept_all(accepted)

    monkeypatch.setattr(booking, "accept_all", doubted_first)
    execution.execute(attempt.pk, worker="tests")
    assert reload(job).status == "in_doubt"
    while reload(job).status == "in_doubt":
        path.look()
    assert (job.status, job.attempts.get().status) == ("succeeded", "resolved")
    assert nothing_is_held()


def test_a_look_that_fails_is_no_news(path, settings):
    job, _ = accepted(path)
    here, settings.OPENAI_BASE_URL = settings.OPENAI_BASE_URL, "http://127.0.0.1:1/v1"
    path.look()
    assert reload(job).status == "running"
    for answer in (response(b"{}"), response(b"<html>"), response(b"{}", status="500 Oops"), response(b'{"id": "x"}')):
        with answering(answer) as wire:
            settings.OPENAI_BASE_URL = wire.base_url
            path.look()
        assert reload(job).status == "running"
    settings.OPENAI_BASE_URL = here
    assert look_until_ended(path, job).status == "succeeded"


def test_what_is_accepted_takes_no_slot_and_is_not_rescued(path, slots):
    slots(1)
    path.simulator.set_latency(20)
    accepted(path)
    Attempt.objects.update(calling_at=timezone.now() - timedelta(hours=1))
    assert recovery.rescue() == 0
    accepted(path)
    path.simulator.set_latency(0)
    assert set(Attempt.objects.values_list("status", flat=True)) == {"accepted"}


# --- How often --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("age", "pause"), [(0, 1), (3, 1), (8, 2), (60, 15), (3600, 30)])
def test_looks_grow_rarer_with_the_age_of_a_call(path, age, pause):
    path.simulator.set_latency(20)
    accepted(path)
    path.simulator.set_latency(0)
    now = database_now()
    Attempt.objects.update(calling_at=now - timedelta(seconds=age), look_at=now)
    assert len(take_due(10)) == 1
    assert (Attempt.objects.get().look_at - now).total_seconds() == pytest.approx(pause)
    assert take_due(10) == []


# --- Cancelling -------------------------------------------------------------------------------------------------------
def test_a_call_at_the_provider_is_stopped_there_and_what_it_used_is_settled(path):
    path.simulator.set_latency(2)
    job, attempt = accepted(path)
    path.simulator.set_latency(0)
    while _status(path, attempt) == "queued":
        time.sleep(0.01)
    asked = cancel(job)
    assert (asked.status, asked.cancel_asked_at is not None) == ("running", True)
    assert cancel(job).cancel_asked_at == asked.cancel_asked_at
    path.look()
    (line,) = path.bill(job)
    assert (reload(job).status, job.attempts.get().status) == ("cancelled", "answered")
    assert job.total_usd == Decimal(line["cost_usd"]) > 0
    assert job.total_usd < job.bound_usd
    assert nothing_is_held()
    assert cancel(job).status == "cancelled"


def test_a_cancellation_that_comes_too_late_changes_nothing(path):
    job, attempt = accepted(path)
    while _status(path, attempt) != "completed":
        time.sleep(0.01)
    cancel(job)
    path.look()
    assert reload(job).status == "succeeded"
    with pytest.raises(NotCancellable):
        cancel(job)


def test_a_cancelled_call_that_does_not_say_what_it_used_is_in_doubt(path):
    path.simulator.set_latency(20)
    path.simulator.fault("usage_withheld")
    job, _ = accepted(path)
    path.simulator.set_latency(0)
    cancel(job)
    path.look()
    attempt = job.attempts.get()
    assert (reload(job).status, attempt.status, attempt.error_code) == ("in_doubt", "in_doubt", "cancelled")
    assert Reservation.objects.get().is_in_doubt
    assert looking.look() == 0


def test_work_that_fails_while_it_is_to_be_stopped_is_not_tried_again(path):
    path.simulator.fault("failed")
    job, attempt = accepted(path)
    while _status(path, attempt) != "failed":
        time.sleep(0.01)
    cancel(job)
    path.look()
    assert (reload(job).status, job.attempts.get().status) == ("cancelled", "rejected")
    assert nothing_is_held()


def test_a_call_of_chat_is_not_stopped(path):
    job = path.submit("o1-mini")
    (attempt,) = path.dispatch()
    begin_all(claim([attempt.pk], worker="tests"))
    with pytest.raises(NotCancellable, match="background"):
        cancel(job)


def _status(path, attempt: Attempt) -> str:
    with OpenAI(base_url=path.simulator.base_url, api_key="sk-simulator", max_retries=0) as client:
        return str(client.responses.retrieve(attempt.provider_response_id).status)


def _delete(path, attempt: Attempt) -> None:
    with OpenAI(base_url=path.simulator.base_url, api_key="sk-simulator", max_retries=0) as client:
        client.responses.delete(attempt.provider_response_id)
