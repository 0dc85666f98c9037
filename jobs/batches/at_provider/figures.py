"""What batches at the provider cost and save, as callers see it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from accounts.models import Project
from billing.money import usd
from billing.prices import terms_of
from billing.pricing import PriceTerms, bound_usd
from jobs.batches.at_provider.choice import may_run_there, prices_there
from jobs.models import Batch


class Sum(Protocol):
    """Tokens of many requests, and what they cost as ordinary jobs."""

    @property
    def input_tokens(self) -> int: ...
    @property
    def output_tokens(self) -> int: ...
    @property
    def usd(self) -> Decimal: ...


def as_sent(batch: Batch) -> dict[str, Any]:
    """Whether lines of a batch may be sent there, how many were answered there, and what that has saved in USD."""
    return {
        "allowed": batch.at_provider,
        "answered": batch.answered_at_provider,
        "saved_usd": usd(batch.saved_usd),
    }


def previewed(
    project: Project, models: Sequence[str], now: datetime, bound: Sum, guesses: Mapping[str, Sum]
) -> dict[str, Any] | None:
    """What a batch would cost there, in USD: at most, and by each of the guesses.

    None where its lines would not all go there: the project does not allow it, the provider takes no batches of the
    model, or some lines ask for another tier.
    """
    if not may_run_there(project) or len(models) != 1:
        return None
    prices = prices_there(project, models[0], now)
    if prices is None or _cost(bound, terms_of(prices.standard)) != bound.usd:
        return None
    terms = terms_of(prices.batch)
    costs = {"bound": _cost(bound, terms)} | {name: _cost(guess, terms) for name, guess in guesses.items()}
    likeliest = guesses.get("expected", bound)
    saved = likeliest.usd - costs.get("expected", costs["bound"])
    return {**{f"{name}_usd": usd(amount) for name, amount in costs.items()}, "saving_usd": usd(saved)}


def _cost(of: Sum, terms: PriceTerms) -> Decimal:
    return bound_usd(input_tokens=of.input_tokens, output_tokens=of.output_tokens, price=terms)
