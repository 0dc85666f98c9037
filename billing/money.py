"""How amounts are written, with their unit."""

from decimal import Decimal

from accounts.money import usd

__all__ = ["IN_DOLLARS", "amount_of", "plain", "usd"]

# The measures whose unit is the dollar.
IN_DOLLARS = frozenset({"usd", "reserve_usd"})


def amount_of(measure: str, amount: Decimal) -> str:
    """An amount with its unit, as people read it: 12.50 USD, 12.50 USD of reserve, 1000 tokens, 1 job."""
    if measure in IN_DOLLARS:
        return f"{usd(amount)} USD{' of reserve' if measure == 'reserve_usd' else ''}"
    unit = measure.replace("_", " ")
    return f"{plain(measure, amount)} {unit.removesuffix('s') if amount == 1 else unit}"


def plain(measure: str, amount: Decimal) -> str:
    """An amount as programs read it: dollars as `usd` writes them, tokens and jobs as whole numbers."""
    return usd(amount) if measure in IN_DOLLARS else f"{amount:.0f}"
