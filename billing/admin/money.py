"""Amounts in the admin: a dollar sign, thousands apart, and every digit that is there."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from django.contrib import admin

from billing.money import usd


def dollars(amount: Decimal) -> str:
    """The exact amount for a person: '$0.077385', '-$1,250.00'."""
    whole, _, decimals = usd(abs(amount)).partition(".")
    return f"{'-' if amount < 0 else ''}${int(whole):,}.{decimals}"


def usd_column(name: str, description: str = "") -> Any:
    """A column that shows the amount in a field, and sorts by it. Any, because the stubs know columns by name only."""

    @admin.display(description=description or name.removesuffix("_usd").replace("_", " "), ordering=name)
    def column(row: Any) -> str:
        amount = getattr(row, name)
        return "–" if amount is None else dollars(amount)

    return column


def tokens_column(name: str) -> Any:
    """A column of a number of tokens, thousands apart."""

    @admin.display(description=name.removesuffix("_tokens").replace("_", " ") + " tokens", ordering=name)
    def column(row: Any) -> str:
        return f"{getattr(row, name):,}"

    return column


@admin.display(description="month", ordering="window_start")
def _month(row: Any) -> str:
    start: datetime = row.window_start
    return f"{start:%Y-%m}"


month_column: Any = _month


def share(part: int, whole: int) -> str:
    """A part of a whole in per cent: '80.1 %'; a dash where there is no whole."""
    return f"{Decimal(100) * part / whole:.1f} %" if whole else "–"
