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
    # The part of the dollars that is the reserve's.
    reserve_usd: Decimal = Decimal(0)

    def of(self, measure: str) -> Decimal:
        return Decimal(getattr(self, measure))

    def counted(self, measure: str, *, is_relieved: bool) -> Decimal:
        """What counts on a limit. One that the reserve relieves does not count the reserve's part."""
        amount = self.of(measure)
        return amount - self.reserve_usd if is_relieved else amount


def at_most(usd: Decimal, *, input_tokens: int, output_tokens: int, likely_usd: Decimal | None = None) -> Amounts:
    """The bound of a call: all of its output may turn out to be reasoning.

    `likely_usd`: what its limits hold of it, where the reserve holds the rest.
    """
    rest = Decimal(0) if likely_usd is None else usd - likely_usd
    return Amounts(usd, input_tokens + output_tokens, output_tokens, output_tokens, reserve_usd=rest)


def actual(usd: Decimal, tokens: Tokens, reserve_usd: Decimal = Decimal(0)) -> Amounts:
    """What a call came to, of which the reserve pays a part."""
    return Amounts(usd, tokens.input + tokens.output, tokens.output, tokens.reasoning, reserve_usd=reserve_usd)
