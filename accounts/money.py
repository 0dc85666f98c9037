"""How an amount of US dollars is written, wherever it leaves Bursar."""

from decimal import Decimal


def usd(amount: Decimal) -> str:
    """The exact amount in plain digits, with at least two decimals and no needless zeros: 0.077385, 0.50, 1000.00."""
    if not amount:
        return "0.00"  # also for -0 and 0E-12
    whole, _, decimals = f"{amount:f}".partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"
