"""What a dashboard shows, as CSV: exact amounts in US dollars, whole numbers of tokens."""

import csv
from collections.abc import Iterable, Sequence
from io import StringIO
from typing import Any

from billing.dashboard.changes import EFFECTS, Change, sum_of
from billing.dashboard.daily import ZERO, Daily
from billing.money import usd
from billing.spend import SpendLine

TOKENS = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens")
_FIGURES = ("calls", *TOKENS, "total_usd", "empty_calls", "empty_usd")


def days_file(found: Daily) -> str:
    """A line a day with its figures, and a column for each part, none folded."""
    head = ["day", *_FIGURES, *(f"{part.label} (USD)" for part in found.parts)]
    rows: list[Sequence[Any]] = [
        [day, *_figures(line), *(usd(part.by_day.get(day, ZERO)) for part in found.parts)]
        for day, line in sorted(found.days.items())
    ]
    total = ["total", *_figures(found.total), *(usd(part.usd) for part in found.parts)]
    return _written([head, *rows, total])


def parts_file(found: Daily, split: str) -> str:
    """A line for each project, team, model or member; of a kind of tokens the dollars alone are known."""
    if split == "kind":
        return _written([["kind", "total_usd"], *([part.label, usd(part.usd)] for part in found.parts)])
    rows = [[part.label, *_figures(part.line)] for part in found.parts if part.line]
    return _written([[split, *_FIGURES], *rows, ["total", *_figures(found.total)]])


def change_file(found: Sequence[Change]) -> str:
    """A line for each project: cost before and after, and the effects, which sum to the difference."""
    head = ["project", "calls_before", "calls_after", "usd_before", "usd_after", "difference_usd"]
    rows = [
        [
            one.label,
            one.before_calls,
            one.after_calls,
            *(usd(amount) for amount in (one.before_usd, one.after_usd, one.difference_usd)),
            *(usd(one.effects[name]) for name, _ in EFFECTS),
        ]
        for one in (*found, sum_of(found))
    ]
    return _written([[*head, *(f"{name}_usd" for name, _ in EFFECTS)], *rows])


def _figures(line: SpendLine) -> list[Any]:
    return [usd(line.totals[name]) if name.endswith("_usd") else line.totals[name] for name in _FIGURES]


def _written(rows: Iterable[Sequence[Any]]) -> str:
    text = StringIO()
    writer = csv.writer(text)
    writer.writerows([[_safe(cell) for cell in row] for row in rows])
    return text.getvalue()


def _safe(cell: Any) -> Any:
    """A name that a spreadsheet would take for a formula is told to be text; amounts are numbers and stay."""
    is_text = isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r", "|", "%")
    return f"'{cell}" if is_text and not cell.removeprefix("-").replace(".", "", 1).isdecimal() else cell
