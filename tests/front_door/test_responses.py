"""`/v1/responses` by the official client: the same jobs, told as responses."""

from decimal import Decimal

import openai
import pytest

from jobs.models import Attempt, Job, JobContent
from tests.conftest import Tenant
from tests.flows.conftest import PROMPT
from tests.flows.test_golden_calls import GOLDEN
from tests.front_door.conftest import ask, eventually

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)


@pytest.mark.parametrize(("model", "prompt", "parameters", "input_", "output", "reasoning", "cost", "status"), GOLDEN)
def test_the_tutorials_calls_come_out_as_responses(
    engine, official, model, prompt, parameters, input_, output, reasoning, cost, status
):
    caps = {"max_output_tokens": parameters["max_completion_tokens"]} if parameters else {}
    answer = official.responses.create(model=model, input=prompt, metadata={"team": "a"}, **caps)
    usage = answer.usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (input_, output, input_ + output)
    assert usage.output_tokens_details.reasoning_tokens == reasoning
    assert usage.cost["total_usd"] == cost.rstrip("0")
    assert answer.status == ("completed" if status == "succeeded" else "incomplete")
    assert bool(answer.output_text) == (status == "succeeded")
    assert [item.type for item in answer.output] == (
        ["reasoning", "message"] if status == "succeeded" else ["reasoning"]
    )
    if status != "succeeded":
        assert answer.incomplete_details.reason == "max_output_tokens"
    assert answer.metadata == {"team": "a"}
    assert official.responses.retrieve(answer.id) == answer
    assert Job.objects.get().pk.hex == answer.id.removeprefix("resp_")


def test_a_conversation_goes_on_without_the_instructions_of_before(engine, official):
    first = official.responses.create(model="o3", input="hello", instructions="Be brief.")
    second = official.responses.create(model="o3", input="And?", previous_response_id=first.id, instructions="Be kind.")
    assert (second.previous_response_id, second.instructions, second.status) == (first.id, "Be kind.", "completed")
    messages = Job.objects.order_by("id").last().content.request["messages"]
    assert messages == [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": "And?"},
    ]


def test_a_response_in_the_background_is_looked_at_until_it_has_ended(idle_engine, official):
    begun = official.responses.create(model="o1-mini", input=PROMPT, background=True)
    assert (begun.status, begun.background, begun.output, begun.usage) == ("queued", True, [], None)
    assert official.responses.retrieve(begun.id).status == "queued"
    idle_engine.start()
    eventually(lambda: official.responses.retrieve(begun.id).status == "completed")
    ended = official.responses.retrieve(begun.id)
    assert ended.usage.output_tokens == 1511
    assert ended.completed_at
    assert official.responses.cancel(begun.id) == ended, "what has ended stays as it is"


def test_a_queued_response_is_cancelled_and_costs_nothing(idle_engine, official):
    begun = official.responses.create(model="o1-mini", input=PROMPT, background=True)
    cancelled = official.responses.cancel(begun.id)
    assert (cancelled.status, cancelled.usage) == ("cancelled", None)
    assert official.responses.cancel(begun.id).status == "cancelled"
    idle_engine.start()
    assert not Attempt.objects.exists()


def test_the_same_key_begins_one_response(idle_engine, official):
    headers = {"Idempotency-Key": "one"}
    begun = [
        official.responses.create(model="o1-mini", input=PROMPT, background=True, extra_headers=headers) for _ in "ab"
    ]
    assert begun[0].id == begun[1].id
    assert Job.objects.count() == 1


def test_a_stream_tells_the_whole_answer_by_its_events(engine, official):
    with official.responses.stream(model="o1-mini", input=PROMPT) as stream:
        kinds = [event.type for event in stream]
        answer = stream.get_final_response()
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    assert answer.output_text == official.responses.retrieve(answer.id).output_text
    assert answer.usage.output_tokens == 1511


def test_a_deleted_response_keeps_its_cost_and_loses_its_words(engine, official, project):
    answer = official.responses.create(model="o1-mini", input=PROMPT)
    official.responses.delete(answer.id)
    left = official.responses.retrieve(answer.id)
    assert (left.output, left.usage.cost) == ([], answer.usage.cost)
    assert Job.objects.get().content_erased_at
    with pytest.raises(openai.BadRequestError, match="no answer to go on from"):
        official.responses.create(model="o1-mini", input="And?", previous_response_id=answer.id)


