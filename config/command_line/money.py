"""Amounts, tokens and instants as people read them. Amounts come as decimal texts and stay exact."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from config.command_line.endings import UsageError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def usd(amount: Decimal | str | None) -> str:
    """In plain digits with at least two decimals, as the API writes it; a dash for nothing."""
    if amount is None:
        return "-"
    whole, _, decimals = f"{Decimal(amount):f}".partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"


def count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def amount(text: str, name: str) -> str:
    """An amount from the command line, to be sent as it was written. Raises UsageError."""
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise UsageError(f"{name} takes an amount like 2.50, and not '{text}'.") from error
    if not value.is_finite() or value < 0:
        raise UsageError(f"{name} takes an amount like 2.50, and not '{text}'.")
    return f"{value:f}"


def instant(text: str, name: str) -> str:
    """An instant for the API: ISO 8601 with an offset, a day (its beginning, UTC), or +90m from now.

    Raises UsageError.
    """
    if text.startswith("+"):
        number, unit = text[1:-1], text[-1:]
        if not number.isdecimal() or unit not in _UNITS:
            raise UsageError(f"{name} takes +30s, +90m, +12h or +2d, and not '{text}'.")
        moment = datetime.now(UTC) + timedelta(seconds=int(number) * _UNITS[unit])
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise UsageError(f"{name} takes an instant like 2030-01-31T12:00:00Z, and not '{text}'.") from error
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def at(text: str | None) -> str:
    """An instant of the API on the reader's own clock."""
    return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M:%S}" if text else "-"


def total_tokens(job: dict[str, Any]) -> int:
    """The tokens of a job, in whichever of the provider's shapes; 0 before its answer."""
    usage = job.get("usage") or {}
    whole = usage.get("total_tokens")
    if isinstance(whole, int):
        return whole
    parts = (usage.get(name) for name in ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens"))
    return sum(part for part in parts if isinstance(part, int))


def cost(job: dict[str, Any]) -> Decimal:
    """What a job came to so far."""
    return Decimal((job.get("cost") or {}).get("total_usd", 0))
