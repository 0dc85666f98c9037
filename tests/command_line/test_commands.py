"""Every command against the real API: what it prints, where, and how it ends."""

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest

from accounts.models import Role
from billing.models import Quota, SpendRollup
from config.command_line import completion, main
from config.command_line.commands import COMMANDS
from jobs.models import Job
from jobs.states import JobStatus
from tests.admin.conftest import MATRIX_PROMPT, finish_job, make_quota
from tests.api.managing import manager_of
from tests.command_line.conftest import Shell

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)


@pytest.fixture
def finished(alice):
    return finish_job(alice.project, alice.owner)


@pytest.fixture
def managing(shell: Shell, alice) -> Shell:
    """A shell with the management key of an owner."""
    secret = manager_of(alice, Role.OWNER)._credentials["HTTP_AUTHORIZATION"].removeprefix("Bearer ")
    return Shell(shell.folder, {**shell.environment, "BURSAR_API_KEY": secret})


def test_submit_without_waiting_prints_the_id_and_nothing_else(shell, alice):
    done = shell("submit", "-m", "o1-mini", "hello", "--max-tokens", "300", "--metadata", "a=b", "--priority", "5")
    assert done.code == 0, done.err
    job = Job.objects.get()
    assert done.out == f"{job.pk}\n"
    assert (job.priority, job.metadata, job.bound_output_tokens) == (5, {"a": "b"}, 300)
    assert "bursar watch" in done.err
    assert shell("submit", "-q", "-m", "o1-mini", "-", stdin="hello\n").err == ""
    (shell.folder / "prompt.txt").write_text("from a file")
    assert shell("submit", "-m", "o1-mini", "-f", "prompt.txt").code == 0
    assert [one.content.request["messages"][0]["content"] for one in Job.objects.order_by("pk")] == [
        *("hello", "hello\n", "from a file")
    ]


def test_estimate_says_what_it_would_cost_and_makes_nothing(shell, alice):
    done = shell("estimate", "-m", "o1-preview", "Is 91 prime? Think step by step.", "--max-tokens", "5000")
    assert done.code == 0, done.err
    assert "USD at most, 5,000 output tokens" in done.out
    assert "25,000 is the recommended cap" in done.out
    assert "would be left of the limit of" in done.out
    assert 'chain_of_thought at "Think step by step": Leave this out' in done.err
    assert "small_cap: Raise max_completion_tokens from 5,000 to 25,000" in done.err
    told = json.loads(shell("estimate", "--json", "-m", "o1-preview", "-", stdin="Is 91 prime?").out)
    assert (told["object"], told["advice"]) == ("job.estimate", [])
    make_quota(alice.project, "0.01")
    refused = shell("estimate", "-m", "o1-preview", "Is 91 prime?")
    assert refused.code == 5
    assert "It would be refused: One call can come to" in refused.err
    assert shell("estimate", "-m", "o1-preview").code == 2
    assert not Job.objects.exists()


def test_submit_says_the_advice_that_is_not_ignored(shell):
    prompt = ("submit", "--no-wait", "-m", "o1-preview", "Is 91 prime? Think step by step.")
    assert "chain_of_thought at" in shell(*prompt).err
    assert "chain_of_thought" not in shell(*prompt, "--ignore-advice", "chain_of_thought").err


def test_submit_with_a_key_of_ones_own_gives_the_same_job(shell):
    ids = {shell("submit", "-m", "o1-mini", "hello", "--idempotency-key", "mine").out for _ in "ab"}
    assert len(ids) == Job.objects.count() == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["submit", "-m", "o1-mini", "hello", "--max-cost", "0.000001"], 5, "--max-cost"),
        (["submit", "-m", "no-such-model", "hello"], 4, "bursar models"),
        (["submit", "-m", "o1-mini", "hello", "--effort", "high"], 1, "reasoning_effort"),
        (["submit", "hello"], 2, "-m"),
        (["submit", "-m", "o1-mini"], 2, "prompt"),
        (["submit", "-m", "o1-mini", "a", "-f", "b"], 2, "one of"),
        (["submit", "-m", "o1-mini", "-f", "no-such-file"], 2, "no-such-file"),
        (["list", "--metadata", "x"], 2, "KEY=VALUE"),
        (["list", "--status", "odd"], 1, "status"),
        (["show", "0192428f-7f3b-7c6e-9d0a-5b8c3e1f2a4d"], 4, "no job"),
        (["show", "../../spend"], 4, ""),
        (["quotas", "set", "--scope", "organization", "--limit", "5"], 3, "may_manage"),
        (["no-such-command"], 2, "no-such-command"),
        (["spend", "--group-by", "moon"], 2, "moon"),
        (["spend", "--from", "yesterday"], 2, "yesterday"),
    ],
)
def test_exit_codes_and_what_is_said(shell, arguments, code, said):
    done = shell(*arguments)
    assert (done.code, done.out) == (code, ""), done.err
    assert said in done.err
    assert "Traceback" not in done.err
    if code != 2:
        problem = json.loads(shell(*arguments, "--json").err)
        assert problem["status"] >= 400


