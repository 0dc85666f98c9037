"""Every fault: what the official client makes of it, and whether it was billed."""

import json
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai import OpenAI

from config.simulator.running import RunningSimulator
from tests.simulator.clients import ask, billed_calls, connect


@pytest.mark.parametrize(
    ("kind", "error", "type_", "code"),
    [
        ("429", openai.RateLimitError, "requests", "rate_limit_exceeded"),
        ("500", openai.InternalServerError, "server_error", None),
        ("503", openai.InternalServerError, "service_unavailable_error", "server_is_overloaded"),
        ("insufficient_quota", openai.RateLimitError, "insufficient_quota", "insufficient_quota"),
        ("credit_balance_exhausted", openai.RateLimitError, "insufficient_quota", "credit_balance_exhausted"),
        ("project_spend_limit_exceeded", openai.RateLimitError, "insufficient_quota", "project_spend_limit_exceeded"),
        ("billing_hard_limit_reached", openai.BadRequestError, "invalid_request_error", "billing_hard_limit_reached"),
        ("slow_down", openai.RateLimitError, "rate_limit_error", "slow_down"),
        ("request_too_large", openai.RateLimitError, "tokens", "rate_limit_exceeded"),
        ("529", openai.InternalServerError, "service_unavailable_error", "server_is_overloaded"),
        ("401", openai.AuthenticationError, "invalid_request_error", "invalid_api_key"),
        ("403", openai.PermissionDeniedError, "invalid_request_error", "model_not_found"),
        ("404", openai.NotFoundError, "invalid_request_error", "model_not_found"),
    ],
)
def test_errors_before_the_work_are_not_billed(
    client: OpenAI, simulator: RunningSimulator, kind: str, error: type[openai.APIStatusError], type_: str, code: str
) -> None:
    before = billed_calls(simulator)
    simulator.fault(kind)
    with pytest.raises(error) as raised:
        ask(client)

    assert (raised.value.type, raised.value.code) == (type_, code)
    assert raised.value.response.headers["x-ratelimit-limit-requests"] == "1000"
    assert billed_calls(simulator) == before
    ask(client)  # it was one fault only
    assert billed_calls(simulator) == before + 1


def test_a_429_tells_how_long_to_wait(client: OpenAI, simulator: RunningSimulator) -> None:
    simulator.fault("429", retry_after=7)
    with pytest.raises(openai.RateLimitError, match=r"Please try again in 7s\.") as raised:
        ask(client)
    assert raised.value.response.headers["retry-after"] == "7"

    simulator.fault("429", retry_after=0)
    with pytest.raises(openai.RateLimitError) as raised:
        ask(client)
    assert "retry-after" not in raised.value.response.headers


def test_a_quota_stop_has_no_retry_after(client: OpenAI, simulator: RunningSimulator) -> None:
    simulator.fault("insufficient_quota")
    with pytest.raises(openai.RateLimitError) as raised:
        ask(client)
    assert "retry-after" not in raised.value.response.headers


def test_a_proxy_answers_with_html_and_nothing_is_billed(client: OpenAI, simulator: RunningSimulator) -> None:
    before = billed_calls(simulator)
    simulator.fault("html_502")
    with pytest.raises(openai.InternalServerError) as raised:
        ask(client)

    assert raised.value.status_code == 502
    assert raised.value.code is None
    assert "<html>" in str(raised.value.body)
    assert billed_calls(simulator) == before


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("negative_usage", lambda usage: usage.completion_tokens < 0),
        ("usage_in_words", lambda usage: usage.completion_tokens.endswith(" tokens")),
        ("huge_usage", lambda usage: usage.completion_tokens > 100_000),
        ("reasoning_above_output", lambda u: u.completion_tokens_details.reasoning_tokens > u.completion_tokens),
        ("cached_above_input", lambda usage: usage.prompt_tokens_details.cached_tokens > usage.prompt_tokens),
        ("no_usage", lambda usage: usage is None),
    ],
)
def test_odd_usage_comes_with_a_whole_answer_and_a_true_bill(
    client: OpenAI, simulator: RunningSimulator, kind: str, told: Callable[[Any], bool]
) -> None:
    simulator.fault(kind)
    answer = ask(client)
    assert told(answer.usage)
    assert answer.choices[0].message.content
    (line,) = [line for line in simulator.bill(lines=True)["lines"] if line["id"] == answer.id]
    assert 0 <= line["reasoning_tokens"] <= line["completion_tokens"] < 100_000


def test_another_model_answers_and_bills(client: OpenAI, simulator: RunningSimulator) -> None:
    simulator.fault("other_model", answers_as="gpt-4o")
    answer = ask(client, "o1-mini")
    assert answer.model.startswith("gpt-4o-")
    (line,) = [line for line in simulator.bill(lines=True)["lines"] if line["id"] == answer.id]
    assert (line["model"], line["snapshot"], line["reasoning_tokens"]) == ("gpt-4o", answer.model, 0)


