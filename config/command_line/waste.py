"""`bursar waste`: what of a project's month bought nothing, in which categories, and which models cost too much."""

import re
from argparse import Namespace
from decimal import Decimal
from typing import Any

from config.command_line.api import connect
from config.command_line.endings import CommandError, Ending, UsageError
from config.command_line.money import at, count, usd
from config.command_line.saving import pass_on
from config.command_line.terminal import Column, Terminal, bar, safe

COLUMNS = (
    *(Column("CATEGORY"), Column("JOBS", right=True), Column("USD", right=True), Column("OF ALL", right=True)),
    *(Column(""), Column("")),
)
SWITCHES = (
    *(Column("MODEL", flexible=True), Column("INSTEAD", flexible=True), Column("BECAUSE"), Column("CALLS", right=True)),
    Column("USD AT MOST", right=True),
)
# As the catalogue and the project's own calls say it.
_BECAUSE = {"successor": "its successor", "used alike": "answers like prompts as often"}
_NOT_YET = "So many calls are reckoned in the background: ask again in ten minutes."


def run(options: Namespace, terminal: Terminal) -> int:
    """The report on stdout; with --json the answer of the API. Raises CommandError while there is no report."""
    if options.month and not re.fullmatch(r"2\d{3}-(0[1-9]|1[0-2])", options.month):
        raise UsageError(f"--month takes a month like 2026-10, and not '{options.month}'.")
    if options.csv and terminal.is_json:
        raise UsageError("Take --csv or --json, and not both.")
    query = {"month": options.month, "project": options.project}
    with connect(options, terminal) as api:
        found = api.get("waste", query)
        if terminal.is_json:
            terminal.json(found)
        if found["status"] != "ready":
            # In a file it would look like a month without waste.
            raise CommandError(_NOT_YET, Ending.UNREACHABLE)
        if options.csv:
            pass_on(api.download("waste", {**query, "format": "csv"}), terminal)
            terminal.clear()
    if not options.csv and not terminal.is_json:
        _tell(terminal, found)
    if not found["is_current"]:
        terminal.say(f"As of {at(found['reckoned_at'])}; it is reckoned anew in the background.")
    return Ending.OK


def _tell(terminal: Terminal, found: dict[str, Any]) -> None:
    whole, wasted = Decimal(found["ledger_usd"]), Decimal(found["wasted_usd"])
    month, project = found["month"], found["project"]["name"] or found["project"]["id"]
    there = [line for line in found["categories"] if line["jobs"] or Decimal(line["usd"])]
    if not found["calls"] and not whole:
        terminal.table(
            COLUMNS, [], empty=f"Nothing was called in {month}, so nothing was wasted. --month names another."
        )
        return
    terminal.say(
        f"{project}, {month}, UTC: {usd(wasted)} of {usd(whole)} USD bought nothing, {count(found['calls'])} calls"
    )
    terminal.table(COLUMNS, [*(_line(line, whole) for line in there), *_sums(found, whole)], empty="")
    if found["switches"]:
        terminal.data("")
        terminal.table(SWITCHES, [_switch(switch) for switch in found["switches"]], empty="")
    for line in there:
        terminal.say(f"  {line['category']}: {safe(line['to_do'])}")


def _line(line: dict[str, Any], whole: Decimal) -> list[str]:
    spent = Decimal(line["usd"])
    estimate = "at most" if line["is_upper_estimate"] else ""
    return [
        line["category"],
        count(line["jobs"]),
        usd(spent),
        share(spent, whole),
        bar(spent, whole, 12).rstrip(),
        estimate,
    ]


def _sums(found: dict[str, Any], whole: Decimal) -> list[list[str]]:
    """What the categories come to, and what is left of the month: together all that was spent."""
    parts = {"wasted": "wasted_usd", "useful": "useful_usd", "corrections": "corrections_usd", "spent": "ledger_usd"}
    amounts = {name: Decimal(found[field]) for name, field in parts.items()}
    if not amounts["corrections"]:
        del amounts["corrections"]
    return [[name, "", usd(amount), share(amount, whole), "", ""] for name, amount in amounts.items()]


def _switch(switch: dict[str, Any]) -> list[str]:
    because = _BECAUSE.get(switch["because"], switch["because"])
    return [switch["model"], switch["instead"], because, count(switch["calls"]), usd(switch["usd"])]


def share(part: Decimal, whole: Decimal) -> str:
    """A part of what was spent in per cent; a dash where nothing was."""
    return f"{100 * part / whole:.1f} %" if whole > 0 else "-"
