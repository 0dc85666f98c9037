"""Amounts in the admin: a dollar sign, thousands apart, and every digit that is there."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.contrib import admin

from billing.money import IN_DOLLARS, amount_of, usd
from billing.periods import Window, month_of


def dollars(amount: Decimal) -> str:
    """The exact amount for a person: '$0.077385', '-$1,250.00'."""
    whole, _, decimals = usd(abs(amount)).partition(".")
    return f"{'-' if amount < 0 else ''}${int(whole):,}.{decimals}"


def in_words(measure: str, amount: Decimal) -> str:
    """An amount in its unit for a person: '$12.50', '1,000 output tokens', '50 jobs'."""
    if measure in IN_DOLLARS:
        return dollars(amount)
    number, _, unit = amount_of(measure, amount).partition(" ")
    return f"{int(number):,} {unit}"


def amount_column(name: str, description: str = "", *, measure_of: Callable[[Any], str] | None = None) -> Any:
    """A column that shows the amount in a field in the unit of its row; not sorted by, for a token is no dollar."""

    @admin.display(description=description or name.replace("_", " "))
    def column(row: Any) -> str:
        amount = getattr(row, name)
        return "–" if amount is None else in_words(measure_of(row) if measure_of else row.measure, amount)

    return column


def usd_column(name: str, description: str = "") -> Any:
    """A column that shows the amount in a field, and sorts by it. Any, because the stubs know columns by name only."""

    @admin.display(description=description or name.removesuffix("_usd").replace("_", " "), ordering=name)
    def column(row: Any) -> str:
        amount = getattr(row, name)
        return "–" if amount is None else dollars(amount)

    return column


def cost_columns() -> tuple[Any, ...]:
    """The columns of what something cost: the total, and the four parts that it is the sum of."""
    return (
        usd_column("total_usd", "total"),
        usd_column("input_usd", "uncached input"),
        usd_column("cached_input_usd", "cached input"),
        usd_column("output_usd", "visible output"),
        usd_column("reasoning_usd", "reasoning"),
    )


def tokens_column(name: str) -> Any:
    """A column of a number of tokens, thousands apart."""

    @admin.display(description=name.removesuffix("_tokens").replace("_", " ") + " tokens", ordering=name)
    def column(row: Any) -> str:
        return f"{getattr(row, name):,}"

    return column


def window_in_words(window: Window) -> str:
    """A month as '2024-09', another stretch by its first and last instant: '2024-09-02 to 2024-09-09'."""
    if window == month_of(window.start):
        return f"{window.start:%Y-%m}"
    return f"{_instant(window.start)} to {_instant(window.end)}"


def _instant(instant: datetime) -> str:
    """In UTC; midnight goes without saying."""
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M").removesuffix(" 00:00")


@admin.display(description="month", ordering="window_start")
def _month(row: Any) -> str:
    start: datetime = row.window_start
    return f"{start:%Y-%m}"


month_column: Any = _month


def share(part: int | Decimal, whole: int | Decimal) -> str:
    """A part of a whole in per cent: '80.1 %'; a dash where there is no whole."""
    return f"{Decimal(100) * part / whole:.1f} %" if whole else "–"
