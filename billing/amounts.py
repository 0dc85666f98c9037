"""One call in every measure that a limit may count. Pure."""

from dataclasses import dataclass
from decimal import Decimal

from billing.pricing import Tokens


@dataclass(frozen=True, slots=True)
class Amounts:
    """One call in every measure."""

    usd: Decimal
    tokens: int
    output_tokens: int
    reasoning_tokens: int
    jobs: int = 1

    def of(self, measure: str) -> Decimal:
        return Decimal(getattr(self, measure))


def at_most(usd: Decimal, *, input_tokens: int, output_tokens: int) -> Amounts:
    """The bound of a call: all of its output may turn out to be reasoning."""
    return Amounts(usd, input_tokens + output_tokens, output_tokens, output_tokens)


def actual(usd: Decimal, tokens: Tokens) -> Amounts:
    """What a call came to."""
    return Amounts(usd, tokens.input + tokens.output, tokens.output, tokens.reasoning)
