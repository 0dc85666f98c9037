"""`bursar models`: what can be called, what it costs, and until when."""

from argparse import Namespace
from typing import Any

from config.command_line.api import connect
from config.command_line.endings import Ending
from config.command_line.money import count, usd
from config.command_line.terminal import Column, Terminal

COLUMNS = (
    Column("MODEL"),
    Column("INPUT", right=True),
    Column("CACHED", right=True),
    Column("OUTPUT", right=True),
    Column("CONTEXT", right=True),
    Column("MOST OUTPUT", right=True),
    Column("SHUTDOWN"),
    Column("", flexible=True),
)


def run(options: Namespace, terminal: Terminal) -> int:
    """The models on stdout; prices are US dollars per million tokens."""
    with connect(options, terminal) as api:
        found = [model for model in api.get("models")["data"] if options.all or model["availability"]["usable"]]
    if terminal.is_json:
        for model in found:
            terminal.json(model)
        return Ending.OK
    empty = "No model can be called. `bursar models --all` says why."
    terminal.table(COLUMNS, [_row(model) for model in found], empty=empty)
    if found:
        terminal.say("Prices are US dollars per million tokens, of the standard tier; reasoning is output.")
    return Ending.OK


def _row(model: dict[str, Any]) -> list[str]:
    price = model["prices"].get("standard") or {}
    names = ("input_usd_per_million", "cached_input_usd_per_million", "output_usd_per_million")
    reason = model["availability"]["reason"] or (f"then {model['successor']}" if model["successor"] else "")
    return [
        model["name"],
        *(usd(price.get(name)) for name in names),
        count(model["context_window"]),
        count(model["max_output_tokens"]),
        model["shutdown_on"] or "-",
        reason,
    ]
