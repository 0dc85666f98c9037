"""The bill: a line before every answer, also for a client that is gone, on disk for good."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import openai
import pytest
from openai import OpenAI

from config.simulator.running import RunningSimulator
from tests.simulator.clients import KEY, ask, billed_calls, connect

ROOT = Path(__file__).resolve().parents[2]


def wait_for(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_a_client_that_hangs_up_is_billed_all_the_same(simulator: RunningSimulator) -> None:
    before = billed_calls(simulator)
    simulator.set_latency(0.5)
    with connect(simulator, timeout=0.1) as client, pytest.raises(openai.APITimeoutError):
        ask(client, store=True, metadata={"attempt_id": "gone"})

    assert billed_calls(simulator) == before  # the model is still at work
    assert simulator.counters()["in_flight"] == 1
    wait_for(lambda: billed_calls(simulator) == before + 1)
    assert simulator.bill(attempt_id="gone")["calls"] == 1
    assert simulator.counters()["in_flight"] == 0


def test_a_line_tells_whose_call_it_was(simulator: RunningSimulator) -> None:
    headers = {"X-Client-Request-Id": "mine-1"}
    with connect(simulator, organization="org-a", project="proj_b") as client:
        completion = ask(client, "o1", store=True, metadata={"job": "7"}, extra_headers=headers)

    line = simulator.bill(lines=True)["lines"][-1]
    assert line["id"] == completion.id
    assert line["request_id"] == completion._request_id
    assert (line["key_last4"], line["organization"], line["project"]) == (KEY[-4:], "org-a", "proj_b")
    assert (line["model"], line["snapshot"], line["metadata"]) == ("o1", "o1-2024-12-17", {"job": "7"})
    assert line["client_request_id"] == "mine-1"
    assert line["created_at"].endswith("+00:00")


def test_bill_and_stored_completions_survive_a_restart(tmp_path: Path) -> None:
    bill = tmp_path / "deep" / "bill.sqlite3"
    with RunningSimulator(bill=bill) as simulator, connect(simulator) as client:
        completion = ask(client, store=True, metadata={"a": "b"})
        first = simulator.bill(lines=True)

    with RunningSimulator(bill=bill, port=simulator.port) as simulator, connect(simulator) as client:
        assert simulator.bill(lines=True) == first
        assert [stored.id for stored in client.chat.completions.list(metadata={"a": "b"})] == [completion.id]
        ask(client)
        assert billed_calls(simulator) == 2


def test_totals_are_the_exact_sum_of_the_lines(simulator: RunningSimulator) -> None:
    with RunningSimulator() as fresh, connect(fresh) as client, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: ask(client, ("o1", "o1-mini", "gpt-4o-mini")[n % 3], f"question {n}"), range(60)))
        bill = fresh.bill(lines=True)

    assert bill["calls"] == len(bill["lines"]) == 60
    assert Decimal(bill["cost_usd"]) == sum(Decimal(line["cost_usd"]) for line in bill["lines"])
    assert bill["completion_tokens"] == sum(line["completion_tokens"] for line in bill["lines"])
    assert {model: total["calls"] for model, total in bill["by_model"].items()} == Counter(
        line["model"] for line in bill["lines"]
    )


def test_a_simulator_leaves_no_thread_behind() -> None:
    before = set(threading.enumerate())
    with RunningSimulator(latency=(30.0, 30.0)) as simulator, connect(simulator, timeout=0.1) as client:
        with pytest.raises(openai.APITimeoutError):
            ask(client)
        started = time.monotonic()
    assert time.monotonic() - started < 2  # it does not wait for calls that wait
    assert set(threading.enumerate()) == before


def test_it_starts_fast() -> None:
    started = time.monotonic()
    with RunningSimulator():
        assert time.monotonic() - started < 0.3


def test_a_port_that_is_taken_is_told_to_the_starter(simulator: RunningSimulator) -> None:
    with pytest.raises(RuntimeError, match="did not start"):
        RunningSimulator(port=simulator.port).start()


# --- The command ------------------------------------------------------------------------------------------------------
def start_command(bill: Path, *options: str) -> tuple[subprocess.Popen[str], str]:
    """The command with no database and no Redis to be found; its base URL once it listens."""
    environment = os.environ | {
        "DATABASE_URL": "postgres://nobody@127.0.0.1:1/none",
        "REDIS_URL": "redis://127.0.0.1:1/0",
    }
    command = [sys.executable, "manage.py", "simulate_openai", "--port", "0", "--bill", str(bill), *options]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert "SIMULATOR" in process.stdout.readline()
    return process, process.stdout.readline().removeprefix("listening on ").strip()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_stops_cleanly_on_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    process, base_url = start_command(tmp_path / "bill.sqlite3", "--latency", "0")
    with process:
        with OpenAI(base_url=base_url, api_key=KEY, max_retries=0) as client:
            assert ask(client).usage.prompt_tokens == 8
        process.send_signal(number)
        assert process.wait(10) == 0


def test_what_was_answered_is_on_the_bill_even_after_kill_9(tmp_path: Path) -> None:
    bill = tmp_path / "bill.sqlite3"
    process, base_url = start_command(bill, "--latency", "0-0.2", "--limits", "off")
    answered: list[str] = []

    def call(number: int) -> None:
        try:
            answered.append(ask(client, "o1-mini", f"question {number}", store=True).id)
        except openai.APIConnectionError:
            return

    with process, OpenAI(base_url=base_url, api_key=KEY, max_retries=0) as client, ThreadPoolExecutor(16) as pool:
        calls = [pool.submit(call, number) for number in range(400)]
        wait_for(lambda: len(answered) >= 40, 20)
        process.kill()
        for done in calls:
            done.result()

    with RunningSimulator(bill=bill) as simulator:
        billed = {line["id"] for line in simulator.bill(lines=True)["lines"]}
    assert len(answered) < 400
    assert set(answered) <= billed
