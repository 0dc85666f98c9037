"""Streams of any model: at least one chunk for the whole answer, and comments until it is there."""

import openai
import pytest

from jobs.models import Job, Undelivered
from tests.flows.conftest import PROMPT
from tests.front_door.conftest import KEEPALIVE_SECONDS, ask, eventually, send

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)


@pytest.mark.parametrize("model", ["o1-mini", "gpt-4o", "o3"])
def test_every_model_streams_for_whoever_wants_it(engine, official, model):
    whole = ask(official, model)
    chunks = list(ask(official, model, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], whole.usage.completion_tokens)
    assert chunks[-1].usage.cost["total_usd"] == whole.usage.cost["total_usd"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    # What was asked for is kept as it was accepted.
    assert not any("stream" in job.content.request for job in Job.objects.select_related("content"))


def test_usage_is_told_only_to_whoever_asks_for_it(engine, official):
    assert all(chunk.choices and chunk.usage is None for chunk in ask(official, stream=True))
    with pytest.raises(openai.BadRequestError, match="stream_options"):
        ask(official, stream_options={"include_usage": True})


def test_every_choice_is_in_the_stream(engine, official):
    chunks = list(ask(official, "gpt-4o", stream=True, n=2))
    assert {chunk.choices[0].index for chunk in chunks} == {0, 1}
    assert [chunk.choices[0].index for chunk in chunks if chunk.choices[0].finish_reason] == [0, 1]


def test_comments_keep_a_stream_alive(engine, web, alice, simulator):
    simulator.set_latency(2 * KEEPALIVE_SECONDS + 1)
    body = '{"model": "o1-mini", "messages": [{"role": "user", "content": "hello"}], "stream": true}'
    answer = send(web, alice, body=body).getresponse()
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    text = answer.read().decode()
    assert text.startswith(": ")
    assert text.count("\n\ndata: ") >= 2
    assert text.endswith("data: [DONE]\n\n")
    eventually(lambda: not Undelivered.objects.exists())


def test_an_error_in_a_stream_is_raised_by_the_client(engine, official, simulator):
    simulator.fault("404", seconds=KEEPALIVE_SECONDS + 1)
    with pytest.raises(openai.APIError, match="does not exist"):
        list(ask(official, prompt=PROMPT, stream=True))


def test_an_error_that_is_known_at_once_has_its_own_status(engine, official, simulator):
    simulator.fault("404")
    with pytest.raises(openai.NotFoundError):
        list(ask(official, stream=True))
