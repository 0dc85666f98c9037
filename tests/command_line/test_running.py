"""Jobs that run while the command waits: answers, files of jobs, crashes, Ctrl-C, broken pipes, bad networks."""

import json
import os
import pty
import signal
import subprocess
import time
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import Sum

from accounts.models import IdempotencyRecord
from billing.models import LedgerEntry
from jobs import execution
from jobs.models import Job
from jobs.states import JobStatus
from tests.admin.conftest import finish_job
from tests.command_line.conftest import COMMAND, Shell, finish

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)


@pytest.fixture(autouse=True)
def _few_at_once(slots) -> None:
    """As many as are run, one after the other, before the first of them is given up for lost."""
    slots(5)


def prompts(shell: Shell, count: int, **more: Any) -> None:
    lines = [json.dumps({"prompt": f"hello {n}", "custom_id": f"line {n}", **more}) for n in range(count)]
    (shell.folder / "prompts.jsonl").write_text("\n".join(lines) + "\n")


def answers(shell: Shell) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (shell.folder / "answers.jsonl").read_text().splitlines()]


def spent() -> Decimal:
    return LedgerEntry.objects.aggregate(spent=Sum("spent_change_usd"))["spent"]


SUBMIT_FILE = ("submit", "-m", "o1-mini", "--jsonl", "prompts.jsonl", "-o", "answers.jsonl")


def wait_for(holds: Any, seconds: float = 30) -> None:
    give_up_at = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


def test_submit_waits_for_the_answer(shell, path):
    done = finish(shell.begin("submit", "-m", "o1-mini", "hello", "--wait"), path)
    job = Job.objects.get()
    assert done.code == 0, done.err
    assert done.out == job.content.message["content"] + "\n"
    assert f"{spent():f}".rstrip("0") in done.err


def test_a_job_that_fails_or_stays_empty_is_exit_code_1(shell, path):
    done = finish(shell.begin("submit", "-m", "o1-mini", "hello", "--wait", "--max-tokens", "1", "--json"), path)
    assert json.loads(done.out)["status"] == "incomplete"
    assert done.code == 1
    assert "no visible answer" in done.err


def test_every_line_of_a_file_is_answered_once(shell, path):
    prompts(shell, 12)
    done = finish(shell.begin(*SUBMIT_FILE), path)
    assert done.code == 0, done.err
    found = answers(shell)
    assert sorted(one["custom_id"] for one in found) == sorted(f"line {n}" for n in range(12))
    assert {one["job"]["status"] for one in found} == {"succeeded"}
    assert sum(Decimal(one["job"]["cost"]["total_usd"]) for one in found) == spent()
    assert Job.objects.count() == 12
    assert not (shell.folder / "answers.jsonl.jobs").exists()
    before = (shell.folder / "answers.jsonl").read_bytes()
    again = shell(*SUBMIT_FILE)
    assert again.code == 0
    assert "12 of 12 lines have ended before" in again.err
    assert (shell.folder / "answers.jsonl").read_bytes() == before
    assert Job.objects.count() == 12


@pytest.mark.parametrize("keys_are_forgotten", [False, True])
def test_a_run_that_was_killed_is_gone_on_with(shell, path, keys_are_forgotten):
    prompts(shell, 24)
    first = shell.begin(*SUBMIT_FILE)
    journal = shell.folder / "answers.jsonl.jobs"
    wait_for(lambda: journal.exists() and len(journal.read_text().splitlines()) >= 12)

    def some_have_ended() -> bool:
        for attempt in path.dispatch():
            execution.execute(attempt.pk, worker="tests")
        return (shell.folder / "answers.jsonl").stat().st_size > 0

    wait_for(some_have_ended)
    first.kill()
    first.communicate()
    # As a crash of the machine may leave it.
    with (shell.folder / "answers.jsonl").open("a") as file:
        file.write('{"line": 99, "key": "x", "jo')
    if keys_are_forgotten:
        submitted = {json.loads(line)["id"] for line in journal.read_text().splitlines()}
        Job.objects.exclude(pk__in=submitted).delete()
        IdempotencyRecord.objects.all().delete()
    second = finish(shell.begin(*SUBMIT_FILE), path)
    assert second.code == 0, second.err
    found = answers(shell)
    assert sorted(one["line"] for one in found) == list(range(1, 25))
    assert Job.objects.count() == 24
    assert sum(Decimal(one["job"]["cost"]["total_usd"]) for one in found) == spent()


def test_refused_lines_are_told_and_tried_again(shell, path):
    lines = [{"prompt": "a"}, {"prompt": "b", "max_cost_usd": "0.000001"}, {"prompt": "c"}]
    (shell.folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, lines)))
    done = finish(shell.begin(*SUBMIT_FILE), path)
    assert done.code == 1
    assert "line 2 was refused" in done.err
    by_line = {one["line"]: one for one in answers(shell)}
    assert by_line[2]["error"]["status"] == 402
    assert {by_line[1]["job"]["status"], by_line[3]["job"]["status"]} == {"succeeded"}
    again = finish(shell.begin(*SUBMIT_FILE), path)
    assert again.code == 1
    assert len(answers(shell)) == 3
    assert Job.objects.count() == 2