def test_a_limit_in_the_way_is_named_with_its_figures(shell, alice):
    make_quota(alice.project, "0.01")
    done = shell("submit", "-m", "o1-mini", "hello")
    assert done.code == 5
    assert "limit of project Alice research" in done.err
    assert "0.01 USD; 0.00 spent" in done.err
    assert "way out" in done.err


def test_keys_that_do_not_work(shell, nowhere):
    assert shell("list", BURSAR_API_KEY="bk_live_wrong").code == 3
    assert "bursar login" in shell("list", BURSAR_API_KEY="bk_live_wrong").err
    assert nowhere("list").code == 3
    assert nowhere("list", "--patience", "0", BURSAR_URL="http://127.0.0.1:9", BURSAR_API_KEY="k").code == 6
    assert nowhere("list", BURSAR_URL="ftp://x", BURSAR_API_KEY="k").code == 2


def test_list_filters_sorts_and_pages(shell, alice, finished):
    for n in range(3):
        shell("submit", "-q", "-m", "o1-mini", f"prompt {n}", "--metadata", f"n={n}")
    everything = shell("list")
    assert everything.code == 0
    assert len(everything.out.splitlines()) == 1 + 4
    assert everything.out.splitlines()[0].split()[:3] == ["ID", "STATUS", "MODEL"]
    assert "waits for" in everything.out
    assert shell("list", "--metadata", "n=1", "--json").out.count("\n") == 1
    ids = [json.loads(line)["id"] for line in shell("list", "--json", "--sort", "cost").out.splitlines()]
    assert ids[0] == str(finished.job.pk)
    assert shell("list", "--limit", "2", "--json").out.count("\n") == 2
    empty = shell("list", "--status", "failed")
    assert (empty.code, empty.out) == (0, "")
    assert "bursar submit" in empty.err


def test_more_than_a_page_is_listed(shell, alice, finished):
    job = finished.job
    for _ in range(2):
        Job.objects.bulk_create(
            [
                Job(
                    **{
                        field.attname: getattr(job, field.attname)
                        for field in Job._meta.concrete_fields
                        if field.attname != "id"
                    }
                )
                for _ in range(75)
            ]
        )
    assert shell("list", "--all", "--json").out.count("\n") == 151
    assert shell("list", "--limit", "130", "--json").out.count("\n") == 130


def test_show_and_attempts(shell, finished):
    shown = shell("show", str(finished.job.pk))
    assert "0.077385 USD" in shown.out
    assert shown.out.endswith("the secret answer\n")
    assert shell("show", "--answer", str(finished.job.pk)).out == "the secret answer\n"
    assert json.loads(shell("show", "--json", str(finished.job.pk)).out)["cost"]["total_usd"] == "0.077385"
    attempts = shell("attempts", str(finished.job.pk))
    assert "1,322" in attempts.out
    assert json.loads(shell("attempts", "--json", str(finished.job.pk)).out)["number"] == 1


def test_cancel(shell, finished):
    job_id = shell("submit", "-q", "-m", "o1-mini", "hello").out.strip()
    done = shell("cancel", job_id, str(finished.job.pk))
    assert done.out.split() == [job_id, "cancelled"]
    assert done.code == 1
    assert str(finished.job.pk) in done.err
    assert Job.objects.get(pk=job_id).status == JobStatus.CANCELLED
    assert shell("cancel", job_id).code == 0


