"""`bursar batch`: a file goes in, and every line comes out once, whatever happens to the command on the way."""

import json
import signal
import time
from decimal import Decimal

import pytest

from jobs.batches import steps
from jobs.models import Batch, File, Job
from tests.batches.conftest import file_of, request
from tests.command_line.conftest import finish

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)

RUN = ("batch", "run", "requests.jsonl")


@pytest.fixture(autouse=True)
def _few_at_once(slots) -> None:
    """As many as are run, one after the other, before the first of them is given up for lost."""
    slots(5)


@pytest.fixture
def worked(path):
    """What Bursar's workers would do meanwhile."""

    class Worked:
        def run(self) -> None:
            steps.work(1)
            path.run()

    return Worked()


def write(shell, *requests) -> None:
    (shell.folder / "requests.jsonl").write_bytes(file_of(*requests))


def lines(shell, name: str) -> list[dict]:
    return [json.loads(line) for line in (shell.folder / name).read_text().splitlines()]


def test_a_file_is_run_and_its_answers_are_fetched(shell, worked, simulator):
    write(shell, *(request(f"line {number}") for number in range(4)))
    done = finish(shell.begin(*RUN, "-o", "answers.jsonl", "--max-cost", "5", "--metadata", "night=1"), worked)
    assert done.code == 0, done.err
    assert [line["custom_id"] for line in lines(shell, "answers.jsonl")] == [f"line {number}" for number in range(4)]
    assert not (shell.folder / "answers.jsonl.errors").exists()
    batch = Batch.objects.get()
    assert (batch.max_cost_usd, batch.metadata["night"], batch.completion_window) == (Decimal(5), "1", "24h")
    assert f"4 of 4 lines answered; {f'{batch.total_usd:f}'.rstrip('0')} USD" in done.err
    assert shell(*RUN, "-o", "answers.jsonl").code == 2
    assert "--force" in shell(*RUN, "-o", "answers.jsonl").err


def test_lines_without_an_answer_are_told_and_stand_beside(shell, worked, simulator):
    write(shell, request("good"), request("bad"))
    simulator.fault("404")
    done = finish(shell.begin(*RUN, "-o", "a.jsonl", "--json"), worked)
    assert done.code == 1
    assert json.loads(done.out)["request_counts"]["failed"] == 1
    assert [len(lines(shell, name)) for name in ("a.jsonl", "a.jsonl.errors")] == [1, 1]


def test_a_file_that_cannot_be_a_batch_is_told_line_by_line(shell, worked):
    (shell.folder / "requests.jsonl").write_bytes(file_of(request("a")) + b"not json\n")
    done = finish(shell.begin(*RUN, "--wait"), worked)
    assert done.code == 1
    assert "line 2: invalid_json_line" in done.err
    assert not Job.objects.exists()


def test_the_same_command_again_goes_on_with_the_batch_that_there_is(shell, worked):
    write(shell, request("a"), request("b"))
    first = shell(*RUN)
    assert first.code == 0
    again = shell(*RUN)
    assert again.out == first.out
    assert "--run NAME" in again.err
    done = finish(shell.begin(*RUN, "-o", "answers.jsonl"), worked)
    assert done.code == 0, done.err
    assert len(lines(shell, "answers.jsonl")) == 2
    assert shell(*RUN, "--run", "anew").out != first.out
    assert shell(*RUN, "--max-cost", "1").out not in {first.out, ""}
    assert Batch.objects.count() == 3


def test_a_batch_that_was_cancelled_is_made_again(shell, worked):
    write(shell, request("a"))
    first = shell(*RUN).out.strip()
    assert shell("batch", "cancel", first).code == 0
    assert shell("batch", "cancel", first).code == 0
    worked.run()
    second = shell(*RUN).out.strip()
    assert first != second
    listed = [json.loads(line) for line in shell("batch", "list", "--json").out.splitlines()]
    assert [(batch["id"], batch["status"]) for batch in listed] == [(second, "validating"), (first, "cancelled")]
    assert shell("batch", "show", first).out.count(first) == 1
    assert shell("batch", "show", "batch_none").code == 4
    assert shell("batch", "list", "--limit", "1", "--json").out.count("batch_") >= 1


def test_ctrl_c_leaves_the_batch_and_says_how_to_go_on(shell):
    write(shell, request("a"))
    process = shell.begin(*RUN, "--wait")
    give_up_at = time.monotonic() + 30
    while not Batch.objects.exists() and time.monotonic() < give_up_at:
        time.sleep(0.02)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    done = finish(process)
    assert done.code == 130
    assert f"bursar batch watch {Batch.objects.get().public_id}" in done.err


def test_answers_go_to_stdout_where_no_file_is_named(shell, worked):
    write(shell, request("a"))
    batch_id = shell(*RUN, "--no-wait", "-o", "unused.jsonl").out.strip()
    done = finish(shell.begin("batch", "watch", batch_id, "-q"), worked)
    assert done.code == 0, done.err
    assert json.loads(done.out)["custom_id"] == "a"


def test_a_bad_network_makes_no_second_batch(shell, proxy):
    write(shell, request("a"))
    proxy.faults = ["503", "dropped", "", "lost", "503", "lost", "lost"]
    done = shell(*RUN, "--patience", "60", BURSAR_URL=proxy.url)
    assert done.code == 0, done.err
    assert done.out.strip() == Batch.objects.get().public_id


def test_a_preview_costs_nothing_and_tells_what_would_be_in_the_way(shell):
    write(shell, request("a"), request("b"))
    done = shell("batch", "preview", "requests.jsonl")
    assert done.code == 0, done.err
    assert "2 lines" in done.out
    assert "USD at most" in done.out
    write(shell, request("a"), request("b", temperature=0.1))
    refused = shell("batch", "preview", "requests.jsonl")
    assert (refused.code, "line 2: unsupported_value" in refused.err) == (1, True)
    assert not Batch.objects.exists()
    assert File.objects.count() == 2


@pytest.mark.parametrize("arguments", [("run",), ("watch",), ("run", "none.jsonl"), ("list", "--limit", "0")])
def test_what_is_missing_is_said(shell, arguments):
    done = shell("batch", *arguments)
    assert done.code == 2
    assert "Traceback" not in done.err


def test_a_window_or_ceiling_that_cannot_be_is_told_in_bursars_words(shell):
    write(shell, request("a"))
    done = shell(*RUN, "--window", "9d")
    assert done.code == 1
    assert "'1h' to '7d'" in done.err
    assert shell(*RUN, "--max-cost", "much").code == 2
