"""A what-if report written out: as a table for a terminal, as CSV for a spreadsheet, as JSON for a program."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from billing.csv_files import Number, written
from billing.money import usd
from billing.rerating import Line, Report

TOKENS = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens")
COLUMNS = (
    "model",
    "priced_as",
    "service_tier",
    "calls",
    *TOKENS,
    "actual_usd",
    "what_if_usd",
    "difference_usd",
    "difference_percent",
    "prices",
)
TOTAL, WITHOUT_PRICE = "total", "no price known, not compared"


def as_json(report: Report) -> dict[str, Any]:
    """The whole report, amounts as decimal strings; what is not known is null."""
    return {
        "organization": report.organization.slug,
        "project": report.project.slug if report.project else None,
        "from": report.start.isoformat(),
        "to": report.end.isoformat(),
        "scenario": report.scenario.sentence,
        "data": [_fields(line) for line in report.lines],
        "total": _sums(report.total),
        "without_known_price": _sums(report.unknown_total),
    }


def as_csv(report: Report) -> str:
    """One row for each line, and the total below them; where no price is known, the reason stands under `prices`."""
    rows: list[dict[str, Any]] = []
    for line in report.lines:
        told = _fields(line)
        told["prices"] = told.pop("unknown") or "; ".join(told["prices"])
        rows.append(told)
    rows.append({"model": TOTAL, **_sums(report.total)})
    if report.unknown:
        rows.append({"model": WITHOUT_PRICE, **_sums(report.unknown_total), "what_if_usd": "", **_NOT_COMPARED})
    return written(COLUMNS, ([_csv_value(name, row.get(name)) for name in COLUMNS] for row in rows))


def _csv_value(name: str, value: Any) -> Any:
    """Amounts as numbers: a text with a minus before it would be made safe, and be no number any more."""
    return Number(value) if value and (name.endswith("_usd") or name == "difference_percent") else value


def as_table(report: Report) -> str:
    """Columns under each other, then what each line was rated at, and what could not be."""
    owner = report.organization.slug + (f", project {report.project.slug}" if report.project else "")
    head = [f"{owner}, {report.start} up to {report.end} (exclusive), {report.scenario.sentence}", ""]
    if not report.lines:
        return "\n".join([*head, "No calls in these days."])
    titles = ["model", "tier", "calls", "input", "output", "actual USD", "what-if USD", "difference", "percent"]
    rows = [titles, *(_cells(line) for line in report.lines), _cells(report.total, TOTAL)]
    if report.unknown:
        rows.append([*_cells(report.unknown_total, "without price")[:6], "-", "-", "-"])
    notes = [f"{_name(line)} {line.service_tier}: {line.unknown or _prices(line)}" for line in report.lines]
    return "\n".join([*head, *_aligned(rows), "", *notes])


_NOT_COMPARED = {"difference_usd": "", "difference_percent": ""}


def _fields(line: Line) -> dict[str, Any]:
    return {
        "model": line.model,
        "priced_as": line.priced_as,
        "service_tier": line.service_tier,
        **_sums(line),
        "prices": [str(price) for price in line.prices],
        "unknown": line.unknown or None,
    }


def _sums(line: Line) -> dict[str, Any]:
    return {
        "calls": line.amounts.calls,
        **{name: getattr(line.amounts, name) for name in TOKENS},
        "actual_usd": usd(line.amounts.actual_usd),
        "what_if_usd": _usd(line.what_if_usd),
        "difference_usd": _usd(line.difference_usd),
        "difference_percent": None if line.percent is None else str(line.percent),
    }


def _cells(line: Line, name: str = "") -> list[str]:
    amounts = line.amounts
    return [
        name or _name(line),
        line.service_tier,
        f"{amounts.calls:,}",
        f"{amounts.input_tokens:,}",
        f"{amounts.output_tokens:,}",
        usd(amounts.actual_usd),
        _usd(line.what_if_usd) or "unknown",
        _usd(line.difference_usd) or "-",
        "-" if line.percent is None else f"{line.percent:+} %",
    ]


def _name(line: Line) -> str:
    return line.model if line.priced_as == line.model else f"{line.model} as {line.priced_as}"


def _prices(line: Line) -> str:
    return "; ".join(str(price) for price in line.prices)


def _usd(amount: Decimal | None) -> str | None:
    return None if amount is None else usd(amount)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The first two columns to the left, the others, which are numbers, to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
