"""Files and batches as the provider has them: half the price, beside the rate limits, in any order, and in the bill."""

import json
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import openai
import pytest
from openai import OpenAI

from config.simulator.running import RunningSimulator
from tests.simulator.clients import ask

MODEL = "gpt-4o-mini"


def line(custom_id: str, prompt: str = "hello", **body: Any) -> dict[str, Any]:
    body = {"model": MODEL, "messages": [{"role": "user", "content": prompt}], **body}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}


def upload(client: OpenAI, *lines: Any, **more: Any) -> Any:
    data = b"".join(json.dumps(one).encode() + b"\n" for one in lines)
    return client.files.create(file=("in.jsonl", data), purpose="batch", **more)


def create(client: OpenAI, *lines: Any, **more: Any) -> Any:
    file = upload(client, *lines)
    return client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", **more
    )


def ended(client: OpenAI, batch: Any, *, until: str = "") -> Any:
    give_up_at = time.monotonic() + 20
    wanted = {until} if until else {"completed", "failed", "expired", "cancelled"}
    while batch.status not in wanted:
        assert time.monotonic() < give_up_at, batch.status
        time.sleep(0.02)
        batch = client.batches.retrieve(batch.id)
    return batch


def lines_of(client: OpenAI, file_id: str | None) -> dict[str, Any]:
    if file_id is None:
        return {}
    read = [json.loads(text) for text in client.files.content(file_id).text.splitlines()]
    assert len({one["id"] for one in read}) == len(read)
    return {one["custom_id"]: one for one in read}


@pytest.fixture(autouse=True)
def _usual(simulator: RunningSimulator) -> Iterator[None]:
    yield
    simulator.set_batches()


def test_a_batch_answers_as_chat_does_at_half_its_price_and_says_so_in_the_bill(client, simulator):
    by_chat = ask(client, MODEL)
    batch = create(client, *(line(f"line {number}") for number in range(30)), metadata={"whose": "ours"})
    assert (batch.object, batch.status, batch.metadata) == ("batch", "validating", {"whose": "ours"})
    assert batch.expires_at - batch.created_at == 24 * 3600
    done = ended(client, batch)
    counts = done.request_counts
    assert (done.status, counts.total, counts.completed, counts.failed) == ("completed", 30, 30, 0)
    assert done.error_file_id is None
    answers = lines_of(client, done.output_file_id)
    assert set(answers) == {f"line {number}" for number in range(30)}
    assert list(answers) != sorted(answers, key=lambda name: int(name.split()[1]))
    said = answers["line 7"]["response"]
    assert (said["status_code"], said["body"]["usage"]) == (200, by_chat.to_dict()["usage"])
    assert said["body"]["choices"][0]["message"]["content"] == by_chat.choices[0].message.content
    billed = {one["id"]: one for one in simulator.bill(lines=True)["lines"]}
    ours, beside = billed[said["body"]["id"]], billed[by_chat.id]
    assert (ours["service_tier"], ours["client_request_id"]) == ("batch", "line 7")
    assert Decimal(ours["cost_usd"]) * 2 == Decimal(beside["cost_usd"])


def test_lines_that_are_refused_stand_in_the_error_file_and_cost_nothing(client, simulator):
    before = simulator.bill()["calls"]
    done = ended(client, create(client, line("good"), line("bad", max_completion_tokens=10**9)))
    assert (done.status, done.request_counts.completed, done.request_counts.failed) == ("completed", 1, 1)
    (refused,) = lines_of(client, done.error_file_id).values()
    assert (refused["custom_id"], refused["response"]["status_code"]) == ("bad", 400)
    assert refused["response"]["body"]["error"]["param"] == "max_completion_tokens"
    assert simulator.bill()["calls"] == before + 1


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([line("a"), line("a")], "duplicate_custom_id"),
        ([line("a"), line("b", model="gpt-4o")], "mismatched_model"),
        ([line("a", model="o1-mini")], "model_not_found"),
        ([{**line("a"), "url": "/v1/responses"}], "invalid_url"),
        (["no object"], "invalid_json_line"),
        ([], "empty_file"),
    ],
)
def test_a_file_that_is_no_batch_fails_and_runs_nothing(client, simulator, lines, code):
    before = simulator.bill()["calls"]
    done = ended(client, create(client, *lines))
    assert done.status == "failed"
    assert code in {error.code for error in done.errors.data}
    assert simulator.bill()["calls"] == before


