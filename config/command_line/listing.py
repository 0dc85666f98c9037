"""`bursar list`: the project's jobs, newest first or sorted."""

from argparse import Namespace
from collections.abc import Callable
from typing import Any

from config.command_line.api import connect
from config.command_line.endings import Ending, UsageError
from config.command_line.jobs import COLUMNS, row
from config.command_line.money import cost, instant, total_tokens
from config.command_line.terminal import Terminal

SORTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "queued": lambda job: job["queued_at"],
    "cost": cost,
    "tokens": total_tokens,
    "status": lambda job: job["status"],
    "model": lambda job: job["model"],
    "finished": lambda job: job["finished_at"] or "",
}
# What people want at the top of a list.
_DESCENDING = frozenset({"queued", "cost", "tokens", "finished"})


def run(options: Namespace, terminal: Terminal) -> int:
    """The jobs on stdout."""
    if options.limit < 1:
        raise UsageError("--limit is at least 1.")
    query = [
        ("status", options.status),
        ("model", options.model),
        ("created_after", options.after and instant(options.after, "--after")),
        ("created_before", options.before and instant(options.before, "--before")),
        *((f"metadata[{key}]", value) for key, value in pairs(options.metadata).items()),
    ]
    with connect(options, terminal) as api:
        found = api.rows("jobs", query, limit=None if options.all else options.limit)
        if terminal.is_json and options.sort == "queued" and not options.reverse:
            for job in found:
                terminal.json(job)
            return Ending.OK
        jobs = list(found)
    if options.sort != "queued" or options.reverse:
        jobs.sort(key=SORTS[options.sort], reverse=(options.sort in _DESCENDING) is not options.reverse)
    if terminal.is_json:
        for job in jobs:
            terminal.json(job)
    else:
        terminal.table(COLUMNS, [row(job) for job in jobs], empty="No job is like this. `bursar submit` makes one.")
    return Ending.OK


def pairs(given: list[str]) -> dict[str, str]:
    """KEY=VALUE from the command line. Raises UsageError."""
    found = dict(text.partition("=")[::2] for text in given)
    for text in given:
        if not text.partition("=")[0] or "=" not in text:
            raise UsageError(f"--metadata takes KEY=VALUE, and not '{text}'.")
    return found
