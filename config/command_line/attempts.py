"""`bursar attempts`: each call of the provider for a job, with what it held and what it cost."""

from argparse import Namespace
from typing import Any

from config.command_line.api import connect, segment
from config.command_line.endings import Ending
from config.command_line.money import at, count, usd
from config.command_line.terminal import Column, Terminal

COLUMNS = (
    Column("#", right=True),
    Column("STATUS"),
    Column("ANSWERED BY", flexible=True),
    Column("TOKENS", right=True),
    Column("REASONING", right=True),
    Column("USD", right=True),
    Column("HELD"),
    Column("CALLED"),
    Column("", flexible=True),
)


def run(options: Namespace, terminal: Terminal) -> int:
    """The attempts on stdout, oldest first."""
    with connect(options, terminal) as api:
        found = api.get(f"jobs/{segment(options.id)}/attempts")["data"]
    if terminal.is_json:
        for attempt in found:
            terminal.json(attempt)
    else:
        empty = "The provider was not called for it yet. `bursar show` says what it waits for."
        terminal.table(COLUMNS, [_row(attempt) for attempt in found], empty=empty)
    return Ending.OK


def _row(attempt: dict[str, Any]) -> list[str]:
    used, hold = attempt["usage"], attempt["hold"]
    error, doubt = attempt["error"], attempt["doubt"]
    return [
        str(attempt["number"]),
        attempt["status"],
        attempt["snapshot"] or "-",
        count(used["input_tokens"] + used["output_tokens"]) if used else "-",
        count(used["reasoning_tokens"]) if used else "-",
        usd(attempt["cost"]["total_usd"]) if attempt["cost"] else "-",
        f"{usd(hold['amount_usd'])} {hold['status']}" if hold else "-",
        at(attempt["calling_at"]),
        f"{error['code']}: {error['message']}" if error else f"doubt {doubt['status']}" if doubt else "",
    ]
