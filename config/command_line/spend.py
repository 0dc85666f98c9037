"""`bursar spend`: what was spent, in total and by group, with bars."""

from argparse import Namespace
from datetime import date
from decimal import Decimal
from typing import Any

from config.command_line.api import connect
from config.command_line.commands import FILTERS, GROUPINGS
from config.command_line.endings import Ending, UsageError
from config.command_line.money import count, usd
from config.command_line.terminal import Column, Terminal, bar


def query_of(options: Namespace) -> dict[str, Any]:
    """The parameters of the API. Raises UsageError for what is no day."""
    for name, text in (("--from", options.start), ("--to", options.end)):
        try:
            if text:
                date.fromisoformat(text)
        except ValueError as error:
            raise UsageError(f"{name} takes a day like 2026-11-01, and not '{text}'.") from error
    return {"from": options.start, "to": options.end, **{name: getattr(options, name) for name in FILTERS}}


def run(options: Namespace, terminal: Terminal) -> int:
    """The spend on stdout; with --json the answer of the API."""
    groups = [name.strip() for name in options.group_by.split(",") if name.strip()]
    for name in groups:
        if name not in GROUPINGS:
            raise UsageError(f"--group-by takes {', '.join(GROUPINGS)}, and not '{name}'.")
    with connect(options, terminal) as api:
        found = api.get("spend", {**query_of(options), "group_by": ",".join(groups)})
    if terminal.is_json:
        terminal.json(found)
        return Ending.OK
    terminal.say(f"From {found['from']} to {found['to']}, UTC")
    columns = [
        *(Column(name.upper().replace("_", " "), flexible=True) for name in groups),
        Column("CALLS", right=True),
        Column("INPUT", right=True),
        Column("OUTPUT", right=True),
        Column("REASONING", right=True),
        Column("USD", right=True),
        Column(""),
    ]
    largest = max((Decimal(line["cost"]["total_usd"]) for line in found["data"]), default=Decimal(0))
    rows = [[*_group(line, groups), *_figures(line, largest)] for line in found["data"]]
    if rows or not groups:
        rows.append([*(["total"] + [""] * (len(groups) - 1) if groups else []), *_figures(found["total"], Decimal(0))])
    terminal.table(columns, rows, empty="Nothing was spent in this time. `bursar list` shows what is under way.")
    return Ending.OK


def _group(line: dict[str, Any], groups: list[str]) -> list[str]:
    return [_named(line.get(name)) for name in groups]


def _named(value: Any) -> str:
    if isinstance(value, dict):
        return str(value["name"] or value["id"])
    return "-" if value is None else str(value)


def _figures(line: dict[str, Any], largest: Decimal) -> list[str]:
    spent = line["cost"]["total_usd"]
    return [
        *(count(line[name]) for name in ("calls", "input_tokens", "output_tokens", "reasoning_tokens")),
        usd(spent),
        bar(Decimal(spent), largest).rstrip(),
    ]
