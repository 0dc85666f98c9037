"""A chat completion said as a response, and a response read as an answer."""

import pytest

from billing.pricing import Tokens
from jobs.provider import Answer, Rejected, Uncertain
from jobs.responses import Accepted, CancelledUntold, Unmappable, read, request_of, tokens_of
from jobs.states import JobStatus

USAGE = {
    "input_tokens": 81,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 1035,
    "output_tokens_details": {"reasoning_tokens": 832},
    "total_tokens": 1116,
}
THOUGHT = {"id": "rs_1", "type": "reasoning", "summary": []}
SAID = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "Mexico "}, {"type": "output_text", "text": "City"}],
}


def response(**changes) -> dict:
    body = {"id": "resp_1", "status": "completed", "model": "o1-2024-12-17", "output": [THOUGHT, SAID], "usage": USAGE}
    return {**body, "error": None, "incomplete_details": None, **changes}


def reading(**changes):
    return read(response(**changes), "req_1", {"x": "y"})


# --- Requests ---------------------------------------------------------------------------------------------------------
def test_a_request_is_said_in_the_words_of_the_other_endpoint():
    schema = {"name": "city", "schema": {"type": "object"}, "strict": True}
    mapped = request_of(
        {
            "model": "o3",
            "messages": [
                {"role": "developer", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "Where?"}, _picture("https://example.org/a.png")],
                },
                {"role": "assistant", "content": [{"type": "text", "text": "Here."}]},
            ],
            "max_completion_tokens": 500,
            "reasoning_effort": "low",
            "verbosity": "low",
            "response_format": {"type": "json_schema", "json_schema": schema},
            "service_tier": "flex",
            "metadata": {"a": "b"},
            "n": 1,
            "temperature": None,
            "store": True,
        }
    )
    assert mapped == {
        "background": True,
        "store": True,
        "model": "o3",
        "input": [
            {"role": "developer", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "Where?"},
                    {"type": "input_image", "image_url": "https://example.org/a.png", "detail": "auto"},
                ],
            },
            {"role": "assistant", "content": [{"type": "output_text", "text": "Here."}]},
        ],
        "max_output_tokens": 500,
        "reasoning": {"effort": "low"},
        "text": {"verbosity": "low", "format": {"type": "json_schema", **schema}},
        "service_tier": "flex",
        "metadata": {"a": "b"},
    }


def _picture(url: str) -> dict:
    return {"type": "image_url", "image_url": {"url": url}}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("stop", ["."]),
        ("seed", 7),
        ("tools", [{"type": "function"}]),
        ("store", False),
        ("stream", True),
        ("logit_bias", {"1": 2}),
        ("max_completion_tokens", 15),
        ("messages", [{"role": "tool", "content": "4", "tool_call_id": "c"}]),
        ("messages", [{"role": "user", "content": "hello", "name": "ann"}]),
        ("messages", [{"role": "assistant", "content": None, "tool_calls": [{}]}]),
        ("messages", [{"role": "user", "content": [{"type": "input_audio"}]}]),
    ],
)
def test_what_cannot_be_said_there_is_named(name, value):
    body = {"model": "o3", "messages": [{"role": "user", "content": "hello"}], name: value}
    with pytest.raises(Unmappable) as refused:
        request_of(body)
    assert refused.value.name == name


# --- Answers ----------------------------------------------------------------------------------------------------------
def test_a_completed_response_is_an_answer():
    answer = reading()
    assert isinstance(answer, Answer)
    assert answer.message == {"role": "assistant", "content": "Mexico City", "refusal": None}
    assert (answer.finish_reason, answer.ends_as, answer.snapshot) == ("stop", None, "o1-2024-12-17")
    assert answer.tokens == Tokens(81, 0, 1035, 832)
    assert answer.usage == USAGE
    assert not answer.is_empty


@pytest.mark.parametrize(
    ("reason", "finish_reason"),
    [("max_output_tokens", "length"), ("content_filter", "content_filter"), ("steered", "steered")],
)
def test_an_incomplete_response_says_why(reason, finish_reason):
    answer = reading(status="incomplete", incomplete_details={"reason": reason}, output=[THOUGHT])
    assert (answer.finish_reason, answer.ends_as, answer.is_empty) == (finish_reason, JobStatus.INCOMPLETE, True)


def test_a_refusal_is_seen():
    refusal = {"type": "message", "content": [{"type": "refusal", "refusal": "I cannot."}]}
    answer = reading(output=[refusal])
    assert answer.message["refusal"] == "I cannot."
    assert not answer.is_empty


def test_a_cancelled_response_is_paid_for_as_it_says():
    answer = reading(status="cancelled", output=[])
    assert (answer.ends_as, answer.tokens) == (JobStatus.CANCELLED, Tokens(81, 0, 1035, 832))
    assert reading(status="cancelled", usage=None) == CancelledUntold()


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("server_error", 500),
        (None, 500),
        ("rate_limit_exceeded", 429),
        ("insufficient_quota", 429),
        ("credit_balance_exhausted", 429),
        ("invalid_prompt", 400),
    ],
)
def test_a_response_that_failed_unbilled_is_a_refusal_of_the_same_meaning(code, status):
    refused = reading(status="failed", usage=None, error={"code": code, "message": "no"} if code else None)
    assert isinstance(refused, Rejected)
    assert (refused.rejection.status, refused.rejection.code) == (status, code or "")


def test_a_response_that_failed_and_was_billed_is_paid_for_and_failed():
    answer = reading(status="failed", error={"code": "server_error", "message": "no"}, output=[])
    assert (answer.ends_as, answer.error["code"], answer.tokens.output) == (JobStatus.FAILED, "server_error", 1035)


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_what_has_not_ended_is_accepted(status):
    assert reading(status=status, usage=None) == Accepted("resp_1", "req_1")


@pytest.mark.parametrize(
    "changes",
    [
        {"id": None},
        {"status": None},
        {"status": "completed", "usage": None},
        {"status": "exploded"},
        {"usage": {}},
        {"usage": {**USAGE, "output_tokens": -1}},
        {"usage": {**USAGE, "output_tokens": 10**12}},
        {"usage": {**USAGE, "output_tokens_details": {"reasoning_tokens": 1036}}},
        {"usage": {**USAGE, "input_tokens_details": {"cached_tokens": 82}}},
        {"usage": {**USAGE, "input_tokens": "81"}},
        {"model": None},
        {"output": [7]},
        {"status": "incomplete"},
    ],
)
def test_a_response_that_cannot_be_believed_leaves_a_doubt(changes):
    with pytest.raises(Uncertain) as doubt:
        reading(**changes)
    assert doubt.value.code == "answer_unreadable"


@pytest.mark.parametrize("body", [None, [], "completed", 7, {}])
def test_what_is_no_response_leaves_a_doubt(body):
    with pytest.raises(Uncertain):
        read(body, "", {})


def test_tokens_are_read_from_either_shape():
    chat = {"prompt_tokens": 81, "completion_tokens": 1035, "completion_tokens_details": {"reasoning_tokens": 832}}
    expected = {"input": 81, "cached": 0, "cache_write": 0, "output": 1035, "reasoning": 832}
    assert tokens_of(USAGE) == tokens_of(chat) == expected
    assert tokens_of(None)["output"] == 0
