"""`bursar limits`: everything that limits the project, with bars."""

from argparse import Namespace
from decimal import Decimal
from typing import Any

from config.command_line.api import connect
from config.command_line.endings import IN_DOLLARS, Ending
from config.command_line.money import at, count, usd
from config.command_line.terminal import Column, Terminal, bar

COLUMNS = (
    Column("SCOPE"),
    Column("NAME", flexible=True),
    Column("BY", flexible=True),
    Column("LIMIT", right=True),
    Column("SPENT", right=True),
    Column("HELD", right=True),
    Column("LEFT", right=True),
    Column(""),
    Column("RESETS"),
)
RATES = ("requests_per_minute", "tokens_per_minute", "requests_per_day", "tokens_per_day", "batch_queue_tokens")


def run(options: Namespace, terminal: Terminal) -> int:
    """The limits on stdout; with --json the answer of the API."""
    with connect(options, terminal) as api:
        found = api.get("limits")
    if terminal.is_json:
        terminal.json(found)
        return Ending.OK
    tier = found["tier"]
    by_hand = ", set by hand" if tier["is_override"] else f" after {usd(tier['paid_usd'])} USD paid"
    terminal.say(f"{found['project']['name']} of {found['organization']['name']}: {tier['name']}{by_hand}")
    if options.rates:
        columns = [Column("MODEL"), *(Column(name.replace("_", " ").upper(), right=True) for name in RATES)]
        rows = [[limit["model"], *(count(limit[name]) for name in RATES)] for limit in found["rate_limits"]]
        terminal.table(columns, rows, empty="No model has a rate limit at this tier.")
    else:
        terminal.table(COLUMNS, [row(budget) for budget in found["budgets"]], empty="Nothing limits this project.")
    return Ending.OK


def row(budget: dict[str, Any]) -> list[str]:
    """A budget as a line of a table; the bar is what is spent and held."""
    origin = budget["origin"] + (f", {budget['model']}" if budget["model"] else "")
    used = Decimal(budget["spent"]) + Decimal(budget["held"])
    return [
        budget["scope"],
        budget["name"],
        origin if budget["is_hard"] else f"{origin}, soft",
        *(written(budget["measure"], budget[name]) for name in ("limit", "spent", "held", "remaining")),
        gauge(used, Decimal(budget["limit"])),
        at(budget["resets_at"]),
    ]


def gauge(used: Decimal, limit: Decimal) -> str:
    """How full a limit is, with the percentage; what is above it is all of it."""
    percent = min(int(used * 100 / limit), 999) if limit > 0 else 100
    return f"{bar(used, limit, 12).replace(' ', '·')} {percent:>3} %"


def written(measure: str, amount: str) -> str:
    """An amount in the unit of its measure."""
    if measure in IN_DOLLARS:
        return f"{usd(amount)} USD"
    return f"{int(Decimal(amount)):,} {measure.replace('_', ' ')}"