def test_watch_shows_how_jobs_end(shell, finished):
    done = shell("watch", str(finished.job.pk))
    assert done.code == 0
    assert done.out.split()[:2] == [str(finished.job.pk), "succeeded"]
    assert "0.077385 USD" in done.err
    Job.objects.filter(pk=finished.job.pk).update(status=JobStatus.FAILED)
    assert shell("watch", "--json", str(finished.job.pk)).code == 1
    nothing = shell("watch")
    assert (nothing.code, nothing.out) == (0, "")


def test_spend_is_what_the_api_says(shell, alice, finished):
    finish_job(alice.project, alice.owner)
    done = shell("spend", "--group-by", "day,model")
    total = sum((row.total_usd for row in SpendRollup.objects.all()), Decimal(0))
    last = done.out.splitlines()[-1].split()
    assert last[0] == "total"
    assert Decimal(last[-1]) == total == Decimal("0.15477")
    assert "█" in done.out
    assert json.loads(shell("spend", "--json").out)["total"]["cost"]["total_usd"] == "0.15477"
    empty = shell("spend", "--group-by", "day", "--from", "2020-01-01", "--to", "2020-02-01")
    assert empty.out == ""
    assert "Nothing was spent" in empty.err


def test_limits_and_models(shell, alice):
    make_quota(alice.project, "4")
    done = shell("limits")
    assert "4.00 USD" in done.out
    assert "quota" in done.out
    assert "Alice research of Alice" in done.err
    assert "o1-mini" in shell("limits", "--rates").out
    assert json.loads(shell("limits", "--json").out)["tier"]["number"] == 5
    models = {line.split()[0] for line in shell("models", "--all").out.splitlines()[1:]}
    assert {"o1-mini", "o1-preview"} <= models
    assert json.loads(shell("models", "--all", "--json").out.splitlines()[0])["object"] == "model"


def test_quotas_are_set_changed_and_deleted(managing, alice):
    assert "bursar limits" in managing("quotas").err
    owner = ["--scope", "project", "--owner", str(alice.project.pk)]
    made = managing("quotas", "set", *owner, "--limit", "12.5", "--window", "day")
    assert made.code == 0, made.err
    quota = Quota.objects.get()
    assert (quota.limit, quota.window, quota.is_hard) == (Decimal("12.5"), "day", True)
    assert managing("quotas", "set", *owner, "--limit", "20", "--soft", "--window", "day").code == 0
    quota.refresh_from_db()
    assert (Quota.objects.count(), quota.limit, quota.is_hard) == (1, Decimal(20), False)
    assert managing("quotas", "set", str(quota.pk), "--hard", "--expires", "+2d", "--json").code == 0
    listed = json.loads(managing("quotas", "--json").out)
    assert (listed["id"], listed["is_hard"]) == (str(quota.pk), True)
    assert "20.00 USD" in managing("quotas", "list").out
    assert managing("quotas", "set", str(quota.pk)).code == 2
    assert managing("quotas", "set", *owner, "--soft").code == 2
    assert managing("quotas", "delete", str(quota.pk)).code == 0
    assert managing("quotas", "delete", str(quota.pk)).code == 4
    assert not Quota.objects.exists()


def test_a_reserve_is_set_with_its_risk(managing):
    of = ("--scope", "organization", "--measure", "reserve_usd")
    assert "says its risk" in managing("quotas", "set", *of, "--limit", "50").err
    made = managing("quotas", "set", *of, "--limit", "50", "--risk", "0.01")
    assert made.code == 0, made.err
    assert "month, risk 0.01" in made.out
    assert managing("quotas", "set", *of, "--risk", "0.05").code == 0
    assert Quota.objects.get().risk == Decimal("0.05")
    assert "50.00 USD" in managing("limits").out


@pytest.mark.parametrize("form", ["csv", "focus", "parquet"])
def test_export_is_the_file_of_the_api(shell, finished, form):
    file = shell.folder / "spend"
    done = shell("export", "--format", form, "-o", "spend")
    assert done.code == 0, done.err
    assert file.read_bytes()[:4] in {b"kind", b"Bill", b"PAR1"}
    assert f"{file.stat().st_size:,} bytes" in done.err
    again = shell("export", "-o", "spend")
    assert (again.code, "--force" in again.err) == (2, True)
    assert shell("export", "--format", form, "-o", "spend", "--force").code == 0
    assert os.listdir(shell.folder) == ["spend"]
    if form == "csv":
        assert shell("export").out == file.read_text()
    assert shell("export", "-o", "no/such/folder").code == 2


