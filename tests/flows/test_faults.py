"""Every way in which a provider goes wrong: the state that the call and its job end in, and whether money stays held.

Whatever happens: what was or may have been billed is booked or held, and what certainly was not is given back.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import pytest
from django.db.models import Sum

from billing.models import Budget, LedgerEntry, Price, Reservation, UsageRecord
from billing.verification import verify
from jobs import limiter
from jobs.api.representation import job_as_sent
from jobs.models import Attempt, Breaker, Job
from tests.jobs.wire import Wire, serving

RETRIED = {"attempt": "rejected", "job": "queued", "waits": "retry"}
HELD_BACK = {"attempt": "rejected", "job": "queued", "waits": "retry", "opens": True}
FINAL = {"attempt": "rejected", "job": "failed"}
IN_DOUBT = {"attempt": "in_doubt", "job": "in_doubt", "held": True}
ANSWER_KEPT = {**IN_DOUBT, "keeps": True}
QUICKLY = {"deadline": 0.5}

# What the log says where a call failed in a way that nobody thought of.
OUR_MISTAKE = "in a way it should not"

FAULTS = {
    "429": RETRIED,
    "429_date": RETRIED,
    "slow_down": RETRIED,
    "500": RETRIED,
    "503": RETRIED,
    "529": RETRIED,
    "401": HELD_BACK,
    "403": HELD_BACK,
    "insufficient_quota": HELD_BACK,
    "credit_balance_exhausted": HELD_BACK,
    "organization_spend_limit_exceeded": HELD_BACK,
    "project_spend_limit_exceeded": HELD_BACK,
    "organization_usage_limit_exceeded": HELD_BACK,
    "billing_hard_limit_reached": HELD_BACK,
    "404": FINAL,
    "request_too_large": FINAL,
    "408": IN_DOUBT,
    "html_502": IN_DOUBT,
    "html_503": IN_DOUBT,
    "hang": {**IN_DOUBT, **QUICKLY},
    "cut_before_billing": IN_DOUBT,
    "cut_after_billing": IN_DOUBT,
    "cut_in_the_body": IN_DOUBT,
    "garbage": IN_DOUBT,
    "html_200": IN_DOUBT,
    "empty_object": IN_DOUBT,
    "gzip_bomb": IN_DOUBT,
    "slow_body": {**IN_DOUBT, **QUICKLY},
    "slow_headers": {**IN_DOUBT, **QUICKLY},
    "no_usage": ANSWER_KEPT,
    "negative_usage": ANSWER_KEPT,
    "usage_in_words": ANSWER_KEPT,
    "huge_usage": ANSWER_KEPT,
    "reasoning_above_output": ANSWER_KEPT,
    "cached_above_input": ANSWER_KEPT,
}


def books_agree(path) -> None:
    """No drift: what is spent was billed, what was billed and is not spent is held, and nothing else is."""
    spent = LedgerEntry.objects.aggregate(sum=Sum("spent_change_usd"))["sum"]
    of_answered, of_doubts = Decimal(0), {}
    for job in Job.objects.all():
        for line in path.bill(job):
            if Attempt.objects.filter(pk=line["client_request_id"], status="answered").exists():
                of_answered += Decimal(line["cost_usd"])
            else:
                of_doubts[line["client_request_id"]] = Decimal(line["cost_usd"])
    assert spent == of_answered
    held = {str(row.reference): row.amount_usd for row in Reservation.objects.filter(status="open")}
    assert all(billed <= held[attempt] for attempt, billed in of_doubts.items())
    assert {str(pk) for pk in Attempt.objects.filter(status="in_doubt").values_list("pk", flat=True)} == held.keys()


# A stream says last what it was billed for: what is lost before that is in doubt.
FAULTS_OF_STREAMS = {
    **FAULTS,
    "cut_before_the_end": IN_DOUBT,
    "garbage_chunk": IN_DOUBT,
    "error_event": IN_DOUBT,
}


@pytest.mark.parametrize(("fault", "wanted"), FAULTS.items(), ids=FAULTS)
def test_a_call_that_meets_it_ends_in_its_state(path, settings, caplog, fault, wanted):
    meets(path, settings, fault, wanted)
    assert OUR_MISTAKE not in caplog.text


@pytest.mark.parametrize(("fault", "wanted"), FAULTS_OF_STREAMS.items(), ids=FAULTS_OF_STREAMS)
def test_a_streamed_call_that_meets_it_ends_in_the_same(path, settings, fault, wanted):
    meets(path, settings, fault, wanted, model="gpt-4o", wants_stream=True)


def meets(path, settings, fault, wanted, **asked) -> None:
    usual_deadline = settings.CALL_DEADLINE_SECONDS
    settings.CALL_DEADLINE_SECONDS = wanted.get("deadline", usual_deadline)
    path.simulator.fault(fault, bytes_per_second=5)
    job = path.submit(max_completion_tokens=2000, **asked)
    path.run()
    job.refresh_from_db()
    attempt = job.attempts.get()
    assert (attempt.status, job.status) == (wanted["attempt"], wanted["job"])
    assert (job.waiting_on or {}).get("reason") == wanted.get("waits")
    assert Budget.objects.exclude(held=0).exists() is wanted.get("held", False)
    assert Breaker.objects.exists() is wanted.get("opens", False)
    assert bool(job_as_sent(job)["message"]) is wanted.get("keeps", False)
    assert [warning["code"] for warning in job_as_sent(job)["warnings"]] == ["cost_in_doubt"] * wanted.get(
        "keeps", False
    )
    books_agree(path)

    # Mended, the others go on; what is in doubt is not sent again.
    settings.CALL_DEADLINE_SECONDS = usual_deadline
    Job.objects.update(run_after=None)
    Breaker.objects.all().delete()
    limiter.connection().flushdb()
    limiter.connection().set(limiter.BORN_KEY, "0.000")
    path.run()
    job.refresh_from_db()
    assert job.status in ({"succeeded", "incomplete"} if wanted["job"] == "queued" else {wanted["job"]})
    assert path.simulator.counters()["requests"] == 1 + (wanted["job"] == "queued")
    books_agree(path)


# --- What no HTTP server can be talked into ---------------------------------------------------------------------------
@contextmanager
def nobody_listens() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    yield f"http://127.0.0.1:{port}/v1"


@contextmanager
def no_such_name() -> Iterator[str]:
    yield "http://no-such-host.invalid/v1"


@contextmanager
def no_tls() -> Iterator[str]:
    with serving(lambda connection, wire: connection.sendall(b"\x00\xff garbage")) as wire:
        yield wire.base_url.replace("http:", "https:")


@contextmanager
def half_open() -> Iterator[str]:
    """Accepts, and neither reads nor answers nor closes."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        yield f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"


