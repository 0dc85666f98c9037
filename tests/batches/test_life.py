"""A batch from its file to its answers, by the provider's own client; every line answered once and paid once."""

import json
from datetime import timedelta
from decimal import Decimal

import httpx2
import openai
import pytest
from django.db.models import Sum
from django.utils import timezone

from accounts import api_keys
from accounts.models import RateLimit
from billing.models import Budget, LedgerEntry, Quota, UsageRecord
from jobs.batches import feeding, harvesting, steps
from jobs.models import Attempt, Batch, BatchLine, File, Job
from tests.batches.conftest import QUESTION, file_of, request

D = Decimal


def spent() -> Decimal:
    return LedgerEntry.objects.aggregate(spent=Sum("spent_change_usd"))["spent"] or D(0)


def nothing_is_held() -> bool:
    return not Budget.objects.exclude(held=0).exists()


def requests(count: int, **body) -> list[dict]:
    return [request(f"line {number}", **body) for number in range(count)]


@pytest.mark.timeout(300)  # calls are made one after the other
@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_every_line_is_answered_once_in_its_order_and_the_sums_are_equal(live_batches, simulator):
    batches = live_batches
    names = [f"ключ {number}" for number in range(60)]
    batch = batches.create(file_of(*(request(name) for name in names)), metadata={"of": "the evaluation"})
    assert (batch.object, batch.status, batch.endpoint) == ("batch", "validating", "/v1/chat/completions")
    assert batch.expires_at - batch.created_at == 24 * 3600
    batches.work()
    done = batches.client.batches.retrieve(batch.id)
    assert (done.status, done.model, done.metadata) == ("completed", "o1-mini", {"of": "the evaluation"})
    counts = done.request_counts
    assert (counts.total, counts.completed, counts.failed) == (60, 60, 0)
    assert done.error_file_id is None
    assert done.created_at <= done.in_progress_at <= done.finalizing_at <= done.completed_at

    lines = batches.lines(done.output_file_id)
    assert [line["custom_id"] for line in lines] == names
    assert len({line["id"] for line in lines}) == 60
    for line in lines:
        body = line["response"]["body"]
        assert line["error"] is None
        assert line["response"]["status_code"] == 200
        assert line["response"]["request_id"].startswith("req_")
        assert (body["object"], body["choices"][0]["finish_reason"]) == ("chat.completion", "stop")
        assert body["id"].startswith("chatcmpl-")
        assert body["choices"][0]["message"]["content"]
    usages = [line["response"]["body"]["usage"] for line in lines]
    assert done.usage.output_tokens == sum(usage["completion_tokens"] for usage in usages)
    assert done.usage.input_tokens == sum(usage["prompt_tokens"] for usage in usages)
    reasoning = sum(usage["completion_tokens_details"]["reasoning_tokens"] for usage in usages)
    assert done.usage.output_tokens_details.reasoning_tokens == reasoning

    attempts = {str(pk) for pk in Attempt.objects.values_list("pk", flat=True)}
    bill = [line for line in simulator.bill(lines=True)["lines"] if line["client_request_id"] in attempts]
    assert len({line["client_request_id"] for line in bill}) == len(bill) == 60
    cost = {name: D(amount) for name, amount in done.to_dict()["cost"].items()}
    assert cost["total_usd"] == spent() == sum(D(line["cost_usd"]) for line in bill)
    assert cost["total_usd"] == sum(amount for name, amount in cost.items() if name != "total_usd")
    assert UsageRecord.objects.count() == 60
    assert nothing_is_held()


def test_jobs_are_found_by_their_batch_and_let_people_go_first(batches, alice):
    batch = batches.validate(file_of(request("a"), request("b", service_tier="auto")))
    steps.work()
    jobs = Job.objects.filter(metadata__batch_id=batch.id).order_by("pk")
    assert [(job.metadata["custom_id"], job.service_tier, job.priority) for job in jobs] == [
        ("a", "standard", -10),
        ("b", "standard", -10),
    ]
    assert jobs[0].deadline == Batch.objects.get().expires_at
    theirs = batches.path.submit()
    batches.path.dispatch()
    first = Attempt.objects.order_by("pk").first()
    assert first.job_id == theirs.pk


