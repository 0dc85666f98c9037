"""Completions put together of chunks, and what is missing of a part of one: by themselves, with nothing around them."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.streams import Assembly, Contradiction, Delta, Events, Grown, difference, joined

FRAME = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-2024-08-06"}
# A busy machine may take its time.
QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
USAGE = {"prompt_tokens": 43, "completion_tokens": 320}


def chunk(delta: Any = None, reason: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": delta or {}, "finish_reason": reason, **more}
    return {**FRAME, "choices": [choice], "usage": None}


def assembled(*chunks: dict[str, Any]) -> Assembly:
    assembly = Assembly()
    for each in chunks:
        assembly.add(each)
    return assembly


def grown(*deltas: dict[str, Any]) -> dict[str, Any]:
    thing = Grown()
    for delta in deltas:
        thing.add(delta)
    return thing.whole()


# --- Together ---------------------------------------------------------------------------------------------------------
def test_a_completion_is_put_together_of_its_chunks():
    assembly = assembled(
        chunk({"role": "assistant", "content": "", "refusal": None}),
        chunk({"content": "Mexico"}),
        chunk({"content": " City"}),
        chunk({}, "stop"),
        {**FRAME, "service_tier": "default", "choices": [], "usage": USAGE},
    )
    assert assembly.is_whole
    assert assembly.completion() == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-2024-08-06",
        "service_tier": "default",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Mexico City", "refusal": None},
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
    }


def test_calls_of_tools_are_put_together_by_their_numbers():
    deltas = [
        {"role": "assistant", "content": None},
        {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "a", "arguments": ""}}]},
        {"tool_calls": [{"index": 1, "id": "call_2", "type": "function", "function": {"name": "b", "arguments": "{"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"x"'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}, {"index": 1, "function": {"arguments": "}"}}]},
    ]
    assert grown(*deltas) == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "a", "arguments": '{"x": 1}'}},
            {"id": "call_2", "type": "function", "function": {"name": "b", "arguments": "{}"}},
        ],
    }


def test_refusals_old_function_calls_and_log_probabilities_grow_as_well():
    assert grown({"refusal": "I can"}, {"refusal": "not."}) == {"refusal": "I cannot."}
    assert grown({"function_call": {"name": "f", "arguments": "{"}}, {"function_call": {"arguments": "}"}}) == {
        "function_call": {"name": "f", "arguments": "{}"}
    }
    probabilities = [{"logprobs": {"content": [{"token": "a"}]}}, {"logprobs": {"content": [{"token": "b"}]}}]
    assert grown(*probabilities) == {"logprobs": {"content": [{"token": "a"}, {"token": "b"}]}}


@pytest.mark.parametrize(
    ("chunks", "is_whole"),
    [
        ([], False),
        ([chunk({"content": "a"}), chunk({}, "stop")], False),  # without its usage
        ([chunk({"content": "a"}), {**FRAME, "choices": [], "usage": USAGE}], False),  # without its end
        ([chunk({}, "stop"), chunk({}, index=1), {**FRAME, "choices": [], "usage": USAGE}], False),
        ([chunk({}, "stop"), chunk({}, "length", 1), {**FRAME, "choices": [], "usage": USAGE}], True),
        ([{**FRAME, "choices": [], "usage": USAGE}], False),
    ],
)
def test_a_completion_is_whole_with_the_end_of_each_choice_and_its_usage(chunks, is_whole):
    assert assembled(*chunks).is_whole is is_whole


@QUICK
@given(st.lists(st.binary(max_size=30), max_size=10), st.data())
def test_events_are_read_however_they_are_cut(texts, data):
    said = [json.dumps({"text": text.hex()}).encode() for text in texts]
    ends = [data.draw(st.sampled_from([b"\n\n", b"\r\n\r\n"])) for _ in said]
    body = b": a comment\n\n" + b"".join(b"data: " + each + end for each, end in zip(said, ends, strict=True))
    places = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=20)))
    events = Events()
    pieces = [body[start:end] for start, end in zip([0, *places], [*places, len(body)], strict=True)]
    assert [found for piece in pieces for found in events.of(piece)] == said


# --- Apart ------------------------------------------------------------------------------------------------------------
CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.text(min_size=1),
            "type": st.just("function"),
            "function": st.fixed_dictionaries({"name": st.text(min_size=1), "arguments": st.text(min_size=1)}),
        }
    ),
    min_size=1,
    max_size=3,
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": st.none() | st.text(min_size=1), "refusal": st.none()},
    optional={"tool_calls": CALLS},
)


def numbered(calls: Any) -> list[dict[str, Any]]:
    return [{"index": number, **call} for number, call in enumerate(calls)]


@QUICK
@given(MESSAGES, st.data())
def test_what_was_told_and_what_is_missing_make_the_whole(message, data):
    """Whatever part of it was told: some of the text, and of the calls the first ones, the last of them in part."""
    told = Grown()
    told.add({"role": "assistant"})
    if message["content"]:
        told.add({"content": message["content"][: data.draw(st.integers(0, len(message["content"])))]})
    calls = message.get("tool_calls", [])
    if some := data.draw(st.integers(0, len(calls))):
        *before, last = numbered(calls)[:some]
        arguments = last["function"]["arguments"]
        cut = {**last["function"], "arguments": arguments[: data.draw(st.integers(0, len(arguments)))]}
        told.add({"tool_calls": [*before, {**last, "function": cut}]})
    told.add(difference(told.whole(), message))
    assert {name: value for name, value in told.whole().items() if value} == {
        name: value for name, value in message.items() if value
    }


def test_of_nothing_that_was_told_all_is_missing():
    message = {"role": "assistant", "content": "hi", "annotations": [], "tool_calls": [{"id": "1"}]}
    assert difference({}, message) == {
        "role": "assistant",
        "content": "hi",
        "annotations": [],
        "tool_calls": [{"index": 0, "id": "1"}],
    }


def test_of_all_that_was_told_nothing_is_missing():
    message = {"role": "assistant", "content": "hi", "refusal": None, "annotations": []}
    assert difference({"role": "assistant", "content": "hi"}, message) == {}


@pytest.mark.parametrize(
    ("told", "whole"),
    [
        ({"content": "Hi"}, {"content": "hi there"}),
        ({"content": "hi there"}, {"content": "hi"}),
        ({"content": "hi"}, {"content": None}),
        ({"content": "hi"}, {}),
        ({"content": None, "refusal": "no"}, {"content": "hi", "refusal": None}),
        ({"tool_calls": [{"id": "1"}, {"id": "2"}]}, {"tool_calls": [{"id": "1"}]}),
        ({"tool_calls": [{"id": "1"}]}, {"tool_calls": [{"id": "2"}]}),
        ({"tool_calls": [{"id": "1"}]}, {"content": "hi"}),
        ({"logprobs": {"content": [1]}}, {"logprobs": {"content": [2, 3]}}),
        ({"logprobs": {"content": [1]}}, {"logprobs": None}),
    ],
)
def test_what_begins_otherwise_cannot_be_gone_on_with(told, whole):
    with pytest.raises(Contradiction):
        difference(told, whole)


def test_texts_that_follow_each_other_become_one():
    def text(said: str, index: int = 0, **beside: Any) -> Delta:
        return Delta(index, {"content": said}, beside)

    said = [
        *(Delta(0, {"role": "assistant", "content": ""}, {}), text("a"), text("b", logprobs=None), text("c", 1)),
        *(text("d"), text("e", logprobs={"content": [1]}), text("f"), Delta(0, {"refusal": "g"}, {})),
    ]
    assert [(delta.choice, delta.message) for delta in joined(said)] == [
        (0, {"role": "assistant", "content": ""}),
        (0, {"content": "ab"}),
        (1, {"content": "c"}),
        (0, {"content": "d"}),
        (0, {"content": "e"}),
        (0, {"content": "f"}),
        (0, {"refusal": "g"}),
    ]
