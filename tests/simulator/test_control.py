"""The endpoints that only the simulator has."""

import json
import time
from urllib.request import urlopen

import openai
import pytest
from openai import OpenAI

from config.simulator.running import RunningSimulator
from tests.simulator.clients import ask, billed_calls


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