def test_an_answer_that_stops_at_its_cap_is_an_answer(batches):
    batch = batches.create(file_of(request("a", max_completion_tokens=30)))
    batches.work()
    done = batches.client.batches.retrieve(batch.id)
    (line,) = batches.lines(done.output_file_id)
    assert line["response"]["body"]["choices"][0]["finish_reason"] == "length"
    assert done.request_counts.completed == 1


def test_lines_that_are_refused_stand_in_the_error_file_and_cost_nothing(batches, project):
    Quota.objects.create(organization=project.organization, project=project, limit=D("0.1"))
    long = [{"role": "user", "content": "word " * 130_000}]
    batch = batches.create(
        file_of(
            request("fits"),
            request("too dear", max_completion_tokens=60_000),
            request("too long", messages=long),
            request("fits too"),
        )
    )
    batches.work()
    done = batches.client.batches.retrieve(batch.id)
    assert (done.status, done.request_counts.completed, done.request_counts.failed) == ("completed", 2, 2)
    assert [line["custom_id"] for line in batches.lines(done.output_file_id)] == ["fits", "fits too"]
    dear, too_long = batches.lines(done.error_file_id)
    assert (dear["custom_id"], dear["response"]["status_code"]) == ("too dear", 429)
    assert dear["response"]["body"]["error"]["type"] == "insufficient_quota"
    assert too_long["response"]["body"]["error"]["code"] == "context_length_exceeded"
    assert D(done.to_dict()["cost"]["total_usd"]) == spent()


def test_what_the_provider_refuses_stands_in_the_error_file(batches, simulator):
    batch = batches.validate(file_of(request("a"), request("b")))
    steps.work()
    simulator.fault("404")
    batches.work()
    done = batches.client.batches.retrieve(batch.id)
    assert (done.request_counts.completed, done.request_counts.failed) == (1, 1)
    (line,) = batches.lines(done.error_file_id)
    assert line["response"]["status_code"] == 404
    assert line["response"]["body"]["error"]["code"] == "model_not_found"


def test_no_more_jobs_are_queued_than_keep_the_queue_busy(batches, monkeypatch):
    monkeypatch.setattr(feeding, "QUEUED_AHEAD", 20)
    batches.validate(file_of(*requests(70)))
    steps.work()
    assert Job.objects.filter(status="queued").count() == 20
    batches.path.run()
    steps.work()
    assert Job.objects.count() == 40
    batches.work()
    assert Batch.objects.get().status == "completed"


def test_a_project_whose_backlog_is_full_lets_lines_wait(batches, settings):
    batches.validate(file_of(*requests(5)))
    settings.MAX_QUEUED_JOBS = 3
    steps.work()
    assert Job.objects.count() == 3
    settings.MAX_QUEUED_JOBS = 100
    batches.work()
    assert Batch.objects.get().completed == 5


# --- Cancelling -------------------------------------------------------------------------------------------------------
def test_a_batch_that_is_cancelled_midway_bills_what_ran_and_releases_the_rest(batches, slots, monkeypatch, simulator):
    monkeypatch.setattr(feeding, "QUEUED_AHEAD", 40)
    batch = batches.validate(file_of(*requests(100)))
    steps.work()
    slots(10)
    running = batches.path.dispatch()
    assert 0 < len(running) <= 10
    cancelling = batches.client.batches.cancel(batch.id)
    assert cancelling.status == "cancelling"
    steps.work()
    assert batches.client.batches.retrieve(batch.id).status == "cancelling"
    assert Job.objects.filter(status="queued").count() == 0
    batches.work()
    from jobs import execution

    for attempt in running:
        execution.execute(attempt.pk, worker="tests")
    batches.work()
    done = batches.client.batches.retrieve(batch.id)
    assert done.status == "cancelled"
    counts = done.to_dict()["request_counts"]
    assert counts == {
        "total": 100,
        "completed": len(running),
        "failed": 0,
        "expired": 0,
        "cancelled": 100 - len(running),
    }
    answered, withdrawn = batches.lines(done.output_file_id), batches.lines(done.error_file_id)
    assert len(answered) == len(running)
    assert {line["error"]["code"] for line in withdrawn} == {"batch_cancelled"}
    assert {line["custom_id"] for line in answered + withdrawn} == {f"line {number}" for number in range(100)}
    assert simulator.counters()["billed"] == len(running)
    assert D(done.to_dict()["cost"]["total_usd"]) == spent() > 0
    assert nothing_is_held()
    assert batches.client.batches.cancel(batch.id).status == "cancelled"