def test_a_batch_beyond_what_may_wait_fails_until_others_have_ended(client, simulator):
    simulator.set_batches(enqueued_tokens=20, runs=0)
    first = create(client, line("a"))
    second = ended(client, create(client, line("a"), line("b")))
    (error,) = second.errors.data
    assert (second.status, error.code) == ("failed", "token_limit_exceeded")
    client.batches.cancel(first.id)
    ended(client, first)
    simulator.set_batches(enqueued_tokens=20)
    assert ended(client, create(client, line("a"), line("b"))).status == "completed"


@pytest.mark.parametrize("how", ["cancelled", "expired"])
def test_what_has_not_run_in_time_or_before_a_cancellation_is_not_billed(client, simulator, how):
    before = simulator.bill()["calls"]
    simulator.set_batches(runs=2, expires=how == "expired", seconds=0.05)
    batch = create(client, *(line(str(number)) for number in range(5)))
    if how == "cancelled":
        while client.batches.retrieve(batch.id).request_counts.completed < 2:
            time.sleep(0.02)
        assert client.batches.cancel(batch.id).status == "cancelling"
    done = ended(client, batch)
    assert (done.status, done.request_counts.completed) == (how, 2)
    assert len(lines_of(client, done.output_file_id)) == 2
    left = lines_of(client, done.error_file_id)
    assert {one["error"]["code"] for one in left.values()} == {f"batch_{how}"}
    assert len(left) == 3
    assert simulator.bill()["calls"] == before + 2
    with pytest.raises(openai.ConflictError):
        client.batches.cancel(batch.id)


def test_a_batch_whose_answer_is_lost_is_found_in_the_list(client, simulator):
    simulator.fault("batch_create_lost")
    with pytest.raises(openai.APIConnectionError):
        create(client, line("a"), metadata={"token": "this one"})
    (found,) = [one for one in client.batches.list() if (one.metadata or {}).get("token") == "this one"]
    assert ended(client, found).status == "completed"
    simulator.fault("batch_create_cut")
    with pytest.raises(openai.APIConnectionError):
        create(client, line("a"), metadata={"token": "another"})
    assert not [one for one in client.batches.list() if (one.metadata or {}).get("token") == "another"]


def test_faults_of_lines_leave_answers_out_or_spoil_their_usage(client, simulator):
    before = simulator.bill()["calls"]
    for kind, word in (("batch_line_left_out", "lost"), ("no_usage", "free"), ("batch_line_refused", "broken")):
        simulator.fault(kind, match=word)
    done = ended(client, create(client, line("a", "lost"), line("b", "free"), line("c", "broken"), line("d")))
    answers = lines_of(client, done.output_file_id)
    assert set(answers) == {"b", "d"}
    assert "usage" not in answers["b"]["response"]["body"]
    assert lines_of(client, done.error_file_id)["c"]["response"]["status_code"] == 500
    assert simulator.bill()["calls"] == before + 3


def test_files_are_listed_read_and_deleted(client):
    file = upload(client, line("a"), expires_after={"anchor": "created_at", "seconds": 3600})
    assert file.expires_at - file.created_at == 3600
    assert client.files.retrieve(file.id).bytes == len(client.files.content(file.id).read())
    assert file.id in {one.id for one in client.files.list()}
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.content(file.id)
    with pytest.raises(openai.BadRequestError):
        client.files.create(file=("a", b"{}"), purpose="fine-tune")


def test_batches_are_listed_page_by_page_and_take_no_rate_limit(client, simulator):
    made = [create(client, line("a")).id for _ in range(3)]
    page = client.batches.list(limit=2)
    assert [one.id for one in page.data] == made[:0:-1]
    assert page.has_more
    assert made[0] in {one.id for one in client.batches.list(limit=2)}
    for batch_id in made:
        ended(client, client.batches.retrieve(batch_id))
    assert simulator.counters()["requests"] == 0
