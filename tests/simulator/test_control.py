"""The endpoints that only the simulator has."""

import json
import time
from urllib.request import urlopen

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import OpenAI

from config.simulator.minutes import Minutes
from config.simulator.running import RunningSimulator
from tests.simulator.clients import ask, billed_calls, connect


def test_health_needs_no_key(simulator: RunningSimulator) -> None:
    with urlopen(f"{simulator.url}/simulator/healthz") as answer:
        assert json.load(answer) == {"status": "ok"}


def test_counters_tell_what_happened(client: OpenAI, simulator: RunningSimulator) -> None:
    ask(client, "o1")
    ask(client, "o1-mini")
    with pytest.raises(openai.BadRequestError):
        ask(client, "o1", temperature=0.5)
    with pytest.raises(openai.NotFoundError):
        ask(client, "o9")

    counters = simulator.counters()

    assert (counters["requests"], counters["answered"], counters["billed"]) == (4, 2, 2)
    assert counters["rejected"] == {"400 unsupported_parameter": 1, "404 model_not_found": 1}
    assert counters["requests_by_model"] == {"o1": 2, "o1-mini": 1}
    assert (counters["in_flight"], counters["max_in_flight"]) == (0, 1)


def test_counters_tell_the_keys_of_one_account_apart(simulator: RunningSimulator) -> None:
    with connect(simulator, api_key="sk-ours") as ours, connect(simulator, api_key="sk-theirs") as theirs:
        ask(ours, max_completion_tokens=1000)
        ask(ours, max_completion_tokens=2000)
        simulator.fault("429")
        with pytest.raises(openai.RateLimitError):
            ask(theirs, max_completion_tokens=4000)

    keys = simulator.counters()["keys"]

    assert keys["ours"] == {"requests": 2, "admitted": 2, "tokens": 3000, "rate_limited": 0}
    # The fault came after the rate limit, which had let it through.
    assert keys["eirs"] == {"requests": 1, "admitted": 1, "tokens": 4000, "rate_limited": 1}


def test_counters_tell_the_busiest_minute_of_a_family(client: OpenAI, simulator: RunningSimulator) -> None:
    ask(client, "o1", max_completion_tokens=1000)
    ask(client, "o1-mini", max_completion_tokens=500)
    ask(client, "o1", max_completion_tokens=2000)
    assert simulator.counters()["families"]["o1"] == {
        "requests": 2,
        "tokens": 3000,
        "most_requests_in_a_minute": 2,
        "most_tokens_in_a_minute": 3000,
    }


@given(st.lists(st.tuples(st.integers(0, 40 * 10**9), st.integers(1, 1000)), max_size=40))
def test_the_busiest_minute_is_that_of_all_windows(gaps: list[tuple[int, int]]) -> None:
    minutes, now, admitted = Minutes(), 0, []
    for gap, tokens in gaps:
        now += gap
        minutes.admit(tokens, now)
        admitted.append((now, tokens))
    # Every window that ends at an admission: none that ends elsewhere holds more.
    windows = [[t for at, t in admitted if end - 60 * 10**9 < at <= end] for end, _ in admitted]
    assert minutes.most_requests == max(map(len, windows), default=0)
    assert minutes.most_tokens == max(map(sum, windows), default=0)
    assert (minutes.requests, minutes.tokens) == (len(gaps), sum(tokens for _, tokens in gaps))


def test_a_reset_clears_the_counters_and_not_the_bill(client: OpenAI, simulator: RunningSimulator) -> None:
    ask(client)
    before = billed_calls(simulator)
    simulator.reset()
    assert simulator.counters()["requests"] == 0
    assert billed_calls(simulator) == before


def test_latency_is_set_while_it_runs(client: OpenAI, simulator: RunningSimulator) -> None:
    simulator.set_latency(0.3)
    started = time.monotonic()
    ask(client)
    assert time.monotonic() - started >= 0.3

    with pytest.raises(OSError, match="400"):
        simulator.set_latency(-1)


def test_the_bill_is_filtered_by_metadata(client: OpenAI, simulator: RunningSimulator) -> None:
    completion = ask(client, store=True, metadata={"attempt_id": "only-this"})
    bill = simulator.bill(lines=True, attempt_id="only-this")
    assert [line["id"] for line in bill["lines"]] == [completion.id]
    assert bill["by_model"].keys() == {"o1-mini"}
