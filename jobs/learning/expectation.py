"""What a call is expected to come to, by those that were like it. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Expectation:
    """Tokens of a completion, by earlier calls. `level`: how like they are, from `class` to `organization`.

    `completion_tokens` counts reasoning, as the provider does; `at` takes a share of 1 and gives the tokens that as
    many calls stayed within had no cap cut them off; `over` takes tokens and gives the share that would need more.
    """

    calls: int
    level: str
    mean_reasoning_tokens: Decimal
    mean_visible_tokens: Decimal
    mean_cost_usd: Decimal
    at: Callable[[Decimal], int]
    over: Callable[[int], Decimal]
    # The share whose reasoning alone needs more; where it is not known apart, the share of whole completions.
    reasoning_over: Callable[[int], Decimal] | None = None
    # The cap for a risk, chance reckoned in.
    safe_cap: Callable[[Decimal], int] | None = None
    # Mean tokens of a completion that is cut off at a cap.
    mean_within: Callable[[int], Decimal] | None = None
    # The largest share that `at` answers from calls; beyond, it gives all that the model can make.
    known_share: Decimal = Decimal(1)

    def empty_probability(self, cap: int) -> Decimal:
        """How probable it is that a call with this cap is paid for and shows nothing; 0 to 1.

        It is, where reasoning takes all of the cap.
        """
        over = self.over if self.reasoning_over is None else self.reasoning_over
        return over(max(0, cap - 1))

    def cap_for(self, risk: Decimal) -> int:
        """The smallest cap that at most this share of calls would need more than."""
        return self.at(1 - risk) if self.safe_cap is None else self.safe_cap(risk)
