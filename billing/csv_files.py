"""The one way in which text gets into a CSV file: no cell of it is a formula to a spreadsheet.

A text that begins like a formula gets an apostrophe before it. Numbers stay as they are, negative ones too.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from django.http import HttpResponse

from billing.money import usd

FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")


class Number(str):
    """A text that is a number as it should be written."""


def safe(text: str) -> str:
    """The text as a cell that no spreadsheet evaluates."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def safe_in_sql(expression: str) -> str:
    """The SQL of `safe`, for rows that never come through Python; NULL stays NULL."""
    starts = "'=', '+', '-', '@', E'\\t', E'\\r'"
    return f"CASE WHEN left({expression}, 1) IN ({starts}) THEN '''' || {expression} ELSE {expression} END"


def written(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A CSV file: text made safe, decimals exact and without an exponent, dates by ISO 8601, None empty."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(header)
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return out.getvalue()


def attached(text: str, file_name: str, **headers: str) -> HttpResponse:
    """A CSV file as an answer, for browsers to save; with other headers besides."""
    disposition = f'attachment; filename="{file_name}"'
    return HttpResponse(
        text, content_type="text/csv; charset=utf-8", headers={"Content-Disposition": disposition, **headers}
    )


def _cell(value: Any) -> Any:
    match value:
        case Number():
            return str(value)
        case str():
            return safe(value)
        case Decimal():
            return usd(value)
        case datetime() | date():
            return value.isoformat()
    return value
