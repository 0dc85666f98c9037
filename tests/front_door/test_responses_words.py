"""A request of the Responses API said as a chat completion, and a job told as a response. No server is needed."""

from typing import Any, cast

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from jobs.front_door.responses import events
from jobs.front_door.responses.requests import chat_of, renamed
from jobs.validation import RequestRejected

EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)


def chat(earlier=(), *, instructs_as="developer", **body):
    return chat_of({"model": "o3", "input": "Hello", **body}, list(earlier), instructs_as=instructs_as)


def test_a_text_is_one_message_of_the_user():
    assert chat() == {"model": "o3", "messages": [{"role": "user", "content": "Hello"}]}


def test_instructions_come_first_and_what_was_said_before_follows():
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    assert chat(said, instructions="Be brief.", input="And?")["messages"] == [
        {"role": "developer", "content": "Be brief."},
        *said,
        {"role": "user", "content": "And?"},
    ]


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"max_output_tokens": 300}, {"max_completion_tokens": 300}),
        ({"reasoning": {"effort": "low", "summary": None}}, {"reasoning_effort": "low"}),
        ({"reasoning": {"summary": "auto"}}, {}),
        ({"text": {"format": {"type": "json_object"}, "verbosity": "low"}}, None),
        ({"tool_choice": "auto", "tools": [], "truncation": "disabled", "include": [], "top_logprobs": 0}, {}),
        ({"include": ["reasoning.encrypted_content"]}, {}),
        ({"store": False, "metadata": {"a": "b"}, "user": "u"}, {"store": False, "metadata": {"a": "b"}, "user": "u"}),
        ({"background": True, "stream": False, "previous_response_id": None}, {}),
        ({"temperature": None, "max_tool_calls": None, "conversation": None}, {}),
    ],
)
def test_parameters_have_the_names_of_chat(sent, said):
    if said is None:
        said = {"response_format": {"type": "json_object"}, "verbosity": "low"}
    found = chat(**sent)
    del found["messages"], found["model"]
    assert found == said


def test_a_schema_keeps_its_members():
    form = {"type": "json_schema", "name": "answer", "schema": {"type": "object"}, "strict": True, "description": None}
    assert chat(text={"format": form})["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
    }


def test_tools_and_their_calls_and_outputs_are_said_as_chat_says_them():
    tool = {"type": "function", "name": "add", "parameters": {"type": "object"}, "strict": True}
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "1 + 2?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "add", "arguments": "{}"},
        {"type": "function_call", "id": "fc_2", "call_id": "c2", "name": "add", "arguments": "[]"},
        {"type": "function_call_output", "call_id": "c1", "output": "3"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "3"}]},
    ]
    found = chat(input=items, tools=[tool], tool_choice={"type": "function", "name": "add"})
    assert found["tools"] == [
        {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}, "strict": True}}
    ]
    assert found["tool_choice"] == {"type": "function", "function": {"name": "add"}}
    assert found["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "1 + 2?"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}},
                {"id": "c2", "type": "function", "function": {"name": "add", "arguments": "[]"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "3"},
        {"role": "assistant", "content": [{"type": "text", "text": "3"}]},
    ]


def test_a_picture_keeps_its_address_and_detail():
    part = {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"}
    (message,) = chat(input=[{"role": "user", "content": [part]}])["messages"]
    assert message["content"] == [
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}
    ]


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"truncation": "auto"}, "truncation"),
        ({"include": ["file_search_call.results"]}, "include"),
        ({"max_tool_calls": 3}, "max_tool_calls"),
        ({"top_logprobs": 5}, "top_logprobs"),
        ({"reasoning": {"summary": "detailed"}}, "reasoning.summary"),
        ({"reasoning": "low"}, "reasoning"),
        ({"text": []}, "text"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": ["web_search"]}, "tools[0]"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice"),
        ({"instructions": [{"role": "user"}]}, "instructions"),
        ({"instructions": 3}, "instructions"),
        ({"input": None}, "input"),
        ({"input": 3}, "input"),
        ({"input": ["Hello"]}, "input[0]"),
        ({"input": [{"type": "item_reference", "id": "rs_1"}]}, "input[0].type"),
        ({"input": [{"content": "Hello"}]}, "input[0].role"),
        ({"input": [{"role": "wizard", "content": "Hello"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": 3}]}, "input[0].content"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
            "input[0].content[0].type",
        ),
        ({"input": [{"type": "function_call", "call_id": "c1", "name": "add"}]}, "input[0].arguments"),
        ({"whatever": 1}, "whatever"),
    ],
)
def test_what_chat_cannot_say_is_refused_by_its_name(sent, param):
    with pytest.raises(RequestRejected) as refused:
        chat(**sent)
    assert refused.value.param == param
    assert refused.value.status == 400


def test_a_refusal_of_chat_is_told_in_the_names_that_were_sent():
    refused = renamed(
        RequestRejected(
            "Invalid 'messages[0].role' beside 'max_completion_tokens'.", param="messages[0].role", status=404
        )
    )
    assert refused.message == "Invalid 'input[0].role' beside 'max_output_tokens'."
    assert (refused.param, refused.status, refused.provider_code) == ("input[0].role", 404, None)


# --- Events -----------------------------------------------------------------------------------------------------------
def response(*output, status="completed"):
    return Response.model_validate(
        {
            "id": "resp_1",
            "object": "response",
            "created_at": 1,
            "status": status,
            "model": "o3",
            "output": output,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
        }
    ).model_dump(mode="json", exclude_unset=True)


MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}],
}
CALL = {"id": "fc_1", "type": "function_call", "status": "completed", "call_id": "c", "name": "add", "arguments": "{}"}


def test_events_are_numbered_and_each_is_one_that_the_official_client_knows():
    told = response({"id": "rs_1", "type": "reasoning", "summary": []}, MESSAGE, CALL)
    all_of_them = events.Telling().rest([*events.opening(told), *events.closing(told)])
    assert [event["sequence_number"] for event in all_of_them] == list(range(len(all_of_them)))
    for event in all_of_them:
        assert EVENT.validate_python(event).type == event["type"]
    deltas = [event["delta"] for event in all_of_them if event["type"].endswith(".delta")]
    assert deltas == ["Hello", "{}"]
    assert all_of_them[-1] == {"type": "response.completed", "sequence_number": 14, "response": told}
    assert all_of_them[0]["response"]["output"] == []


@pytest.mark.parametrize("pieces", [["Hello"], ["H", "ell"], ["H", "e", "l", "l", "o"], []])
def test_what_was_told_while_it_was_made_is_not_told_again(pieces):
    reasoning = {"id": "rs_1", "type": "reasoning", "summary": []}
    whole = response(reasoning, MESSAGE, CALL)
    at_once = events.Telling().rest([*events.opening(whole), *events.closing(whole)])
    telling = events.Telling()
    told = telling.more(events.opening(whole)) if pieces else []
    for piece in pieces:
        part = {**cast("dict[str, Any]", MESSAGE["content"][0]), "text": piece}
        told += telling.more(events.under_way([reasoning, {**MESSAGE, "status": "in_progress", "content": [part]}]))
    told += telling.rest([*events.opening(whole), *events.closing(whole)])
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    text = "response.output_text.delta"
    assert "".join(event["delta"] for event in told if event["type"] == text) == "Hello"
    others = [[event["type"] for event in these if event["type"] != text] for these in (told, at_once)]
    assert others[0] == others[1]


@pytest.mark.parametrize("status", ["incomplete", "failed"])
def test_the_last_event_says_how_it_ended(status):
    assert events.closing(response(status=status))[-1]["type"] == f"response.{status}"