@pytest.mark.parametrize(
    ("kind", "lines"), [("cut_before_billing", 0), ("cut_after_billing", 1), ("cut_in_the_body", 1)]
)
def test_a_cut_connection_looks_the_same_billed_or_not(
    client: OpenAI, simulator: RunningSimulator, kind: str, lines: int
) -> None:
    before = billed_calls(simulator)
    simulator.fault(kind)
    with pytest.raises(openai.APIConnectionError) as raised:
        ask(client)

    assert not isinstance(raised.value, openai.APITimeoutError)
    assert billed_calls(simulator) == before + lines


@pytest.mark.parametrize("billed", [False, True])
def test_a_hang_lasts_until_the_client_gives_up(simulator: RunningSimulator, billed: bool) -> None:
    before = billed_calls(simulator)
    simulator.fault("hang", billed=billed)
    with connect(simulator, timeout=0.3) as client, pytest.raises(openai.APITimeoutError):
        ask(client)

    assert billed_calls(simulator) == before + billed
    assert simulator.counters()["in_flight"] == 0


def test_a_hang_with_seconds_ends_in_a_cut(client: OpenAI, simulator: RunningSimulator) -> None:
    simulator.fault("hang", seconds=0.2)
    started = time.monotonic()
    with pytest.raises(openai.APIConnectionError):
        ask(client)
    assert 0.2 <= time.monotonic() - started < 2


def test_garbage_is_billed_and_no_error_of_the_client(client: OpenAI, simulator: RunningSimulator) -> None:
    before = billed_calls(simulator)
    simulator.fault("garbage")
    with pytest.raises(json.JSONDecodeError):
        ask(client)
    assert billed_calls(simulator) == before + 1


def test_an_empty_object_is_billed_and_has_no_choices(client: OpenAI, simulator: RunningSimulator) -> None:
    before = billed_calls(simulator)
    simulator.fault("empty_object")
    assert ask(client).choices is None
    assert billed_calls(simulator) == before + 1


def test_a_slow_body_outlives_the_clients_timeout(simulator: RunningSimulator) -> None:
    before = billed_calls(simulator)
    simulator.fault("slow_body", bytes_per_second=600)
    started = time.monotonic()
    with connect(simulator, timeout=0.5) as client:  # per read, not in total
        assert ask(client, max_completion_tokens=1).choices[0].finish_reason == "length"
    assert time.monotonic() - started > 0.8
    assert billed_calls(simulator) == before + 1


def test_a_slow_body_can_be_given_up_half_way(simulator: RunningSimulator) -> None:
    before = billed_calls(simulator)
    simulator.fault("slow_body", bytes_per_second=2)
    with connect(simulator, timeout=0.2) as client, pytest.raises(openai.APITimeoutError):
        ask(client)
    assert billed_calls(simulator) == before + 1


def test_faults_strike_only_the_calls_they_are_meant_for(client: OpenAI, simulator: RunningSimulator) -> None:
    simulator.fault("500", count=None, model="o1-preview")
    simulator.fault("503", count=None, match="storm")

    ask(client, "o1-mini", "calm")
    for _ in range(2):
        with pytest.raises(openai.InternalServerError, match="had an error"):
            ask(client, "o1-preview", "calm")
        with pytest.raises(openai.InternalServerError, match="overloaded"):
            ask(client, "o1-mini", "a storm is near")
    simulator.clear_faults()
    ask(client, "o1-preview", "storm")
    assert simulator.counters()["faults"] == {"500": 2, "503": 2}


def test_faults_are_counted_down_and_listed(client: OpenAI, simulator: RunningSimulator) -> None:
    simulator.fault("500", count=2)
    with pytest.raises(openai.InternalServerError):
        ask(client)
    assert [(fault["kind"], fault["remaining"]) for fault in simulator.faults()] == [("500", 1)]
    with pytest.raises(openai.InternalServerError):
        ask(client)
    ask(client)


def test_a_fault_may_be_a_matter_of_chance(client: OpenAI, simulator: RunningSimulator) -> None:
    simulator.fault("500", count=None, probability=0.5)
    failed = 0
    for _ in range(60):
        try:
            ask(client)
        except openai.InternalServerError:
            failed += 1
    assert 10 < failed < 50


@pytest.mark.parametrize(
    "wanted", [{"kind": "earthquake"}, {"kind": "500", "probability": 2}, {"kind": "500", "cuont": 1}]
)
def test_a_fault_that_does_not_exist_is_refused(simulator: RunningSimulator, wanted: dict[str, object]) -> None:
    with pytest.raises(OSError, match="400"):
        simulator.fault(**wanted)  # type: ignore[arg-type]
    assert simulator.faults() == []


def test_retries_of_the_official_client_are_billed_twice(simulator: RunningSimulator) -> None:
    """The reason why the product switches them off: a POST is sent again after a cut, without any key to tell."""
    before = billed_calls(simulator)
    simulator.fault("cut_after_billing")
    with connect(simulator, max_retries=2) as client:
        ask(client)
    assert billed_calls(simulator) == before + 2