def test_a_batch_that_is_cancelled_before_it_is_validated_has_run_nothing(batches):
    batch = batches.create(file_of(*requests(3)))
    assert batches.client.batches.cancel(batch.id).status == "cancelling"
    batches.work()
    done = batches.client.batches.retrieve(batch.id)
    assert (done.status, done.request_counts.total, done.output_file_id) == ("cancelled", 0, None)
    assert not BatchLine.objects.exists()


def test_a_batch_that_has_ended_cannot_be_cancelled(batches):
    batch = batches.create(file_of(request("a")))
    batches.work()
    with pytest.raises(openai.ConflictError, match="completed"):
        batches.client.batches.cancel(batch.id)


# --- The window -------------------------------------------------------------------------------------------------------
def test_lines_that_have_not_started_in_time_expire_and_the_others_are_kept(batches, monkeypatch, slots):
    monkeypatch.setattr(feeding, "QUEUED_AHEAD", 20)
    batch = batches.validate(file_of(*requests(50)))
    slots(5)
    steps.work()
    attempts = batches.path.dispatch()
    assert attempts
    from jobs import execution

    for attempt in attempts:
        execution.execute(attempt.pk, worker="tests")
    past = timezone.now() - timedelta(hours=1)
    Batch.objects.update(expires_at=past)
    Job.objects.update(deadline=past)
    batches.work()
    done = batches.client.batches.retrieve(batch.id)
    assert (done.status, done.request_counts.completed) == ("expired", len(attempts))
    late = batches.lines(done.error_file_id)
    assert len(late) == 50 - len(attempts) == done.to_dict()["request_counts"]["expired"]
    assert {line["error"]["code"] for line in late} == {"batch_expired"}
    assert {line["response"] for line in late} == {None}
    assert D(done.to_dict()["cost"]["total_usd"]) == spent() > 0


@pytest.mark.parametrize(("window", "hours"), [("1h", 1), ("24h", 24), ("7d", 168), ("168h", 168)])
def test_windows_from_an_hour_to_a_week_are_taken(batches, window, hours):
    batch = batches.create(file_of(request("a")), completion_window=window)
    assert batch.expires_at - batch.created_at == hours * 3600
    assert batch.completion_window == window


@pytest.mark.parametrize("window", ["0h", "8d", "169h", "24", "h", "1w", "-1h", "24h "])
def test_other_windows_are_refused(batches, window):
    with pytest.raises(openai.BadRequestError) as refused:
        batches.create(file_of(request("a")), completion_window=window)
    assert refused.value.param == "completion_window"


def test_an_outcome_that_stays_unknown_ends_its_line_and_not_its_doubt(batches, simulator, monkeypatch):
    batch = batches.validate(file_of(request("a"), request("b")))
    steps.work()
    simulator.fault("cut_before_billing")
    batches.work()
    assert Job.objects.filter(status="in_doubt").count() == 1
    Batch.objects.update(expires_at=timezone.now() - timedelta(minutes=1))
    batches.work()
    assert batches.client.batches.retrieve(batch.id).status == "in_progress"
    monkeypatch.setattr(harvesting, "DOUBT_GRACE", timedelta(0))
    batches.work()
    done = batches.client.batches.retrieve(batch.id)
    assert (done.request_counts.completed, done.request_counts.failed) == (1, 1)
    assert batches.lines(done.error_file_id)[0]["error"]["code"] == "outcome_unknown"
    assert Job.objects.filter(status="in_doubt").count() == 1


