"""`bursar submit`: runs a prompt, or every line of a JSONL file."""

import sys
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

from config.command_line import submission_files
from config.command_line.advice import tell_advice
from config.command_line.api import Api, connect
from config.command_line.endings import Ending, Interrupted, UsageError
from config.command_line.jobs import answer_of, tell_end
from config.command_line.listing import pairs
from config.command_line.money import amount, instant
from config.command_line.terminal import Terminal
from config.command_line.waiting import Tally, Waiting

NEEDED = "Name a model by -m (`bursar models` lists them), or set BURSAR_MODEL."


def run(options: Namespace, terminal: Terminal) -> int:
    """0 where the jobs were taken, and all that were waited for have succeeded."""
    sources = [source for source in (options.prompt, options.file, options.jsonl) if source is not None]
    if len(sources) != 1:
        raise UsageError("Give one of: a prompt, - for stdin, --file, --jsonl. `bursar submit --help` has examples.")
    if options.jsonl is not None:
        if options.idempotency_key:
            raise UsageError("With --jsonl, keys are made of the lines; --run NAME runs them anew.")
        if not 1 <= options.parallel <= 64:
            raise UsageError("--parallel is between 1 and 64.")
        return submission_files.run(options, terminal, defaults_of(options))
    body = body_of(options)
    if "model" not in body:
        raise UsageError(NEEDED)
    return _run_one(options, terminal, body)


def body_of(options: Namespace) -> dict[str, Any]:
    """The body of a job with one prompt. Raises UsageError."""
    return {**defaults_of(options), "prompt": _prompt(options)}


def defaults_of(options: Namespace) -> dict[str, Any]:
    """The members of a job's body that the command line gives. Raises UsageError."""
    given = {
        "model": options.model,
        "max_completion_tokens": options.max_tokens,
        "reasoning_effort": options.effort,
        "max_cost_usd": options.max_cost and amount(options.max_cost, "--max-cost"),
        "priority": options.priority,
        "deadline": options.deadline and instant(options.deadline, "--deadline"),
        "service_tier": options.service_tier,
        "metadata": pairs(options.metadata) or None,
        "ignore_advice": options.ignore_advice or None,
    }
    return {name: value for name, value in given.items() if value is not None and value != ""}


def _prompt(options: Namespace) -> str:
    if options.prompt is not None and options.prompt != "-":
        return str(options.prompt)
    try:
        text = sys.stdin.read() if options.prompt == "-" else Path(options.file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The prompt cannot be read: {error}") from error
    if not text.strip():
        raise UsageError("The prompt is empty.")
    return text


def _run_one(options: Namespace, terminal: Terminal, body: dict[str, Any]) -> int:
    # Of this call alone: it makes the request safe to repeat when its answer is lost.
    key = options.idempotency_key or f"bursar-{uuid4()}"
    waits = terminal.is_terminal if options.wait is None else options.wait
    with connect(options, terminal) as api:
        try:
            job = api.post("jobs", body, key=key)
        except KeyboardInterrupt:
            raise Interrupted(
                f"Stopped while submitting. The same command with --idempotency-key {key} finds the job."
            ) from None
        terminal.say(f"{job['id']} queued; it can cost {job['bound']['cost_usd']} USD at most")
        tell_advice(terminal, job.get("advice", []), body["prompt"])
        if not waits:
            if terminal.is_json:
                terminal.json(job)
            else:
                terminal.data(job["id"])
                terminal.say(f"Look: bursar watch {job['id']}")
            return Ending.OK
        job = _wait(api, terminal, job["id"])
    _deliver(options, terminal, job)
    return Ending.OK if job["status"] == "succeeded" else Ending.FAILED


def _wait(api: Api, terminal: Terminal, job_id: str) -> dict[str, Any]:
    """The job once it has ended. Raises Interrupted."""
    with ThreadPoolExecutor(1) as pool:
        pending = Waiting(api, [job_id], pool)
        tally = Tally(terminal, 1)
        try:
            while not (ended := pending.look()):
                tally.show()
                pending.rest()
        except KeyboardInterrupt:
            raise Interrupted(f"Stopped waiting; the job goes on. Go on with: bursar watch {job_id}") from None
    return ended[0]


def _deliver(options: Namespace, terminal: Terminal, job: dict[str, Any]) -> None:
    """The answer to where it is to go, and what it cost to stderr."""
    if options.output:
        try:
            Path(options.output).write_text(job.get("output_text") or "", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"The answer cannot be written: {error}. It is there: bursar show {job['id']}") from error
    if terminal.is_json:
        terminal.json(job)
    elif not options.output and job.get("output_text"):
        terminal.data(answer_of(terminal, job))
    tell_end(terminal, job)
