"""Answers that are read while they are made: by the official client, through a real web process and a real Valkey."""

import asyncio
import http.client
import json
import time
from decimal import Decimal
from typing import Any

import openai
import pytest

from jobs import limiter
from jobs.execution import streaming
from jobs.models import Attempt, Doubt, Job, Undelivered
from jobs.recovery import looks
from jobs.relay.messages import Message, channel_of, sealed
from jobs.streams import Delta
from tests.flows.conftest import LONG_AGO
from tests.front_door.conftest import BODY, ask, eventually, send

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)

PROMPT = "Tell me how a book is kept."
STREAM = {"model": "gpt-4o", "messages": [{"role": "user", "content": PROMPT}], "stream": True}


@pytest.fixture(autouse=True)
def _no_stream_was_refused_before(monkeypatch) -> None:
    monkeypatch.setattr(streaming, "_refused_at", {})


def text_of(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def asked(web, tenant, **more: str) -> http.client.HTTPResponse:
    """The answer to a stream that is read by hand."""
    return send(web, tenant, body=json.dumps(STREAM), **more).getresponse()


def first_text(answer: http.client.HTTPResponse) -> str:
    """Reads until some of the text has come; all lines up to there."""
    lines = ""
    while '"content":"' not in lines.replace('"content":""', ""):
        line = answer.readline()
        assert line, "the stream ended before it said anything"
        lines += line.decode()
    return lines


def events(body: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: {")]


def said(body: str) -> str:
    deltas = [choice["delta"] for event in events(body) for choice in event.get("choices", [])]
    return "".join(delta.get("content") or "" for delta in deltas)


# --- Read while it is made --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("model", ["gpt-4o", "o3-mini"])
def test_an_answer_is_read_while_it_is_made(engine, official, simulator, model):
    whole = ask(official, model, PROMPT)
    simulator.set_latency(3.0)
    began, chunks, came_at = time.monotonic(), [], []
    for chunk in ask(official, model, PROMPT, stream=True, stream_options={"include_usage": True}):
        chunks.append(chunk)
        came_at.append(time.monotonic() - began)
    texts = [at for at, chunk in zip(came_at, chunks, strict=True) if chunk.choices and chunk.choices[0].delta.content]
    assert text_of(chunks) == whole.choices[0].message.content
    assert len(texts) > 3
    assert texts[-1] - texts[0] > 0.4
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert len({(chunk.id, chunk.created, chunk.model, chunk.system_fingerprint) for chunk in chunks}) == 1
    spent = chunks[-1].usage
    assert spent.completion_tokens == whole.usage.completion_tokens
    assert Decimal(spent.cost["total_usd"]) == Job.objects.latest("queued_at").total_usd
    job = Job.objects.latest("queued_at")
    assert (job.wants_stream, job.status, job.attempts.get().provider_response_id) == (True, "succeeded", chunks[0].id)
    eventually(lambda: not Undelivered.objects.exists())


def test_the_official_client_puts_it_together(engine, official, simulator):
    whole = ask(official, "gpt-4o", PROMPT)
    simulator.set_latency(1.0)
    messages = [{"role": "user", "content": PROMPT}]
    with official.chat.completions.stream(model="gpt-4o", messages=messages) as stream:
        kinds = {event.type for event in stream}
        completion = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert completion.choices[0].message.content == whole.choices[0].message.content
    assert completion.choices[0].finish_reason == "stop"


def test_the_asynchronous_client_reads_it_as_well(engine, web, alice, simulator):
    simulator.set_latency(1.0)

    async def read() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=web.base_url, api_key=alice.api_key.secret) as client:
            return [chunk async for chunk in await ask(client, "gpt-4o", PROMPT, stream=True)]

    chunks = asyncio.run(read())
    assert len([chunk for chunk in chunks if chunk.choices[0].delta.content]) > 3
    assert text_of(chunks) == Job.objects.get().content.message["content"]


def test_every_choice_is_read_along(engine, official, simulator):
    simulator.set_latency(1.0)
    chunks = list(ask(official, "gpt-4o", PROMPT, stream=True, n=2))
    content = Job.objects.get().content
    messages = [content.message, *(choice["message"] for choice in content.rest["choices"])]
    for index, message in enumerate(messages):
        ours = [chunk for chunk in chunks if chunk.choices[0].index == index]
        assert text_of(ours) == message["content"]
        assert ours[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("headers", [{"Prefer": "wait=20"}, {"Prefer": "respond-async"}])
def test_who_may_take_the_job_instead_is_told_in_the_end(engine, web, alice, headers):
    asked(web, alice, **headers).read()
    eventually(lambda: Job.objects.filter(status="succeeded").exists())
    assert Job.objects.get().wants_stream is False


def test_who_does_not_stream_makes_no_stream(engine, web, alice):
    send(web, alice, body=BODY).getresponse().read()
    assert Job.objects.get().wants_stream is False


def test_a_reader_that_leaves_leaves_its_job_to_finish(engine, web, alice, simulator):
    simulator.set_latency(3.0)
    answer = asked(web, alice)
    first_text(answer)
    answer.close()
    eventually(lambda: Job.objects.filter(status="succeeded").exists())
    assert len(simulator.bill(lines=True)["lines"]) >= 1


# --- What is lost on the way ------------------------------------------------------------------------------------------
def test_without_valkey_in_between_the_rest_comes_in_the_end(engine, web, alice, simulator):
    """One message that does not follow stands for all that were lost: nothing is told until the answer is there."""
    simulator.set_latency(4.0)
    answer = asked(web, alice)
    beginning = first_text(answer)
    job = Job.objects.get()
    stray = sealed(job.pk, Message(1, 1000, (Delta(0, {"content": "A STRAY"}, {}),)))
    limiter.connection().publish(channel_of(job.pk), stray)
    limiter.connection().publish(channel_of(job.pk), b"\x00 not sealed at all")
    rest = answer.read().decode()
    job.refresh_from_db()
    assert said(beginning + rest) == job.content.message["content"]
    assert "STRAY" not in rest
    assert rest.endswith("data: [DONE]\n\n")


def test_a_stream_that_was_cut_goes_on_when_its_answer_was_found(engine, web, alice, simulator):
    simulator.set_latency(2.0)
    simulator.fault("cut_in_the_body")
    answer = asked(web, alice)
    beginning = first_text(answer)
    eventually(lambda: Attempt.objects.filter(status="in_doubt").exists())
    Doubt.objects.update(next_look_at=LONG_AGO)
    assert looks.look_up() == 1
    whole = beginning + answer.read().decode()
    assert said(whole) == Job.objects.get().content.message["content"]
    assert whole.count('"finish_reason":"stop"') == 1


def test_an_answer_that_is_made_anew_ends_what_was_read_of_the_other(engine, web, alice, simulator):
    """The second attempt says something else; nobody is given the end of one after the beginning of another."""
    simulator.set_latency(3.0)
    answer = asked(web, alice)
    beginning = first_text(answer)
    job = Job.objects.get()
    anew = sealed(job.pk, Message(2, 0, (Delta(0, {"content": "Something else"}, {}),)))
    limiter.connection().publish(channel_of(job.pk), anew)
    rest = answer.read().decode()
    assert "Something else" not in rest
    error = events(beginning + rest)[-1]["error"]
    assert (error["type"], error["code"]) == ("server_error", "answer_restarted")
    assert str(job.pk) in error["message"]
    assert "[DONE]" not in rest
    # The job goes on, and a retry gets its answer.
    again = asked(web, alice, **{"x-stainless-retry-count": "1"})
    body = again.read().decode()
    job.refresh_from_db()
    assert (Job.objects.count(), job.status) == (1, "succeeded")
    assert said(body) == job.content.message["content"]


def test_an_answer_that_begins_otherwise_than_what_was_told_is_an_error(engine, official, simulator):
    simulator.set_latency(3.0)
    stream = ask(official, "gpt-4o", PROMPT, stream=True)
    next(stream)
    job = Job.objects.get()
    # As if somebody else's words had come between.
    for number in range(1, 200):
        false = sealed(job.pk, Message(1, number, (Delta(0, {"content": "False. "}, {}),)))
        limiter.connection().publish(channel_of(job.pk), false)
    with pytest.raises(openai.APIError, match="what was sent of it is void"):
        list(stream)
    assert Job.objects.get().status == "succeeded"


def test_a_failure_after_the_beginning_is_an_error_of_the_stream(engine, web, alice, simulator):
    simulator.set_latency(2.0)
    simulator.fault("error_event")
    answer = asked(web, alice)
    beginning = first_text(answer)
    eventually(lambda: Attempt.objects.filter(status="in_doubt").exists())
    assert said(beginning)
    answer.close()


# --- Streams that cannot be had ---------------------------------------------------------------------------------------
def test_a_stream_that_the_provider_refuses_comes_in_one_chunk(engine, official, simulator):
    chunks = list(ask(official, "o3", PROMPT, stream=True))
    job = Job.objects.get()
    assert [attempt.status for attempt in job.attempts.order_by("number")] == ["rejected", "answered"]
    assert text_of(chunks) == job.content.message["content"]
    assert len(chunks) == 2


# --- Responses --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("model", ["gpt-4o", "o3-mini"])
def test_a_response_is_read_while_it_is_made(engine, official, simulator, model):
    simulator.set_latency(3.0)
    told, came_at = [], []
    with official.responses.stream(model=model, input=PROMPT) as stream:
        for each in stream:
            told.append(each)
            came_at.append(time.monotonic())
        response = stream.get_final_response()
    texts = [at for at, each in zip(came_at, told, strict=True) if each.type == "response.output_text.delta"]
    assert len(texts) > 3
    assert texts[-1] - texts[0] > 0.4
    job = Job.objects.get()
    assert response.output_text == job.content.message["content"]
    assert "".join(each.delta for each in told if each.type == "response.output_text.delta") == response.output_text
    assert [each.sequence_number for each in told] == list(range(len(told)))
    kinds = [each.type for each in told if each.type != "response.output_text.delta"]
    assert len(kinds) == len(set(kinds)) + (2 if model == "o3-mini" else 0)  # items are two where one is the reasoning
    assert kinds[-1] == "response.completed"
    assert response.usage.output_tokens == job.usage["completion_tokens"]
    items = {each.output_index: each.item for each in told if each.type == "response.output_item.done"}
    assert [items[index].id for index in sorted(items)] == [item.id for item in response.output]


def test_a_response_that_is_cut_and_found_goes_on(engine, official, simulator):
    simulator.set_latency(2.0)
    simulator.fault("cut_in_the_body")
    told = []
    with official.responses.stream(model="gpt-4o", input=PROMPT) as stream:
        for each in stream:
            told.append(each)
            if each.type == "response.output_text.delta" and not Doubt.objects.exists():
                eventually(lambda: Attempt.objects.filter(status="in_doubt").exists())
                Doubt.objects.update(next_look_at=LONG_AGO)
                assert looks.look_up() == 1
    text = "".join(each.delta for each in told if each.type == "response.output_text.delta")
    assert text == Job.objects.get().content.message["content"]
    assert [each.sequence_number for each in told] == list(range(len(told)))
