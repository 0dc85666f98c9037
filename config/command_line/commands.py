"""Every command: what it is called, what it does, and what can be typed behind it.

Nothing else is here, so that help and completion load nothing of what the commands work with.
"""

import os
from argparse import ArgumentParser
from collections.abc import Callable
from typing import NamedTuple

GROUPINGS = ("day", "project", "team", "member", "key", "model", "service_tier")
FILTERS = ("project", "team", "member", "key", "model")
SORTS = ("queued", "cost", "tokens", "status", "model", "finished")
FORMATS = ("csv", "parquet", "focus", "focus-parquet")
SCOPES = ("organization", "team", "project", "member", "key")
MEASURES = ("usd", "tokens", "output_tokens", "reasoning_tokens", "jobs", "reserve_usd")
WINDOWS = ("day", "week", "month")
BATCH_ACTIONS = ("run", "preview", "watch", "show", "list", "cancel")


class Command(NamedTuple):
    """A command: the module that has its `run`, what it does, what it takes, and how it is used."""

    module: str
    about: str
    describe: Callable[[ArgumentParser], None]
    examples: str = ""


def _login(parser: ArgumentParser) -> None:
    parser.add_argument("--unchecked", action="store_true", help="note them without asking the server")


def _submit(parser: ArgumentParser) -> None:
    parser.add_argument("prompt", nargs="?", help="the prompt; - reads it from stdin")
    what = parser.add_argument_group("what to run")
    what.add_argument("-f", "--file", metavar="FILE", help="a file that has the prompt")
    what.add_argument("--jsonl", metavar="FILE", help="one job a line; - for stdin")
    what.add_argument("-o", "--output", metavar="FILE", help="where answers go: a text, with --jsonl a line a job")
    _job(parser)
    how = parser.add_argument_group("how")
    how.add_argument("--wait", action="store_true", default=None, help="wait for the answer")
    how.add_argument("--no-wait", action="store_false", dest="wait", help="print the id and be done")
    how.add_argument("--idempotency-key", metavar="KEY", help="the same key again gives the same job")
    how.add_argument("--run", metavar="NAME", default="", help="with --jsonl: another name runs the same lines anew")
    how.add_argument("--parallel", type=int, default=8, metavar="N", help="requests at once with --jsonl; default 8")


def _estimate(parser: ArgumentParser) -> None:
    parser.add_argument("prompt", nargs="?", help="the prompt; - reads it from stdin")
    parser.add_argument("-f", "--file", metavar="FILE", help="a file that has the prompt")
    _job(parser)


def _job(parser: ArgumentParser) -> None:
    """What a job may be given."""
    job = parser.add_argument_group("the job")
    job.add_argument("-m", "--model", default=os.environ.get("BURSAR_MODEL"), help="default: BURSAR_MODEL")
    job.add_argument("--max-tokens", type=int, metavar="N", help="cap of reasoning and answer together")
    job.add_argument("--effort", metavar="EFFORT", help="low, medium, high ...: as the model takes it")
    job.add_argument("--max-cost", metavar="USD", help="refuse the job if it can cost more")
    job.add_argument("--priority", type=int, metavar="N", help="-100 to 100; higher goes first in the project")
    job.add_argument("--deadline", metavar="INSTANT", help="fail if it has not started by then: 2030-01-31T12:00Z, +2h")
    job.add_argument("--service-tier", metavar="TIER", help="standard, flex, priority")
    job.add_argument("--metadata", action="append", default=[], metavar="KEY=VALUE", help="to find it by; repeat it")
    job.add_argument(
        "--ignore-advice", action="append", default=[], metavar="RULE", help="advice that is not wanted; repeat it"
    )


def _watch(parser: ArgumentParser) -> None:
    parser.add_argument("ids", nargs="*", metavar="ID", help="jobs; default: all that have not ended")


def _list_jobs(parser: ArgumentParser) -> None:
    parser.add_argument("--status", metavar="STATUS", help="any of these, separated by commas")
    parser.add_argument("-m", "--model", help="as it was asked for")
    parser.add_argument("--metadata", action="append", default=[], metavar="KEY=VALUE", help="with this pair")
    parser.add_argument("--after", metavar="INSTANT", help="queued at or after this day or instant")
    parser.add_argument("--before", metavar="INSTANT", help="queued before it")
    parser.add_argument("--limit", type=int, default=20, help="as many at most; default 20")
    parser.add_argument("--all", action="store_true", help="all of them")
    parser.add_argument("--sort", choices=SORTS, default="queued", help="by what; default: queued")
    parser.add_argument("--reverse", action="store_true", help="the other way round")