def test_a_file_with_more_jobs_than_may_be_queued(shell, path, settings):
    settings.MAX_QUEUED_JOBS = 4
    prompts(shell, 12)
    done = finish(shell.begin(*SUBMIT_FILE, "--parallel", "1"), path)
    assert done.code == 0, done.err
    assert len(answers(shell)) == Job.objects.count() == 12


def test_a_file_goes_to_stdout_line_by_line(shell, path):
    prompts(shell, 3)
    done = finish(shell.begin("submit", "-q", "-m", "o1-mini", "--jsonl", "prompts.jsonl", "--wait"), path)
    assert [json.loads(line)["job"]["status"] for line in done.out.splitlines()] == ["succeeded"] * 3
    queued = shell("submit", "-m", "o1-mini", "--jsonl", "-", "--run", "two", stdin='"x"\n"y"\n')
    assert [json.loads(line)["job"]["status"] for line in queued.out.splitlines()] == ["queued"] * 2
    # Without a name of its own, the same line is the same job.
    for _ in "ab":
        assert shell("submit", "-m", "o1-mini", "--jsonl", "-", stdin='"z"\n').code == 0
    assert Job.objects.count() == 6


@pytest.mark.parametrize("arguments", [("submit", "-m", "o1-mini", "hello", "--wait"), SUBMIT_FILE, ("watch",)])
def test_ctrl_c_leaves_the_jobs_and_says_how_to_go_on(shell, arguments):
    prompts(shell, 3)
    if arguments == ("watch",):
        shell("submit", "-m", "o1-mini", "hello")
    process = shell.begin(*arguments)
    wanted = 3 if "--jsonl" in arguments else 1
    wait_for(lambda: Job.objects.count() == wanted)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    done = finish(process)
    assert done.code == 130, done.err
    assert "Traceback" not in done.err
    assert "go on" in done.err.lower()
    assert {job.status for job in Job.objects.all()} == {JobStatus.QUEUED}


def test_a_pipe_that_closes_early(shell, alice):
    for _ in range(30):
        finish_job(alice.project, alice.owner)
    line = f"{' '.join(COMMAND)} list --all --json | head -1; echo ${{PIPESTATUS[0]}} >&2"
    done = subprocess.run(
        ["bash", "-c", line], env=shell.all_of({}), cwd=shell.folder, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["object"] == "job"
    assert done.stderr.strip() == "0"


def test_what_bursar_does_not_answer_for_the_moment_is_asked_again(shell, proxy):
    proxy.faults = ["503", "429", "dropped", "503"]
    assert shell("list", BURSAR_URL=proxy.url).code == 0
    assert len(proxy.asked) == 5
    proxy.faults = ["503"] * 3
    assert shell("list", "--patience", "0", BURSAR_URL=proxy.url).code == 6
    proxy.faults = ["429"] * 3
    assert shell("list", "--patience", "0", BURSAR_URL=proxy.url).code == 5


def test_a_lost_answer_makes_no_second_job(shell, proxy):
    proxy.faults = ["lost", "dropped", "503", "lost"]
    done = shell("submit", "-m", "o1-mini", "hello", BURSAR_URL=proxy.url)
    assert done.code == 0, done.err
    assert [method for method, _ in proxy.asked] == ["POST"] * 5
    assert done.out.strip() == str(Job.objects.get().pk)


def test_a_file_of_jobs_over_a_bad_network(shell, proxy, path):
    prompts(shell, 10)
    proxy.faults = ["", "lost", "503", "dropped", "lost", "", "429", "lost"] * 3
    done = finish(shell.begin(*SUBMIT_FILE, "--patience", "60", BURSAR_URL=proxy.url), path)
    assert done.code == 0, done.err
    assert len(answers(shell)) == Job.objects.count() == 10


# --- A terminal -------------------------------------------------------------------------------------------------------
def on_a_terminal(shell: Shell, *arguments: str, **environment: str) -> tuple[int, str]:
    """Exit code and what the terminal showed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=shell.folder,
        env=shell.all_of({"TERM": "xterm", "COLUMNS": "60", "LINES": "20", **environment}),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65_536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    return process.wait(), shown.decode()


def test_a_terminal_has_colors_and_its_width(shell, alice):
    finish_job(alice.project, alice.owner)
    code, shown = on_a_terminal(shell, "list")
    assert code == 0
    assert "\x1b[32msucceeded" in shown
    for more in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b[" not in on_a_terminal(shell, "list", **more)[1]
    assert "\x1b[" not in on_a_terminal(shell, "list", "--no-color")[1]


def test_an_answer_gives_the_terminal_no_commands(shell, alice):
    finished = finish_job(alice.project, alice.owner)
    finished.job.content.message = {"content": "a\x1b]0;owned\x07b"}
    finished.job.content.save()
    assert "\x1b]0;" not in on_a_terminal(shell, "show", str(finished.job.pk))[1]
    assert shell("show", "--answer", str(finished.job.pk)).out == "a\x1b]0;owned\x07b\n"


def test_progress_is_for_terminals(shell, alice):
    finished = finish_job(alice.project, alice.owner)
    assert "0/1" in on_a_terminal(shell, "watch", str(finished.job.pk))[1]
    assert "0/1" not in shell("watch", str(finished.job.pk)).err
    assert "0/1" not in on_a_terminal(shell, "watch", "--quiet", str(finished.job.pk))[1]