# --- Keys and tenants -------------------------------------------------------------------------------------------------
def test_a_key_that_is_revoked_feeds_no_more_lines(batches, alice, owner, client_for):
    batch = batches.validate(file_of(*requests(3)))
    api_keys.revoke(alice.api_key.api_key)
    batches.work()
    other = client_for(api_keys.issue(alice.project, name="other", created_by=owner).secret)
    done = other.batches.retrieve(batch.id)
    assert (done.status, done.request_counts.failed) == ("completed", 3)
    lines = [json.loads(line) for line in other.files.content(done.error_file_id).text.splitlines()]
    assert {line["response"]["body"]["error"]["code"] for line in lines} == {"invalid_api_key"}
    assert not Job.objects.exists()


def test_a_batch_of_others_is_as_one_that_is_not_there(batches, bob, client_for):
    batch, theirs = batches.create(file_of(request("a"))), client_for(bob.api_key.secret)
    for ask in (theirs.batches.retrieve, theirs.batches.cancel):
        with pytest.raises(openai.NotFoundError) as refused:
            ask(batch.id)
        with pytest.raises(openai.NotFoundError) as never:
            ask(f"batch_{'0' * 32}")
        assert refused.value.message.replace(batch.id, "ID") == never.value.message.replace(f"batch_{'0' * 32}", "ID")
    assert list(theirs.batches.list()) == []
    assert Batch.objects.get().status == "validating"
    assert [one.id for one in batches.client.batches.list()] == [batch.id]


def test_the_list_has_pages(batches):
    made = [batches.create(file_of(request("a"))).id for _ in range(3)]
    first = batches.client.batches.list(limit=2)
    assert ([batch.id for batch in first.data], first.has_more) == (made[:0:-1], True)
    assert [batch.id for batch in batches.client.batches.list(limit=2)] == made[::-1]


def test_a_repetition_under_the_same_key_makes_no_second_batch(batches):
    file = batches.upload(file_of(request("a")))
    wanted = {"input_file_id": file.id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    twice = [batches.client.batches.create(**wanted, extra_headers={"Idempotency-Key": "once"}) for _ in range(2)]
    assert twice[0].id == twice[1].id
    assert Batch.objects.count() == 1


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"endpoint": "/v1/embeddings"}, "endpoint"),
        ({"metadata": {"a": 5}}, None),
        ({"output_expires_after": {"anchor": "now", "seconds": 3600}}, "output_expires_after.anchor"),
        ({"unknown": 1}, None),
        ({"input_file_id": "file-none"}, "input_file_id"),
        ({"input_file_id": None}, "input_file_id"),
    ],
)
def test_a_batch_that_cannot_be_is_refused(batches, change, param):
    file = batches.upload(file_of(request("a")))
    wanted = {"input_file_id": file.id, "endpoint": "/v1/chat/completions", "completion_window": "24h", **change}
    with pytest.raises(openai.APIStatusError) as refused:
        batches.client.post("/batches", cast_to=object, body=wanted)
    assert refused.value.status_code in (400, 404)
    assert param is None or refused.value.param == param
    assert not Batch.objects.exists()


def test_output_files_are_kept_as_long_as_was_asked_and_are_no_input(batches):
    batch = batches.create(file_of(request("a")), output_expires_after={"anchor": "created_at", "seconds": 7200})
    batches.work()
    done = batches.client.batches.retrieve(batch.id)
    output = batches.client.files.retrieve(done.output_file_id)
    assert output.purpose == "batch_output"
    assert abs(output.expires_at - output.created_at - 7200) < 60
    with pytest.raises(openai.BadRequestError, match="batch_output"):
        batches.client.batches.create(input_file_id=output.id, endpoint="/v1/chat/completions", completion_window="24h")


# --- Preview ----------------------------------------------------------------------------------------------------------
def preview(batches, data: bytes) -> dict:
    file = batches.upload(data)
    return batches.client.post("/batches/preview", cast_to=dict, body={"input_file_id": file.id})


