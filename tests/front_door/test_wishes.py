"""What a request wishes for, by its headers; and durations as the provider writes them."""

from decimal import Decimal
from uuid import uuid4

import pytest
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from jobs.front_door.answers import chunks_of
from jobs.front_door.headers import duration
from jobs.front_door.relayed import Relayed
from jobs.front_door.wishes import OnDisconnect, Wishes, wishes_of
from jobs.validation import RequestRejected


def wishes(**headers: str) -> Wishes:
    names = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    return wishes_of(Request(APIRequestFactory().post("/v1/chat/completions", **names)))


@pytest.mark.parametrize(
    ("prefer", "wants_job", "seconds", "applied"),
    [
        ("", False, None, ""),
        ("respond-async", True, None, "respond-async"),
        ("Respond-Async; x=1", True, None, "respond-async"),
        ("wait=30", False, 30, "wait=30"),
        ('wait="30"', False, 30, "wait=30"),
        ("wait=0", False, 0, "wait=0"),
        ("respond-async, wait=10", False, 10, "wait=10"),
        ("respond-async, wait=0", True, 0, "respond-async"),
        ("wait=5, wait=9", False, 5, "wait=5"),
        ("wait=soon, handling=strict", False, None, ""),
    ],
)
def test_preferences_are_read_as_far_as_they_are_known(prefer, wants_job, seconds, applied):
    found = wishes(prefer=prefer)
    assert (found.wants_job, found.wait_seconds, found.applied) == (wants_job, seconds, applied)


def test_what_is_not_said_is_the_default():
    assert wishes() == Wishes(None, False, None, OnDisconnect.FINISH, False)


def test_a_maximum_is_exact():
    assert wishes(x_max_cost_usd="0.000000000001").max_cost_usd == Decimal("0.000000000001")


def test_advice_is_ignored_by_name():
    assert wishes(x_ignore_advice=" small_cap,chain_of_thought ").ignored_advice == {"small_cap", "chain_of_thought"}
    with pytest.raises(RequestRejected, match="X-Ignore-Advice"):
        wishes(x_ignore_advice="small_cap, haste")


@pytest.mark.parametrize("amount", ["", "0", "-1", "NaN", "$1", "0.0000000000001", "1,5"])
def test_a_maximum_that_is_no_amount_is_refused_and_not_ignored(amount):
    with pytest.raises(RequestRejected, match="X-Max-Cost-USD"):
        wishes(x_max_cost_usd=amount)


def test_the_number_of_a_try_tells_a_retry():
    assert [wishes(x_stainless_retry_count=count).is_retry for count in ("0", "1", "2", "")] == [
        False,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0s"),
        (0.4, "0s"),
        (2, "2ms"),
        (120, "120ms"),
        (1000, "1s"),
        (1146, "1.146s"),
        (60_000, "1m0s"),
        (252_172, "4m12.172s"),
        (83_909_144, "23h18m29.144s"),
    ],
)
def test_durations_are_written_as_the_provider_writes_them(milliseconds, text):
    assert duration(milliseconds) == text


def test_calls_of_tools_are_numbered_in_a_stream():
    calls = [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    completion = {
        "id": "chatcmpl-1",
        "created": 1,
        "model": "m",
        "service_tier": "default",
        "system_fingerprint": None,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": None, "tool_calls": calls},
                "finish_reason": "tool_calls",
            }
        ],
    }
    first, last = chunks_of(completion, Relayed(uuid4()), include_usage=False)
    assert first["choices"][0]["delta"]["tool_calls"] == [{"index": 0, **calls[0]}]
    assert last["choices"][0]["finish_reason"] == "tool_calls"