def _show(parser: ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID")
    parser.add_argument("--answer", action="store_true", help="the text of the answer, and nothing else")


def _cancel(parser: ArgumentParser) -> None:
    parser.add_argument("ids", nargs="+", metavar="ID")


def _attempts(parser: ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID")


def _period(parser: ArgumentParser) -> None:
    """Which days, and of whose spend."""
    parser.add_argument("--from", dest="start", metavar="DAY", help="first UTC day, like 2026-11-01")
    parser.add_argument("--to", dest="end", metavar="DAY", help="the UTC day after the last")
    for name in FILTERS:
        parser.add_argument(f"--{name}", metavar="IDS" if name != "model" else "NAMES", help=f"only of this {name}")


def _spend(parser: ArgumentParser) -> None:
    parser.add_argument("--group-by", metavar="NAMES", default="", help=f"separated by commas: {', '.join(GROUPINGS)}")
    _period(parser)


def _waste(parser: ArgumentParser) -> None:
    parser.add_argument("--month", metavar="MONTH", help="a UTC month, like 2026-10; default: this one")
    parser.add_argument("--project", metavar="ID", help="another project that the key may see; default: its own")
    parser.add_argument("--csv", action="store_true", help="the report as CSV")


def _limits(parser: ArgumentParser) -> None:
    parser.add_argument("--rates", action="store_true", help="the rate limits of each model instead")


def _quotas(parser: ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("list", "set", "delete"), default="list")
    parser.add_argument("id", nargs="?", metavar="ID", help="of a quota that there is")
    parser.add_argument("--all", action="store_true", help="list those too that do not bind now")
    parser.add_argument("--scope", choices=SCOPES, help="the level that it binds")
    parser.add_argument("--owner", metavar="ID", help="of the team, project, member or key")
    parser.add_argument("--measure", choices=MEASURES, help="what it counts; default: usd")
    parser.add_argument("--window", choices=WINDOWS, help="after which it begins anew; default: month")
    parser.add_argument("-m", "--model", help="count this model only")
    parser.add_argument("--limit", metavar="AMOUNT", help="in its measure: US dollars, tokens, jobs")
    parser.add_argument("--risk", metavar="SHARE", help="of a reserve (reserve_usd): as 0.01, one call in a hundred")
    parser.add_argument("--soft", action="store_true", default=None, help="count and show, refuse nothing")
    parser.add_argument("--hard", action="store_false", dest="soft", help="never to be crossed; default for a new one")
    parser.add_argument("--expires", metavar="INSTANT", help="binds until then: 2030-01-31, +7d")


def _models(parser: ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="those too that cannot be called, and why")


def _export(parser: ArgumentParser) -> None:
    parser.add_argument("--format", choices=FORMATS, default="csv", help="default: csv")
    parser.add_argument("-o", "--output", metavar="FILE", help="where to; default: stdout")
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    _period(parser)


def _batch(parser: ArgumentParser) -> None:
    parser.add_argument("action", choices=BATCH_ACTIONS)
    parser.add_argument("target", nargs="?", metavar="FILE|ID", help="the file to run or preview; else a batch")
    parser.add_argument("-o", "--output", metavar="FILE", help="where the answers go")
    parser.add_argument("--errors", metavar="FILE", help="where unanswered lines go; default: OUTPUT.errors")
    parser.add_argument("--force", action="store_true", help="replace files that are there")
    new = parser.add_argument_group("a new batch")
    new.add_argument("--window", default="24h", help="when what has not started expires: 1h to 7d; default 24h")
    new.add_argument("--max-cost", metavar="USD", help="the batch never comes to more")
    new.add_argument("--metadata", action="append", default=[], metavar="KEY=VALUE", help="to know it by; repeat it")
    new.add_argument("--run", metavar="NAME", default="", help="another name runs the same file anew")
    new.add_argument("--wait", action="store_true", default=None, help="wait for its end")
    new.add_argument("--no-wait", action="store_false", dest="wait", help="print the id and be done")
    parser.add_argument("--limit", type=int, default=20, help="list as many at most; default 20")


def _compare(parser: ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", metavar="FILE", help="the body of a comparison as JSON; - for stdin")
    what = parser.add_argument_group("what to compare")
    what.add_argument("--prompt", action="append", default=[], metavar="TEXT", help="what is asked; repeat it")
    what.add_argument(
        *("-m", "--model"), action="append", default=[], help="MODEL, MODEL,effort=low or MODEL,cap=300; repeat it"
    )
    what.add_argument("--wording", metavar="TEXT", help="each of them once more with this added to the prompt")
    what.add_argument("--times", type=int, metavar="N", help="runs of each; default 1")
    what.add_argument("--max-cost", metavar="USD", help="all calls together never come to more")
    what.add_argument("--baseline", metavar="NAME", help="the variant that savings are against; default: the first")
    what.add_argument("--name", help="to find it by")
    how = parser.add_argument_group("how")
    how.add_argument("-o", "--output", metavar="FILE", help="where the runs go, as CSV")
    how.add_argument("--force", action="store_true", help="replace a file that is there")
    how.add_argument("--wait", action="store_true", default=None, help="wait for its end")
    how.add_argument("--no-wait", action="store_false", dest="wait", help="print the id and be done")
    how.add_argument("--idempotency-key", metavar="KEY", help="the same key again gives the same comparison")


def _completion(parser: ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh"))


def _version(parser: ArgumentParser) -> None:
    """It takes nothing."""


_LOGIN_EXAMPLES = """examples:
  bursar login --url https://bursar.example
  bursar login --profile work --url https://bursar.example < key.txt

The key is asked for, or read from stdin where that is no terminal. It stands in ~/.config/bursar/config.toml then,
which nobody else may read."""
_SUBMIT_EXAMPLES = """examples:
  bursar submit -m o1-mini "Write a script that transposes a matrix." --max-tokens 25000 --max-cost 0.50
  cat question.txt | bursar submit -m o1-mini - --no-wait
  bursar submit -m o1-mini --jsonl prompts.jsonl -o answers.jsonl

A line of a JSONL file is a text (the prompt), or an object: the body of a job (`prompt` or `messages`, and whatever
else a job takes), or a line of the provider's batches (`custom_id` and `body`). Options hold for lines that say
nothing else. With -o, the same command again goes on where it was stopped: what was submitted is not submitted
again, and what has ended is kept. Refused lines are tried again.

Ctrl-C leaves the jobs running. Waits by default where stdout is a terminal, and with --jsonl -o FILE."""
_ESTIMATE_EXAMPLES = """examples:
  bursar estimate -m o1-mini "Write a script that transposes a matrix." --max-tokens 5000
  bursar estimate -m o1 -f question.txt --json | jq .advice

Nothing is run, made or held. Takes what `bursar submit` takes of one job."""
_WATCH_EXAMPLES = """examples:
  bursar watch 0192428f-7f3b-7c6e-9d0a-5b8c3e1f2a4d
  bursar watch --json | jq -r .output_text

Without ids, all jobs that are queued or running now. Ctrl-C leaves them running."""
_LIST_EXAMPLES = """examples:
  bursar list --status failed,incomplete --after 2026-11-01
  bursar list -m o1-mini --metadata feature=matrix --limit 100 --sort cost
  bursar list --all --json | jq -r .id

Sorting is of those that are listed: the newest, as many as --limit says."""
_SHOW_EXAMPLES = """examples:
  bursar show 0192428f-7f3b-7c6e-9d0a-5b8c3e1f2a4d
  bursar show --answer 0192428f-7f3b-7c6e-9d0a-5b8c3e1f2a4d > answer.txt"""
_CANCEL_EXAMPLES = """examples:
  bursar cancel 0192428f-7f3b-7c6e-9d0a-5b8c3e1f2a4d
  bursar list --status queued --all --json | jq -r .id | xargs bursar cancel"""
_ATTEMPTS_EXAMPLES = """examples:
  bursar attempts 0192428f-7f3b-7c6e-9d0a-5b8c3e1f2a4d"""
_SPEND_EXAMPLES = """examples:
  bursar spend
  bursar spend --group-by day --from 2026-11-01 --to 2026-12-01
  bursar spend --group-by project,model --json | jq .total.cost.total_usd

Days are UTC; --to is exclusive. Without dates, this month."""
_WASTE_EXAMPLES = """examples:
  bursar waste
  bursar waste --month 2026-10 --project 0192428f-0000-7000-8000-000000000001
  bursar waste --month 2026-10 --json | jq '.categories[] | [.category, .usd]'
  bursar waste --month 2026-10 --csv > waste.csv

A dollar is in one category at most, so that wasted, useful and corrections are what was spent. What a cheaper model
would have saved is an upper estimate: whether its answers are as good, only people can say."""
_LIMITS_EXAMPLES = """examples:
  bursar limits
  bursar limits --rates"""
_QUOTAS_EXAMPLES = """examples:
  bursar quotas
  bursar quotas set --scope project --owner 0192428f-0000-7000-8000-000000000001 --limit 50 --window day
  bursar quotas set 019ab3c1-7e0a-7aa1-8b67-2d7f0ce1a222 --limit 80
  bursar quotas delete 019ab3c1-7e0a-7aa1-8b67-2d7f0ce1a222

`set` without an id changes the quota that binds the same owner by the same measure, window and model, if there is one.
Setting and deleting take a management key."""
_MODELS_EXAMPLES = """examples:
  bursar models
  bursar models --all"""
_EXPORT_EXAMPLES = """examples:
  bursar export -o november.csv --from 2026-11-01 --to 2026-12-01
  bursar export --format focus | gzip > focus.csv.gz
  bursar export --format parquet -o november.parquet --force"""
_BATCH_EXAMPLES = """examples:
  bursar batch preview requests.jsonl
  bursar batch run requests.jsonl -o answers.jsonl --max-cost 25
  bursar batch run requests.jsonl --window 7d --no-wait
  bursar batch watch batch_019ab3c17e0a7aa18b672d7f0ce1a222 -o answers.jsonl
  bursar batch list
  bursar batch show batch_019ab3c17e0a7aa18b672d7f0ce1a222 --json
  bursar batch cancel batch_019ab3c17e0a7aa18b672d7f0ce1a222

A line of the file has `custom_id`, `method`, `url` and `body`, as for the provider's batches. The same command again
goes on with the batch that it made. Waits by default where stdout is a terminal, and with -o FILE; Ctrl-C leaves the
batch running."""
_COMPARE_EXAMPLES = """examples:
  bursar compare --prompt "Transpose this matrix: ..." -m o1-preview -m o1-preview,cap=300 -m o1-mini --max-cost 4
  bursar compare --prompt "..." -m o3,effort=low -m o3,effort=high --times 5 --max-cost 10 -o runs.csv
  bursar compare comparison.json --json | jq '.variants[] | [.name, .saving.per_thousand_calls_usd]'

A call is made only while what it can cost at most fits below --max-cost; what does not fit is not run. Waits by default
where stdout is a terminal, and with -o FILE; Ctrl-C leaves the comparison running."""
_COMPLETION_EXAMPLES = """examples:
  bursar completion bash > ~/.local/share/bash-completion/completions/bursar
  bursar completion zsh > "${fpath[1]}/_bursar\""""


COMMANDS = {
    "login": Command("login", "note the address and the API key of a Bursar", _login, _LOGIN_EXAMPLES),
    "submit": Command("submit", "run a prompt, or every line of a file", _submit, _SUBMIT_EXAMPLES),
    "estimate": Command("estimate", "what a prompt would cost, before it is run", _estimate, _ESTIMATE_EXAMPLES),
    "batch": Command("batch", "run a file of requests as one batch", _batch, _BATCH_EXAMPLES),
    "compare": Command("compare", "compare models, efforts, caps and wordings", _compare, _COMPARE_EXAMPLES),
    "watch": Command("watch", "wait for jobs, and show how they end", _watch, _WATCH_EXAMPLES),
    "list": Command("listing", "list the project's jobs", _list_jobs, _LIST_EXAMPLES),
    "show": Command("show", "look at a job and its answer", _show, _SHOW_EXAMPLES),
    "cancel": Command("cancel", "cancel jobs", _cancel, _CANCEL_EXAMPLES),
    "attempts": Command("attempts", "list the calls that were made for a job", _attempts, _ATTEMPTS_EXAMPLES),
    "spend": Command("spend", "what was spent, by day, project, model ...", _spend, _SPEND_EXAMPLES),
    "waste": Command("waste", "what of a month bought nothing, and what to do", _waste, _WASTE_EXAMPLES),
    "limits": Command("limits", "what limits the project, and how full it stands", _limits, _LIMITS_EXAMPLES),
    "quotas": Command("quotas", "list, set and delete quotas", _quotas, _QUOTAS_EXAMPLES),
    "models": Command("models", "what can be called, and what it costs", _models, _MODELS_EXAMPLES),
    "export": Command("export", "what was spent, as a file", _export, _EXPORT_EXAMPLES),
    "completion": Command("completion", "the script for a shell's completion", _completion, _COMPLETION_EXAMPLES),
    "version": Command("version", "which version this is", _version),
}
