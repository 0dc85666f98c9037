"""Money and tokens: what was booked, by the rollups, and what is held and left, by reservations and budgets."""

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from accounts.remembered import remembered
from billing.clock import database_now
from config.metrics.reading import Row, rows
from config.metrics.text import Family, Kind, Sample, gauge

# Budgets that are told of: those with the smallest share of their limit left.
MOST_BUDGETS = 50
BUDGETS_SECONDS = 15.0
# Months before the last one change seldom: by an adjustment alone.
PAST_SECONDS = 300.0

_BOOKED = """
    SELECT model, sum(total_usd), sum(empty_calls), sum(input_tokens - cached_input_tokens), sum(cached_input_tokens),
        sum(output_tokens - reasoning_tokens), sum(reasoning_tokens)
    FROM billing_modelrollup WHERE day {when} %s GROUP BY model
"""
# Disjoint, so that they can be added up: reasoning is part of the provider's output tokens, cached of its input tokens.
TOKEN_TYPES = ("input", "cached_input", "output", "reasoning")
_HELD = """
    SELECT COALESCE(sum(amount_usd) FILTER (WHERE NOT is_in_doubt), 0),
        COALESCE(sum(amount_usd) FILTER (WHERE is_in_doubt), 0)
    FROM billing_reservation WHERE status = 'open'
"""
_BUDGETS = """
    SELECT id, scope, "limit", "limit" - spent - held FROM billing_budget
    WHERE window_start <= %(now)s AND window_end > %(now)s AND measure = 'usd' AND "limit" > 0
    ORDER BY ("limit" - spent - held) / "limit", id LIMIT %(most)s
"""


def families() -> Iterator[Family]:
    now = database_now()
    booked = _booked(now.date())
    yield Family(
        "spend_usd_total",
        Kind.COUNTER,
        "Dollars booked, by the model that was asked for. Falls when an adjustment gives money back.",
        tuple(Sample(row[0], {"model": model}) for model, row in booked.items()),
    )
    yield Family(
        "tokens_total",
        Kind.COUNTER,
        "Tokens booked; the types are disjoint: cached_input is not in input, reasoning is not in output.",
        tuple(
            Sample(count, {"model": model, "token_type": kind})
            for model, row in booked.items()
            for kind, count in zip(TOKEN_TYPES, row[2:], strict=True)
        ),
    )
    yield Family(
        "paid_empty_total",
        Kind.COUNTER,
        "Answers that were paid for and are empty.",
        tuple(Sample(row[1], {"model": model}) for model, row in booked.items()),
    )
    in_flight, in_doubt = rows(_HELD, {})[0]
    yield gauge("reserved_usd", "Dollars held for calls, those in doubt included.", in_flight + in_doubt)
    yield gauge("reserved_in_doubt_usd", "Dollars held for calls whose outcome is not known.", in_doubt)
    yield from _budgets()


def _booked(today: date) -> dict[str, list[Any]]:
    """The totals of each model; what is older than the last month is summed again every few minutes only."""
    edge = (today.replace(day=1) - timedelta(days=1)).replace(day=1)
    totals: dict[str, list[Any]] = {}
    for model, *row in (*_before(edge), *rows(_BOOKED.format(when=">="), [edge])):
        known = totals.setdefault(model, [Decimal(0)] + [0] * (len(row) - 1))
        totals[model] = [one + other for one, other in zip(known, row, strict=True)]
    return dict(sorted(totals.items()))


@remembered(PAST_SECONDS)
def _before(edge: date) -> list[Row]:
    return rows(_BOOKED.format(when="<"), [edge])


@remembered(BUDGETS_SECONDS)
def _budgets() -> list[Family]:
    """Limits and what is left of them; a budget is named by its id, which the admin finds."""
    found = rows(_BUDGETS, {"now": database_now(), "most": MOST_BUDGETS})
    told = f"of the {MOST_BUDGETS} budgets in dollars that have the smallest share left, by their ids."
    limits = tuple(Sample(limit, {"budget": str(pk), "scope": scope}) for pk, scope, limit, _ in found)
    left = tuple(Sample(remaining, {"budget": str(pk), "scope": scope}) for pk, scope, _, remaining in found)
    return [
        Family("budget_limit_usd", Kind.GAUGE, f"Limit in dollars, {told}", limits),
        Family("budget_remaining_usd", Kind.GAUGE, f"Dollars neither spent nor held, {told}", left),
    ]