@contextmanager
def talks_on() -> Iterator[str]:
    """Answers with headers that never end."""

    def talk(connection: socket.socket, wire: Wire) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.sendall(b"x-more: and more\r\n" * 1000)

    with serving(talk) as wire:
        yield wire.base_url


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("place", "status", "code"),
    [
        (nobody_listens, "queued", "connection_failed"),
        (no_such_name, "queued", "connection_failed"),
        (no_tls, "queued", "connection_failed"),
        (half_open, "in_doubt", "timeout"),
        (talks_on, "in_doubt", "connection_lost"),
    ],
)
def test_a_place_that_is_no_provider(path, settings, caplog, place, status, code):
    job = path.submit()
    with place() as base_url:
        settings.OPENAI_BASE_URL = base_url
        settings.CALL_DEADLINE_SECONDS = 1.0 if place is half_open else 20.0
        path.run()
    job.refresh_from_db()
    assert (job.status, job.attempts.get().error_code) == (status, code)
    assert Budget.objects.exclude(held=0).exists() is (status == "in_doubt")
    assert OUR_MISTAKE not in caplog.text


# --- Another model ----------------------------------------------------------------------------------------------------
def test_an_answer_of_another_model_costs_that_models_price_and_says_so(path, project):
    path.simulator.fault("other_model", answers_as="gpt-4o-mini")
    job = path.submit("o1-mini")
    path.run()
    job.refresh_from_db()
    assert (job.status, job.snapshot[:11]) == ("succeeded", "gpt-4o-mini")
    assert job.total_usd == Decimal(path.bill(job)[0]["cost_usd"])
    record = UsageRecord.objects.get()
    assert (record.model, record.price.model) == ("o1-mini", "gpt-4o-mini")
    assert record.reservation.price.model == "o1-mini"
    assert [warning["code"] for warning in job_as_sent(job)["warnings"]] == ["other_model_answered"]
    assert list(verify(project.organization)) == []


def test_an_answer_of_a_model_that_nobody_knows_costs_the_price_that_was_asked(path, project):
    path.simulator.fault("other_model", answers_as="gpt-4o-mini")
    job = path.submit("o1-mini")
    Price.objects.filter(model__startswith="gpt-4o-mini").delete()
    path.run()
    job.refresh_from_db()
    assert UsageRecord.objects.get().price.model == "o1-mini"
    assert [warning["code"] for warning in job_as_sent(job)["warnings"]] == ["other_model_answered"]
