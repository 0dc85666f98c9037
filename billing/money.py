"""How amounts are written, with their unit."""

from decimal import Decimal

from accounts.money import usd

__all__ = ["amount_of", "plain", "usd"]


def amount_of(measure: str, amount: Decimal) -> str:
    """An amount with its unit, as people read it: 12.50 USD, 1000 tokens, 1 job."""
    if measure == "usd":
        return f"{usd(amount)} USD"
    unit = measure.replace("_", " ")
    return f"{plain(measure, amount)} {unit.removesuffix('s') if amount == 1 else unit}"


def plain(measure: str, amount: Decimal) -> str:
    """An amount as programs read it: dollars as `usd` writes them, tokens and jobs as whole numbers."""
    return usd(amount) if measure == "usd" else f"{amount:.0f}"