def test_the_preview_bounds_what_the_batch_can_cost_and_guesses_by_the_past(batches, monkeypatch):
    found = preview(batches, file_of(*requests(20)))
    assert (found["requests"], found["models"]) == (20, {"o1-mini": 20})
    assert (found["expected"], found["p90"], found["history"]) == (None, None, {"o1-mini": None})
    assert not Job.objects.exists()
    batch = batches.create(file_of(*requests(20)))
    batches.work()
    cost = D(batches.client.batches.retrieve(batch.id).to_dict()["cost"]["total_usd"])
    assert sum(Job.objects.values_list("bound_usd", flat=True)) == D(found["bound"]["cost_usd"])
    now = preview(batches, file_of(*requests(20)))
    assert cost <= D(now["expected"]["cost_usd"]) <= D(now["bound"]["cost_usd"])
    assert D(now["expected"]["cost_usd"]) < 2 * cost
    assert now["history"]["o1-mini"]["jobs"] == 20
    assert now["expected"]["output_tokens"] <= now["p90"]["output_tokens"] <= now["bound"]["output_tokens"]


def test_the_preview_says_which_limit_the_batch_would_meet(batches, project):
    assert preview(batches, file_of(*requests(5)))["would_meet"] is None
    Quota.objects.create(organization=project.organization, project=project, limit=D("0.1"))
    met = preview(batches, file_of(*requests(20)))["would_meet"]
    assert (met["scope"], met["origin"], met["limit"]) == ("project", "quota", "0.10")
    assert D(met["required"]) > D(met["remaining"])


def test_the_preview_tells_lines_that_would_be_refused(batches):
    found = preview(batches, file_of(request("a"), request("b", temperature=0.1)) + b"not json\n")
    assert found["refused"]["count"] == 2
    assert [(one["line"], one["code"]) for one in found["refused"]["errors"]] == [
        (2, "unsupported_value"),
        (3, "invalid_json_line"),
    ]
    assert found["models"] == {"o1-mini": 1}


def test_a_preview_that_takes_long_shows_that_it_lives(batches, settings):
    settings.KEEPALIVE_SECONDS = 0
    file = batches.upload(file_of(*requests(250)))
    sent = batches.client.post("/batches/preview", cast_to=httpx2.Response, body={"input_file_id": file.id})
    assert sent.content.startswith(b"  {")
    assert sent.json()["requests"] == 250
    assert sent.headers["content-type"] == "application/json"
    settings.KEEPALIVE_SECONDS = 3600
    again = batches.client.post("/batches/preview", cast_to=httpx2.Response, body={"input_file_id": file.id})
    assert again.content.startswith(b"{")
    assert again.json() == sent.json()


def test_lines_that_differ_in_what_they_ask_are_each_checked(batches):
    several = [request("a"), request("b", service_tier="flex"), request("c", max_completion_tokens=300)]
    wrong = [request("d", temperature=0.5), request("e", messages=[]), request("f", messages=[{"role": "judge"}])]
    found = preview(batches, file_of(*several, *wrong, *several))
    codes = [(one["line"], one["code"]) for one in found["refused"]["errors"] if one["line"] > 3]
    assert codes[:3] == [(4, "unsupported_value"), (5, "empty_array"), (6, "invalid_value")]
    assert found["models"]["o1-mini"] >= 4
    assert found["refused"]["count"] + found["models"]["o1-mini"] == 9


def test_rate_limits_of_the_tier_hold_for_lines_as_for_any_job(batches):
    RateLimit.objects.filter(model="o1-mini").update(tokens_per_minute=1000)
    batch = batches.create(file_of(request("a", messages=[{"role": "user", "content": QUESTION}])))
    batches.work()
    done = batches.client.batches.retrieve(batch.id)
    (line,) = batches.lines(done.error_file_id)
    assert line["response"]["body"]["error"]["code"] == "request_too_large"
    assert File.objects.filter(purpose="batch_output").count() == 1