@pytest.mark.parametrize("way", ["responses", "chat", "stream"])
def test_an_answer_that_is_not_to_be_kept_counts_as_fetched_when_it_leaves(engine, official, project, way):
    project.content_retention_days = 0
    project.save()
    if way == "responses":
        official.responses.create(model="o1-mini", input=PROMPT)
    else:
        answer = ask(official, prompt=PROMPT, stream=way == "stream")
        assert way == "chat" or list(answer)
    content = JobContent.objects.get()
    assert content.fetched_at
    assert content.job.read_at


def test_tools_are_called_and_their_outputs_go_back(engine, official, simulator):
    tool = {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {}}, "strict": False}
    answer = official.responses.create(
        model="o3",
        tools=[tool],
        input=[
            {"role": "user", "content": "1 + 2?"},
            {"type": "function_call", "call_id": "c1", "name": "add", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "3"},
        ],
    )
    assert answer.status == "completed"
    assert answer.tools[0].name == "add"


# --- Refusals ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("sent", "kind", "param", "code"),
    [
        ({"tools": [{"type": "web_search"}]}, openai.BadRequestError, "tools[0].type", "unsupported_parameter"),
        ({"conversation": "conv_1"}, openai.BadRequestError, "conversation", "unsupported_parameter"),
        ({"instructions": "Be brief."}, openai.BadRequestError, "input[0].role", "unsupported_value"),
        ({"max_output_tokens": 10**6}, openai.BadRequestError, "max_output_tokens", "invalid_value"),
        ({"max_output_tokens": "many"}, openai.BadRequestError, "max_output_tokens", "invalid_type"),
        ({"model": "o9"}, openai.NotFoundError, None, "model_not_found"),
        ({"background": "yes"}, openai.BadRequestError, "background", "invalid_type"),
        ({"background": True, "stream": True}, openai.BadRequestError, "stream", "unsupported_parameter"),
        ({"previous_response_id": "resp_1"}, openai.NotFoundError, "previous_response_id", None),
    ],
)
def test_what_cannot_be_is_refused_in_the_words_of_this_endpoint(web, official, sent, kind, param, code):
    with pytest.raises(kind) as refused:
        official.responses.create(**{"model": "o1-mini", "input": "hello", **sent})
    assert (refused.value.param, refused.value.code) == (param, code)
    assert not Job.objects.exists()


@pytest.mark.parametrize("response_id", ["resp_1", "resp_" + "0" * 32, "nonsense"])
def test_a_response_that_is_not_there_is_not_found(official, response_id):
    for look in (official.responses.retrieve, official.responses.cancel):
        with pytest.raises(openai.NotFoundError, match="not found"):
            look(response_id)


def test_nobody_else_sees_a_response(idle_engine, web, official, bob: Tenant):
    begun = official.responses.create(model="o1-mini", input=PROMPT, background=True)
    with openai.OpenAI(base_url=web.base_url, api_key=bob.api_key.secret) as other:
        for look in (other.responses.retrieve, other.responses.cancel):
            with pytest.raises(openai.NotFoundError):
                look(begun.id)
        with pytest.raises(openai.NotFoundError):
            other.responses.create(model="o1-mini", input="And?", previous_response_id=begun.id, background=True)
    assert official.responses.retrieve(begun.id).status == "queued"


def test_what_has_no_answer_yet_is_not_gone_on_from(idle_engine, official):
    begun = official.responses.create(model="o1-mini", input=PROMPT, background=True)
    with pytest.raises(openai.BadRequestError, match="no answer to go on from"):
        official.responses.create(model="o1-mini", input="And?", previous_response_id=begun.id)


def test_headers_tell_what_a_response_cost(engine, official):
    raw = official.responses.with_raw_response.create(model="o1-mini", input=PROMPT)
    assert raw.headers["x-cost-usd"] == "0.018261"
    assert Decimal(raw.headers["x-cost-reserved-usd"]) == Job.objects.get().bound_usd
