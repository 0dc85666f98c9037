"""The Responses API: in the foreground and the background, cancelled, lost, deleted, and billed once."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import openai
import pytest
from openai import OpenAI

from config.simulator.running import RunningSimulator
from tests.simulator.clients import KEY, ask, billed_calls, connect

SECRET = "whsec_c2VjcmV0IG9mIGEgdGVzdA=="


def respond(client: OpenAI, model: str = "o3", prompt: str = "hello", **options: Any) -> Any:
    return client.responses.create(model=model, input=prompt, **options)


def ended(client: OpenAI, response: Any) -> Any:
    give_up_at = time.monotonic() + 20
    while response.status in ("queued", "in_progress"):
        assert time.monotonic() < give_up_at
        time.sleep(0.02)
        response = client.responses.retrieve(response.id)
    return response


def lines(simulator: RunningSimulator, response: Any) -> list[dict[str, Any]]:
    return [line for line in simulator.bill(lines=True)["lines"] if line["id"] == response.id]


def test_an_answer_is_that_of_chat_and_billed_as_it_says(client: OpenAI, simulator: RunningSimulator) -> None:
    by_chat = ask(client, "o3", reasoning_effort="low")
    response = respond(client, reasoning={"effort": "low"})
    assert response.status == "completed"
    assert response.output_text == by_chat.choices[0].message.content
    assert response.model == "o3-2025-04-16"
    usage = response.usage
    assert usage.output_tokens == by_chat.usage.completion_tokens
    assert usage.output_tokens_details.reasoning_tokens == by_chat.usage.completion_tokens_details.reasoning_tokens
    assert usage.input_tokens == by_chat.usage.prompt_tokens + 30
    (line,) = lines(simulator, response)
    assert (line["prompt_tokens"], line["completion_tokens"]) == (usage.input_tokens, usage.output_tokens)


def test_work_in_the_background_goes_on_by_itself(client: OpenAI, simulator: RunningSimulator) -> None:
    simulator.set_latency(0.3)
    response = respond(client, background=True, metadata={"attempt_id": "a-1"})
    assert (response.status, response.usage, response.output) == ("queued", None, [])
    assert lines(simulator, response) == []
    final = ended(client, response)
    assert final.status == "completed"
    assert final.metadata == {"attempt_id": "a-1"}
    assert final.background is True
    assert len(lines(simulator, response)) == 1
    assert simulator.bill(attempt_id="a-1")["calls"] == 1


def test_the_bill_is_written_before_anybody_is_told_of_the_end(client: OpenAI, simulator: RunningSimulator) -> None:
    for _ in range(20):
        response = respond(client, background=True)
        assert ended(client, response).usage is not None
        assert len(lines(simulator, response)) == 1


def test_a_cap_leaves_reasoning_alone_and_says_why(client: OpenAI) -> None:
    response = ended(client, respond(client, max_output_tokens=17, background=True))
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"
    assert [item.type for item in response.output] == ["reasoning"]
    assert response.usage.output_tokens == response.usage.output_tokens_details.reasoning_tokens == 17


def test_what_waits_is_cancelled_for_nothing_and_what_runs_for_what_it_used(
    client: OpenAI, simulator: RunningSimulator
) -> None:
    simulator.set_latency(10)
    waiting = respond(client, background=True)
    stopped = client.responses.cancel(waiting.id)
    assert (stopped.status, stopped.usage) == ("cancelled", None)
    assert lines(simulator, waiting) == []
    simulator.set_latency(1.5)
    running = respond(client, background=True)
    while client.responses.retrieve(running.id).status == "queued":
        time.sleep(0.02)
    stopped = client.responses.cancel(running.id)
    assert stopped.status == "cancelled"
    (line,) = lines(simulator, running)
    assert line["prompt_tokens"] == stopped.usage.input_tokens > 0
    assert line["completion_tokens"] == stopped.usage.output_tokens
    again = client.responses.cancel(running.id)
    assert again.usage == stopped.usage
    assert len(lines(simulator, running)) == 1


def test_only_work_in_the_background_is_cancelled_and_an_end_stays(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        client.responses.cancel(respond(client).id)
    done = ended(client, respond(client, background=True))
    assert client.responses.cancel(done.id).status == "completed"


def test_what_is_not_there_is_not_found(client: OpenAI, simulator: RunningSimulator) -> None:
    kept, unkept = respond(client), respond(client, store=False)
    assert client.responses.retrieve(kept.id).output_text == kept.output_text
    client.responses.delete(kept.id)
    with connect(simulator, project="proj_other") as stranger:
        for response, caller in ((kept, client), (unkept, client), (respond(client), stranger)):
            with pytest.raises(openai.NotFoundError):
                caller.responses.retrieve(response.id)


def test_an_answer_that_is_lost_on_the_way_is_done_and_billed_all_the_same(
    client: OpenAI, simulator: RunningSimulator
) -> None:
    simulator.fault("cut_after_billing")
    with pytest.raises(openai.APIConnectionError):
        respond(client, background=True, metadata={"attempt_id": "lost"})
    give_up_at = time.monotonic() + 20
    while not simulator.bill(attempt_id="lost")["calls"]:
        assert time.monotonic() < give_up_at


@pytest.mark.parametrize("kind", ["429", "500", "503", "insufficient_quota", "cut_before_billing"])
def test_what_is_refused_is_not_billed(client: OpenAI, simulator: RunningSimulator, kind: str) -> None:
    before = billed_calls(simulator)
    simulator.fault(kind)
    with pytest.raises(openai.APIError):
        respond(client, background=True)
    assert billed_calls(simulator) == before


def test_work_that_fails_says_why_and_costs_nothing(client: OpenAI, simulator: RunningSimulator) -> None:
    simulator.fault("failed", code="rate_limit_exceeded")
    ask(client)  # the fault is not meant for chat
    response = ended(client, respond(client, background=True))
    assert (response.status, response.error.code, response.usage) == ("failed", "rate_limit_exceeded", None)
    assert lines(simulator, response) == []


def test_rate_limits_are_those_of_chat(client: OpenAI) -> None:
    raw = client.responses.with_raw_response.create(model="o3", input="hello", background=True)
    assert raw.headers["x-ratelimit-limit-requests"] == "10000"
    assert raw.headers["x-ratelimit-remaining-requests"] == "9999"


@pytest.mark.parametrize(
    ("options", "status", "param"),
    [
        ({"model": "o1-mini"}, 404, "model"),
        ({"max_output_tokens": 1}, 400, "max_output_tokens"),
        ({"max_output_tokens": 10**6}, 400, "max_output_tokens"),
        ({"reasoning": {"effort": "minimal"}}, 400, "reasoning.effort"),
        ({"temperature": 0.3}, 400, "temperature"),
        ({"background": True, "store": False}, 400, "background"),
    ],
)
def test_what_the_model_does_not_take_is_refused_in_its_own_name(client: OpenAI, options, status, param) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        respond(client, **options)
    assert (refused.value.status_code, refused.value.param) == (status, param)
    assert "max_completion" not in refused.value.message


def test_a_model_of_responses_alone_is_served_here(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="only supported in v1/responses"):
        ask(client, "o3-pro")
    assert respond(client, "o3-pro").status == "completed"


def test_parts_and_instructions_are_read(client: OpenAI) -> None:
    parts: Any = [{"role": "user", "content": [{"type": "input_text", "text": "hello"}]}]
    plain = respond(client)
    longer = client.responses.create(model="o3", input=parts, instructions="Be brief.")
    assert longer.usage is not None
    assert longer.usage.input_tokens > plain.usage.input_tokens


# --- Webhooks ---------------------------------------------------------------------------------------------------------
class Inbox:
    """An endpoint that refuses what comes first, so many times, and keeps all that came."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.came: list[tuple[dict[str, str], bytes]] = []
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                inbox.came.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(500 if len(inbox.came) <= inbox.refusals else 204)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/webhooks"

    def wait_for(self, count: int) -> None:
        give_up_at = time.monotonic() + 20
        while len(self.came) < count:
            assert time.monotonic() < give_up_at
            time.sleep(0.02)


@pytest.fixture
def inbox(simulator: RunningSimulator) -> Iterator[Inbox]:
    inbox = Inbox(refusals=1)
    thread = threading.Thread(target=inbox.server.serve_forever, args=(0.05,))
    thread.start()
    simulator.set_webhook(inbox.url, SECRET)
    yield inbox
    simulator.set_webhook()
    inbox.server.shutdown()
    thread.join()
    inbox.server.server_close()


def test_the_end_is_told_until_it_is_taken_and_the_official_client_believes_it(client: OpenAI, inbox: Inbox) -> None:
    response = respond(client, background=True)
    inbox.wait_for(2)
    (first, _), (second, body) = inbox.came
    assert first["webhook-id"] == second["webhook-id"]
    with OpenAI(api_key=KEY, webhook_secret=SECRET) as receiver:
        event = receiver.webhooks.unwrap(body, second)
        with pytest.raises(openai.InvalidWebhookSignatureError):
            receiver.webhooks.unwrap(body + b" ", second)
    assert event.type == "response.completed"
    assert event.data.id == response.id
    assert json.loads(body)["object"] == "event"
