"""What tokens cost. Pure and exact: Decimal in, Decimal out, nothing is ever rounded."""

from dataclasses import dataclass
from decimal import Context, Decimal, Inexact, localcontext
from typing import Protocol, Self

# Traps Inexact: an amount that would need rounding raises instead of losing a digit.
EXACT = Context(prec=60, traps=[Inexact])
MILLION = Decimal(1_000_000)


class HasPrices(Protocol):
    """A row that has prices: a price, or a usage record with the one that was used."""

    @property
    def input_usd_per_million(self) -> Decimal: ...
    @property
    def cached_input_usd_per_million(self) -> Decimal: ...
    @property
    def output_usd_per_million(self) -> Decimal: ...
    @property
    def cache_write_usd_per_million(self) -> Decimal | None: ...


class HasTokens(Protocol):
    """A row that has tokens: of one call, or of many."""

    @property
    def input_tokens(self) -> int: ...
    @property
    def cached_input_tokens(self) -> int: ...
    @property
    def output_tokens(self) -> int: ...
    @property
    def reasoning_tokens(self) -> int: ...
    @property
    def cache_write_tokens(self) -> int: ...


@dataclass(frozen=True, slots=True)
class PriceTerms:
    """US dollars per million tokens. `cache_write`: None where writing to the cache costs what input costs."""

    input: Decimal
    cached_input: Decimal
    output: Decimal
    cache_write: Decimal | None = None

    @classmethod
    def of(cls, row: HasPrices) -> Self:
        return cls(
            row.input_usd_per_million,
            row.cached_input_usd_per_million,
            row.output_usd_per_million,
            row.cache_write_usd_per_million,
        )

    @property
    def written(self) -> Decimal:
        """What input costs that is written to the cache (from gpt-5.6 on 1.25 times the input: OpenAI's guide to prompt
        caching, 2026-07)."""
        return self.input if self.cache_write is None else self.cache_write


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of one call as the provider counts them: cached is part of input, reasoning is part of output.

    `cache_write`: the part of the input that was not read from the cache, and was written to it.

    Raises ValueError where a part exceeds its whole or a count is negative: such a bill is not to be believed.
    """

    input: int
    cached_input: int
    output: int
    reasoning: int
    cache_write: int = 0

    @classmethod
    def of(cls, row: HasTokens) -> Self:
        """Raises ValueError as making them does."""
        return cls(
            row.input_tokens,
            row.cached_input_tokens,
            row.output_tokens,
            row.reasoning_tokens,
            row.cache_write_tokens,
        )

    def __post_init__(self) -> None:
        if not 0 <= self.cached_input <= self.input:
            raise ValueError(f"cached tokens ({self.cached_input}) do not lie within the input tokens ({self.input})")
        if not 0 <= self.cache_write <= self.input - self.cached_input:
            raise ValueError(
                f"tokens written to the cache ({self.cache_write}) do not lie within the input tokens ({self.input}) "
                f"that were not read from it ({self.cached_input})"
            )
        if not 0 <= self.reasoning <= self.output:
            raise ValueError(f"reasoning tokens ({self.reasoning}) do not lie within the output tokens ({self.output})")


@dataclass(frozen=True, slots=True)
class Cost:
    """US dollars of one call, split so that the parts add up.

    Uncached input (with what is written to the cache), cached input, visible output, reasoning.
    """

    input_usd: Decimal
    cached_input_usd: Decimal
    output_usd: Decimal
    reasoning_usd: Decimal

    @property
    def total_usd(self) -> Decimal:
        with localcontext(EXACT):
            return self.input_usd + self.cached_input_usd + self.output_usd + self.reasoning_usd


def cost(tokens: Tokens, price: PriceTerms) -> Cost:
    """What these tokens cost at this price, exactly.

    Reasoning is billed as output (OpenAI pricing page, 2024-09 and later).
    """
    with localcontext(EXACT):
        read = tokens.input - tokens.cached_input - tokens.cache_write
        return Cost(
            input_usd=(read * price.input + tokens.cache_write * price.written) / MILLION,
            cached_input_usd=tokens.cached_input * price.cached_input / MILLION,
            output_usd=(tokens.output - tokens.reasoning) * price.output / MILLION,
            reasoning_usd=tokens.reasoning * price.output / MILLION,
        )


def bound_usd(*, input_tokens: int, output_tokens: int, price: PriceTerms) -> Decimal:
    """The most that a call with at most so many tokens can cost.

    Every input token at the dearest of the input prices.
    """
    with localcontext(EXACT):
        dearest_input = max(price.input, price.cached_input, price.written)
        return (input_tokens * dearest_input + output_tokens * price.output) / MILLION