# --- Logins -----------------------------------------------------------------------------------------------------------
def test_login_notes_the_key_for_nobody_else_to_read(shell, nowhere, alice):
    url, secret = shell.environment["BURSAR_URL"], alice.api_key.secret
    done = nowhere("login", "--url", url, stdin=f"{secret}\n")
    assert done.code == 0, done.err
    assert secret not in done.out + done.err
    file = Path(nowhere.folder, ".config/bursar/config.toml")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert nowhere("list").code == 0
    assert nowhere("login", "--profile", "other", "--url", "http://127.0.0.1:9", "--unchecked", stdin="k").code == 0
    assert nowhere("list").code == 0
    assert nowhere("list", "--patience", "0", "--profile", "other").code == 6
    assert nowhere("list", "--profile", "none").code == 2
    assert nowhere("list", "--profile", "default", BURSAR_API_KEY="bk_live_wrong").code == 0


def test_login_refuses_a_key_that_does_not_work(shell, nowhere):
    done = nowhere("login", "--url", shell.environment["BURSAR_URL"], stdin="bk_live_wrong\n")
    assert done.code == 3
    assert not Path(nowhere.folder, ".config").exists()
    assert nowhere("login", "--url", shell.environment["BURSAR_URL"]).code == 2


def test_the_key_of_a_login_goes_to_no_other_address(shell, nowhere, proxy, alice):
    nowhere("login", "--url", shell.environment["BURSAR_URL"], stdin=alice.api_key.secret)
    for done in (nowhere("list", BURSAR_URL=proxy.url), nowhere("list", "--url", proxy.url)):
        assert done.code == 3
    assert nowhere("list", "--profile", "default", "--url", proxy.url).code == 2
    assert proxy.asked == []


# --- Shells -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_completion(nowhere, name):
    script = nowhere("completion", name)
    assert script.code == 0
    for word in ("--group-by", "submit", "quotas", "preview"):
        assert word in script.out
    # Where there is no zsh, bash reads it as well: its quotes, loops and cases are the same.
    shell = shutil.which(name) or "bash"
    read = subprocess.run([shell, "-n"], input=script.out, capture_output=True, text=True, check=False)
    assert (read.returncode, read.stderr) == (0, "")


def completed(script: str, *words: str) -> list[str]:
    """What bash offers for the last of these words."""
    asked = f"{script}\nCOMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; _bursar\n"
    asked += 'printf "%s\\n" "${COMPREPLY[@]}"'
    return subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True).stdout.split()


def test_bash_completes_commands_and_what_belongs_to_them(nowhere):
    script = nowhere("completion", "bash").out
    assert completed(script, "bursar", "bat") == ["batch"]
    assert completed(script, "bursar", "--json", "batch", "pre") == ["preview"]
    assert completed(script, "bursar", "spend", "--gr") == ["--group-by"]
    assert completed(script, "bursar", "batch", "--gr") == []


@pytest.mark.parametrize("described", ["list the project's jobs", 'say "x" and $HOME', "a:b `c`"])
def test_what_zsh_tells_of_a_command_is_a_text_and_no_program(described):
    word = completion._quoted(described)
    said = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, text=True, check=True).stdout
    assert said == described


def test_every_command_is_completed_by_zsh_with_its_own_options(nowhere):
    script = nowhere("completion", "zsh").out
    assert script.startswith("#compdef bursar\n")
    cases = dict(re.findall(r"^ +([a-z]+)\) compadd -- (.*); _files ;;$", script, re.MULTILINE))
    assert cases.keys() == COMMANDS.keys()
    for name, offered in cases.items():
        options = main.parser_of(name)._option_string_actions
        assert {word for word in offered.split() if word.startswith("--")} == {
            text for text in options if text.startswith("--")
        }
    assert f" {'|'.join(COMMANDS)}) " in script


def test_figures_of_the_golden_call_are_shown(shell, finished):
    assert (MATRIX_PROMPT.output, MATRIX_PROMPT.reasoning) == (1279, 1024)
    out = shell("show", str(finished.job.pk)).out
    assert "1,279 tokens" in out
    assert "1,024 tokens, 0.06144 USD" in out
